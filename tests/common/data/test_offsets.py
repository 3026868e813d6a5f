"""Which tokens lie within a span: by their lengths as by the tokenizer's offsets."""

import random

from common.data.offsets import Offsets
from common.models.load import load_tokenizer

import pytest
from trl import ModelConfig

WORDS = [
    "It is 42.",
    "caf\u00e9",
    "\u4e2d\u6587",
    "\U0001f600",
    "e\u0301",
    "\n\n",
    "  x",
    "</think>",
    "<|im_end|>",
    "<|eot_id|>",
    "don't",
    "\t",
    " ",
]


@pytest.mark.parametrize("architecture", ["llama", "qwen3", "gpt_oss"])
def test_by_length_as_by_offset(architecture: str):
    tokenizer = load_tokenizer(ModelConfig(model_name_or_path=f"tiny:{architecture}"), [" ".join(WORDS)] * 9)
    tokenizer("", add_special_tokens=False)  # from here on the backend cuts and pads nothing
    by_length, by_offset, rng, known = Offsets(tokenizer), Offsets(tokenizer), random.Random(0), 0
    by_offset.widths = None
    for number in range(300):
        text = "".join(rng.choice(WORDS) + rng.choice(["", " "]) for _ in range(rng.randrange(1, 20)))
        offsets = tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).offsets
        borders = {place for pair in offsets for place in pair} if number % 2 else range(len(text) + 1)
        chosen = sorted(rng.sample(sorted(borders), min(4, len(borders) // 2 * 2)))
        spans = list(zip(chosen[::2], chosen[1::2], strict=True))
        tokens, within = by_length.find(text, spans)
        assert [found.tolist() for found in by_offset.find(text, spans)] == [tokens.tolist(), within.tolist()], (text, spans)
        known += by_length.by_width(tokens, text, spans) is not None
    assert known > 50
