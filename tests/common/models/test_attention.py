"""Packed conversations do not see each other, and none is cut or lost: through TRL's own packing and collator."""

from itertools import pairwise

from common.data.conversations import Conversation
from common.data.tokens import IGNORED, tokenize
from common.models.attention import choose_attention
from common.models.load import load_tokenizer
from common.models.tiny import tiny_config

import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, PreTrainedModel, set_seed
from trl import ModelConfig, SFTConfig, SFTTrainer

WORDS = ["one", "two", "three", "four", "five", "six", "seven", "eight"]
MAX_LENGTH = 64


def conversations() -> list[Conversation]:
    """Conversations of many lengths, so that a pack holds several, all of them different."""
    pairs = [(" ".join(WORDS[: 1 + number % 8]) + f" {number}?", WORDS[-1 - number % 8]) for number in range(40)]
    return [
        {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}
        for question, answer in pairs
    ]


def make_trainer(architecture: str, attention: str, output_dir: str) -> tuple[SFTTrainer, Dataset]:
    rows = conversations()
    tokenizer = load_tokenizer(
        ModelConfig(model_name_or_path=f"tiny:{architecture}"),
        [message["content"] for row in rows for message in row["messages"]],
    )
    set_seed(0)
    model = AutoModelForCausalLM.from_config(tiny_config(architecture, tokenizer), attn_implementation=attention)
    args = SFTConfig(
        output_dir=output_dir,
        packing=True,
        max_length=MAX_LENGTH,
        per_device_train_batch_size=2,
        use_cpu=True,
        bf16=False,
        activation_checkpointing=False,
        report_to="none",
    )
    dataset = tokenize(rows, tokenizer, MAX_LENGTH, where="test")
    return SFTTrainer(model=model, args=args, train_dataset=dataset, processing_class=tokenizer), dataset


def logits_by_document(model: PreTrainedModel, batch: dict[str, torch.Tensor]) -> dict[tuple[int, ...], torch.Tensor]:
    """Returns the logits of each document of a batch, as packed: by the document's tokens."""
    inputs = {name: value for name, value in batch.items() if name != "labels"}
    with torch.no_grad():
        logits = model(**inputs).logits[0]
    return {
        tuple(batch["input_ids"][0, start:stop].tolist()): logits[start:stop]
        for start, stop in pairwise(batch["cu_seq_lens_q"].tolist())
    }


def varlen_attn_reference(query, key, value, boundaries, _boundaries, longest, _longest, *, scale, window_size):
    """Computes what the GPU's kernel does, one document after the other."""
    assert window_size == (-1, 0)
    assert longest == boundaries.diff().max()
    documents = [
        torch.nn.functional.scaled_dot_product_attention(
            *(states[start:stop].transpose(0, 1)[None] for states in (query, key, value)), is_causal=True, scale=scale
        )[0].transpose(0, 1)
        for start, stop in pairwise(boundaries.tolist())
    ]
    return torch.cat(documents)


@pytest.mark.parametrize("attention", ["sdpa", "eager", "varlen"])
@pytest.mark.parametrize("architecture", ["llama", "qwen3"])
def test_packed_documents_do_not_see_each_other(tmp_path, monkeypatch, architecture: str, attention: str):
    if attention == "varlen":  # the kernel itself needs a GPU: see the test below
        monkeypatch.setattr("torch.cuda.is_available", lambda: True)
        assert choose_attention("varlen", torch.bfloat16) == "varlen"
        monkeypatch.undo()
        monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", varlen_attn_reference)
    trainer, dataset = make_trainer(architecture, attention, str(tmp_path))
    model = trainer.model.eval()
    documents = []
    for batch in trainer.get_train_dataloader():
        packed = logits_by_document(model, batch)
        assert len(packed) > 2
        for tokens, logits in packed.items():
            with torch.no_grad():
                alone = model(input_ids=torch.tensor([tokens])).logits[0]
            torch.testing.assert_close(logits, alone, rtol=0, atol=1e-5)
        documents += packed
    # Every document is in one of the packs, whole.
    assert sorted(documents) == sorted(map(tuple, dataset["input_ids"]))


