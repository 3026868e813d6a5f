"""A model that is only evaluated computes what the run that trained it did, and what plain transformers does."""

from pathlib import Path
from types import SimpleNamespace

from common.models.devices import prepare

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    sizes = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 99}
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(LlamaConfig(**sizes, max_position_embeddings=2048))
    model.to(torch.bfloat16).save_pretrained(tmp_path)
    return tmp_path


def test_16_bits_are_those_of_the_weights_alone(saved: Path):
    plain = AutoModelForCausalLM.from_pretrained(saved, dtype=torch.bfloat16)
    loaded = AutoModelForCausalLM.from_pretrained(saved, dtype=torch.float32)
    model, _ = prepare(loaded, SimpleNamespace(deepspeed_plugin=None, bf16=True, seed=0))
    assert {weight.dtype for weight in model.parameters()} == {torch.bfloat16}
    # Rounded to 16 bits the frequencies would be off by radians at the end of a row.
    assert {buffer.dtype for name, buffer in model.named_buffers() if "inv_freq" in name} == {torch.float32}
    ids = torch.randint(99, (1, 1500), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(model(ids).logits, plain(ids).logits)
