"""Packed conversations do not see each other, and none is cut or lost: through TRL's own packing and collator."""

from itertools import pairwise

from common.conversations import Conversation
from common.masking import IGNORED, tokenize
from common.models import load_tokenizer
from common.tiny import tiny_config

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


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
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
