"""Packed conversations do not see each other, and none is cut or lost: through TRL's own packing and collator."""

from copy import deepcopy
from itertools import pairwise

from common.data.formats import Conversation
from common.data.tokens import IGNORED, tokenize
from common.models import mxfp4
from common.models.attention import check_attention, choose_attention
from common.models.families import PACKING_MODELS, VARLEN_MODELS
from common.models.load import load_model, load_tokenizer
from common.models.tiny import tiny_config

import pytest
import torch
from datasets import Dataset
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    GptOssConfig,
    LlamaConfig,
    PreTrainedConfig,
    PreTrainedModel,
    set_seed,
)
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


def small_config(model_type: str, **changes) -> PreTrainedConfig:
    """Returns a configuration of the real class with two small layers, one of them with a window where the family has any."""
    sizes = {
        "vocab_size": 64,
        "vocab_size_per_layer_input": 64,
        "hidden_size": 32,
        "intermediate_size": 48,
        "moe_intermediate_size": 48,
        "shared_expert_intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "num_experts": 4,
        "num_local_experts": 4,
        "num_experts_per_tok": 2,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "initializer_range": 0.2,  # or all scores are nearly alike
    }
    known = AutoConfig.for_model(model_type).to_dict()
    if "layer_types" in known:
        sizes |= {"layer_types": ["sliding_attention", "full_attention"], "use_sliding_window": True}
    if "sliding_window" in known:
        sizes |= {"sliding_window": 6}
    return AutoConfig.for_model(model_type, **{name: size for name, size in sizes.items() if name in known} | changes)


LENGTHS = [5, 20, 1, 13]  # tokens; longer and shorter than the window


@pytest.mark.parametrize("model_type", VARLEN_MODELS)
def test_varlen_equals_sdpa(varlen: list[int], model_type: str):
    """For every architecture that it is offered for, in logits and gradients; the kernel is the reference above."""
    models = {}
    for attention in ("sdpa", "varlen"):
        set_seed(0)
        # Each has its own configuration: it holds the implementation.
        models[attention] = AutoModelForCausalLM.from_config(small_config(model_type), attn_implementation=attention)
    tokens = torch.randint(3, 64, (1, sum(LENGTHS)))
    positions = torch.cat([torch.arange(length) for length in LENGTHS])[None]
    boundaries = torch.tensor([0, *LENGTHS]).cumsum(0).to(torch.int32)
    counted = {"cu_seq_lens_q": boundaries, "cu_seq_lens_k": boundaries, "max_length_q": 20, "max_length_k": 20}
    padded = {"input_ids": tokens[0, :14].view(2, 7), "attention_mask": torch.tensor([[0] * 3 + [1] * 4, [1] * 7])}
    for inputs in (
        {"input_ids": tokens, "position_ids": positions},
        {"input_ids": tokens, "position_ids": positions, **counted},
        {"input_ids": tokens},
        padded,
    ):
        found = {}
        for attention, model in models.items():
            del varlen[:]
            # sdpa knows the documents by their positions.
            given = {name: value for name, value in inputs.items() if attention == "varlen" or name not in counted}
            logits = model(**given, use_cache=False).logits
            model.zero_grad()
            logits.square().mean().backward()
            gradient = torch.cat([weight.grad.flatten() for weight in model.parameters() if weight.grad is not None])
            found[attention] = logits[inputs.get("attention_mask", torch.ones(logits.shape[:2])).bool()], gradient
            # Padded rows go to sdpa, and so does a whole row beyond its window, which has a mask.
            if "position_ids" in inputs:
                assert varlen == ([sum(LENGTHS)] * 2 if attention == "varlen" else [])
        for ours, expected in zip(found["varlen"], found["sdpa"], strict=True):
            torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-5)


def difference_in_a_pack(model_type: str) -> float:
    """Returns how far the logits of packed documents are from those of the same documents alone."""
    set_seed(0)
    attention = "eager" if model_type in ("gemma2", "gpt_oss") else "sdpa"
    model = AutoModelForCausalLM.from_config(small_config(model_type), attn_implementation=attention).eval()
    documents = [torch.randint(3, 64, (length,)) for length in LENGTHS]
    boundaries = torch.tensor([0, *LENGTHS]).cumsum(0).to(torch.int32)
    packed = {
        "input_ids": torch.cat(documents)[None],
        "position_ids": torch.cat([torch.arange(length) for length in LENGTHS])[None],
        **{"cu_seq_lens_q": boundaries, "cu_seq_lens_k": boundaries, "max_length_q": 20, "max_length_k": 20},
    }
    with torch.no_grad():
        alone = torch.cat([model(input_ids=document[None], use_cache=False).logits[0] for document in documents])
        return (model(**packed, use_cache=False).logits[0] - alone).abs().max().item()


