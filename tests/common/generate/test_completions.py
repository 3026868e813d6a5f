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

    monkeypatch.setattr("trl.models.unwrap_model_for_generation", unwrap)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (int(room * size), 0))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    prompts = [[{"role": "user", "content": "one two"}]]
    completions.generate(model, accelerator, tokenizer, prompts, batch_size=1, max_new_tokens=2)
    assert found == [gathers]


def generated(**settings) -> list[completions.Completion]:
    args = ModelConfig(model_name_or_path="tiny:llama")
    tokenizer = load_tokenizer(args, ["one two three"])
    torch.manual_seed(0)
    model = load_model(args, tokenizer).float()
    prompts = [[{"role": "user", "content": f"one two {word}"}] for word in ("one", "two", "three")]
    return completions.generate(model, Accelerator(cpu=True), tokenizer, prompts, batch_size=3, **settings)


def test_a_completion_is_cut_at_max_new_tokens():
    short, long = (generated(max_new_tokens=limit) for limit in (2, 5))
    assert max(done.num_tokens for done in short) == 2
    assert 2 < max(done.num_tokens for done in long) <= 5
    for done in [*short, *long]:
        assert done.cut == (not done.raw.endswith(("<|im_end|>", "<|endoftext|>")))
    assert any(done.cut for done in short)


@pytest.mark.parametrize("only_the_likeliest", [{"top_k": 1}, {"top_p": 1e-6}, {"min_p": 1.0}])
def test_what_is_sampled_from(only_the_likeliest: dict[str, float]):
    greedy = [done.raw for done in generated(max_new_tokens=8)]
    assert [done.raw for done in generated(max_new_tokens=8, temperature=1.0, **only_the_likeliest)] == greedy
    assert [done.raw for done in generated(max_new_tokens=8, temperature=1.0)] != greedy


def test_no_prompts_no_completions(monkeypatch: pytest.MonkeyPatch):
    """With the engine, too: a process may have none to answer."""
    monkeypatch.setattr(completions, "engine_fits", lambda *args: True)
    args = ModelConfig(model_name_or_path="tiny:llama")
    tokenizer = load_tokenizer(args, ["one two three"])
    model = load_model(args, tokenizer).float()
    assert completions.generate(model, Accelerator(cpu=True), tokenizer, [], batch_size=3, max_new_tokens=2) == []


@pytest.mark.parametrize("settings", [{}, {"temperature": 0.5, "top_k": 1}, {"max_new_tokens": 1}])
def test_the_engine_and_generate_complete_alike(monkeypatch: pytest.MonkeyPatch, settings: dict[str, float]):
    expected = generated(**{"max_new_tokens": 12} | settings)
    monkeypatch.setattr(completions, "engine_fits", lambda *args: True)
    found = generated(**{"max_new_tokens": 12} | settings)
    for one, other in zip(found, expected, strict=True):
        assert (one.raw, one.text, one.num_tokens, one.cut) == (other.raw, other.text, other.num_tokens, other.cut)
        assert one.confidence == pytest.approx(other.confidence, rel=1e-4, nan_ok=True)