def test_labels_are_packed_with_their_tokens(tmp_path):
    trainer, dataset = make_trainer("llama", "sdpa", str(tmp_path))
    trained = [label for batch in trainer.get_train_dataloader() for label in batch["labels"].flatten().tolist()]
    expected = [label for row in dataset["labels"] for label in row]
    assert sorted(label for label in trained if label != IGNORED) == sorted(label for label in expected if label != IGNORED)
    assert all(len(row) <= MAX_LENGTH for row in trainer.train_dataset["input_ids"])


def test_the_comparison_notices_documents_that_see_each_other(tmp_path):
    """Without the positions, which say where a document begins, the logits differ: the tests above mean something."""
    trainer, _ = make_trainer("llama", "sdpa", str(tmp_path))
    model = trainer.model.eval()
    batch = next(iter(trainer.get_train_dataloader()))
    apart = logits_by_document(model, batch)
    together = logits_by_document(model, {name: value for name, value in batch.items() if name != "position_ids"})
    differences = [(apart[tokens] - together[tokens]).abs().max().item() for tokens in apart]
    assert differences[0] < 1e-5  # nothing stands before the first
    assert min(differences[1:]) > 1e-3


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch's variable-length attention needs an NVIDIA GPU")
@pytest.mark.parametrize("architecture", ["llama", "qwen3"])
def test_varlen_on_a_gpu_equals_sdpa(architecture: str):
    """The same documents packed and one by one, with the same random weights: loss, gradients and greedy answers agree."""
    config = tiny_config(architecture, load_tokenizer(ModelConfig(model_name_or_path=f"tiny:{architecture}"), WORDS))
    models = {}
    for attention in ("sdpa", choose_attention("varlen", torch.bfloat16)):
        set_seed(0)
        models[attention] = AutoModelForCausalLM.from_config(config, attn_implementation=attention, dtype=torch.bfloat16).cuda()
    lengths = [5, 130, 64, 1, 300]
    tokens = torch.randint(0, config.vocab_size, (1, sum(lengths)), device="cuda")
    packed = torch.cat([torch.arange(length) for length in lengths])[None].cuda()
    gradients = {}
    for attention, model in models.items():
        model(input_ids=tokens, position_ids=packed, labels=tokens, use_cache=False).loss.backward()
        gradients[attention] = torch.cat([weight.grad.float().flatten() for weight in model.parameters()])
    relative = (gradients["varlen"] - gradients["sdpa"]).norm() / gradients["sdpa"].norm()
    assert relative < 0.02, relative
    prompts = tokens[0, :60].view(2, 30)
    padded = torch.ones_like(prompts)
    padded[0, :7] = 0
    answers = [
        model.generate(prompts, attention_mask=padded, max_new_tokens=8, do_sample=False).tolist() for model in models.values()
    ]
    assert answers[0] == answers[1]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch's variable-length attention needs an NVIDIA GPU")
def test_varlen_keeps_documents_apart_on_a_gpu():
    config = tiny_config("llama", load_tokenizer(ModelConfig(model_name_or_path="tiny:llama"), WORDS))
    set_seed(0)
    attention = choose_attention("varlen", torch.bfloat16)
    model = AutoModelForCausalLM.from_config(config, attn_implementation=attention, dtype=torch.bfloat16).cuda().eval()
    first, second = torch.randint(0, config.vocab_size, (2, 40), device="cuda")
    positions = torch.arange(40, device="cuda")
    with torch.no_grad():
        packed = model(torch.cat([first, second])[None], position_ids=torch.cat([positions, positions])[None]).logits[0, 40:]
        alone = model(second[None]).logits[0]
    torch.testing.assert_close(packed, alone, rtol=0.02, atol=0.02)


def test_varlen_falls_back_to_sdpa_without_a_gpu(monkeypatch, capsys):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert choose_attention("varlen", torch.bfloat16) == "sdpa"
    assert "needs an NVIDIA GPU" in capsys.readouterr().out
    assert choose_attention("eager", torch.bfloat16) == "eager"
