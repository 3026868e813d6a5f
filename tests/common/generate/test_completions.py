"""Generating answers: under ZeRO-3 the whole model is gathered where it fits, and each layer in its turn where it does not."""

from contextlib import nullcontext

from common.generate import completions
from common.models.load import load_model, load_tokenizer

import pytest
import torch
from accelerate import Accelerator
from trl import ModelConfig


@pytest.mark.parametrize(("room", "gathers"), [(2.0, True), (1.2, False), (0.5, False)])
def test_the_whole_model_is_gathered_only_where_it_fits(monkeypatch: pytest.MonkeyPatch, room: float, gathers: bool):
    args = ModelConfig(model_name_or_path="tiny:llama")
    tokenizer = load_tokenizer(args, ["one two three"])
    model = load_model(args, tokenizer).float()
    for weight in model.parameters():
        weight.ds_numel = weight.numel()  # what DeepSpeed notes on a weight when it shards it
    size = sum(weight.numel() for weight in model.parameters()) * 4
    accelerator, found = Accelerator(cpu=True), []

    def unwrap(model, accelerator, gather_deepspeed3_params):
        found.append(gather_deepspeed3_params)
        return nullcontext(model)

    monkeypatch.setattr(completions, "unwrap_model_for_generation", unwrap)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (int(room * size), 0))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    prompts = [[{"role": "user", "content": "one two"}]]
    completions.generate(model, accelerator, tokenizer, prompts, batch_size=1, max_new_tokens=2)
    assert found == [gathers]