@pytest.mark.parametrize("model_type", PACKING_MODELS)
def test_packed_documents_of_every_family_do_not_see_each_other(model_type: str):
    assert difference_in_a_pack(model_type) < 1e-5


def test_packing_is_refused_where_documents_would_see_each_other(capsys: pytest.CaptureFixture[str]):
    assert difference_in_a_pack("gpt_oss") > 0.1  # no longer? then it can be packed
    with pytest.raises(SystemExit, match="2"):
        check_attention("eager", AutoConfig.for_model("gpt_oss"), packing=True)
    assert capsys.readouterr().err == (
        "error: packing does not fit this model: the packed rows of gpt_oss see each other, or it was not tried "
        "(docs/models.md says which were); use `--packing false`\n"
    )
    check_attention("eager", AutoConfig.for_model("gpt_oss"), packing=False)


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (lambda: AutoConfig.for_model("qwen2_vl"), "qwen2_vl computes"),
        (lambda: AutoConfig.for_model("gemma2"), "gemma2 computes"),
        (lambda: AutoConfig.for_model("bert", is_decoder=True), "bert computes"),
        (lambda: small_config("gemma3_text", use_bidirectional_attention=True), "gemma3_text is set to look ahead"),
        (lambda: small_config("llama", is_causal=False), "llama is set to look ahead"),
        (lambda: small_config("mistral", attention_dropout=0.1), "mistral has attention_dropout 0.1"),
    ],
    ids=["vision", "softcap", "encoder", "bidirectional", "not causal", "dropout"],
)
def test_varlen_is_refused_where_it_would_compute_something_else(capsys: pytest.CaptureFixture[str], config, reason: str):
    with pytest.raises(SystemExit, match="2"):
        choose_attention("varlen", torch.bfloat16, config())
    line = capsys.readouterr().err
    assert line.startswith(f"error: attn_implementation varlen does not fit this model: {reason}")
    assert line.count("\n") == 1


def test_varlen_is_refused_before_the_weights_are_loaded(monkeypatch: pytest.MonkeyPatch, tmp_path):
    small_config("gemma2").save_pretrained(tmp_path)
    monkeypatch.setattr(mxfp4, "from_pretrained", lambda *args, **settings: pytest.fail("loaded"))
    with pytest.raises(SystemExit, match="2"):
        load_model(ModelConfig(model_name_or_path=str(tmp_path), attn_implementation="varlen"), tokenizer=None)


@pytest.mark.usefixtures("varlen")  # the kernel itself needs a GPU: see the test below
@pytest.mark.parametrize("attention", ["sdpa", "eager", "varlen"])
@pytest.mark.parametrize("architecture", ["llama", "qwen3"])
def test_packed_documents_do_not_see_each_other(tmp_path, architecture: str, attention: str):
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
    for attention in ("sdpa", choose_attention("varlen", torch.bfloat16, LlamaConfig())):
        set_seed(0)
        model = AutoModelForCausalLM.from_config(deepcopy(config), attn_implementation=attention, dtype=torch.bfloat16)
        models[attention] = model.cuda()
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
    attention = choose_attention("varlen", torch.bfloat16, LlamaConfig())
    model = AutoModelForCausalLM.from_config(config, attn_implementation=attention, dtype=torch.bfloat16).cuda().eval()
    first, second = torch.randint(0, config.vocab_size, (2, 40), device="cuda")
    positions = torch.arange(40, device="cuda")
    with torch.no_grad():
        packed = model(torch.cat([first, second])[None], position_ids=torch.cat([positions, positions])[None]).logits[0, 40:]
        alone = model(second[None]).logits[0]
    torch.testing.assert_close(packed, alone, rtol=0.02, atol=0.02)


def test_flex_attention_may_be_compiled_for_more_kinds_of_batches_than_torch_allows_by_itself(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch._dynamo.config, "recompile_limit", 8)
    assert choose_attention("flex_attention", torch.bfloat16, GptOssConfig()) == "flex_attention"
    assert torch._dynamo.config.recompile_limit == 64


@pytest.mark.parametrize("capability", [(0, 0), (7, 5)])
def test_varlen_falls_back_to_sdpa_without_a_gpu_or_on_an_older_one(monkeypatch, capsys, capability: tuple[int, int]):
    monkeypatch.setattr("common.models.attention.compute_capability", lambda: capability)
    assert choose_attention("varlen", torch.bfloat16, LlamaConfig()) == "sdpa"
    assert "needs an NVIDIA GPU" in capsys.readouterr().out
    assert choose_attention("eager", torch.bfloat16, LlamaConfig()) == "eager"
