"""Sorted experts, and adapters kept apart from them, compute what transformers and PEFT do."""

import os
import subprocess
import sys
from copy import deepcopy
from pathlib import Path

from common.models.experts import keep_adapters_apart, use_sorted_experts
from common.models.load import load_tokenizer
from common.models.tiny import tiny_config

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, PreTrainedModel, set_seed
from trl import ModelConfig

ROOT = Path(__file__).parents[3]
BOTH = ["0.mlp.experts.gate_up_proj", "0.mlp.experts.down_proj"]


def tiny_model() -> PreTrainedModel:
    tokenizer = load_tokenizer(ModelConfig(model_name_or_path="tiny:gpt_oss"), ["one two three"])
    set_seed(0)
    return AutoModelForCausalLM.from_config(tiny_config("gpt_oss", tokenizer))


def with_adapters(model: PreTrainedModel, targets: list[str], rank: int) -> PeftModel:
    settings = LoraConfig(r=rank, lora_alpha=3 * rank, target_modules=["q_proj"], target_parameters=targets)
    adapted = get_peft_model(model, settings)
    torch.manual_seed(1)
    for name, weight in adapted.named_parameters():
        if ".lora_" in name:
            torch.nn.init.normal_(weight, std=0.3)  # at their start they add nothing
    return adapted


def loss_of(model: torch.nn.Module) -> torch.Tensor:
    torch.manual_seed(24)
    tokens = torch.randint(0, model.config.vocab_size, (2, 24))
    with torch.no_grad():
        return model(input_ids=tokens, labels=tokens).loss


def loss_and_gradients(model: torch.nn.Module, length: int = 24) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    torch.manual_seed(length)
    tokens = torch.randint(0, model.config.vocab_size, (2, length))
    model.zero_grad()
    loss = model(input_ids=tokens, labels=tokens).loss
    loss.backward()
    return loss.detach(), {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}


def assert_alike(ours: torch.nn.Module, expected: torch.nn.Module) -> None:
    for length in (2, 24):
        found, wanted = loss_and_gradients(ours, length), loss_and_gradients(expected, length)
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-6)


def test_sorted_experts_change_nothing():
    model = tiny_model()
    ours = deepcopy(model)
    use_sorted_experts(ours)
    assert_alike(ours, model)


@pytest.mark.parametrize("rank", [2, 8])  # of 16 bytes or not
@pytest.mark.parametrize("targets", [BOTH, BOTH[:1], BOTH[1:]], ids=["both", "gate_up", "down"])
@pytest.mark.parametrize("recompute", [False, True])
def test_adapters_beside_experts_change_nothing(rank: int, targets: list[str], recompute: bool):
    model = tiny_model()
    ours = deepcopy(model)
    use_sorted_experts(ours)
    model, ours = with_adapters(model, targets, rank), with_adapters(ours, targets, rank)
    before = loss_of(ours)
    keep_adapters_apart(ours)
    if recompute:
        ours.enable_input_require_grads()
        ours.activation_checkpointing_enable()
    assert (
        sum(".lora_" in name for name in loss_and_gradients(ours)[1]) == 2 * len(targets) + 2 * model.config.num_hidden_layers
    )
    assert_alike(ours, model)
    with ours.disable_adapter():
        assert abs(loss_of(ours) - before) > 0.01  # the adapters do something
    torch.testing.assert_close(loss_of(deepcopy(ours)), before)


def test_nothing_is_put_together_with_adapters_beside_the_experts(monkeypatch: pytest.MonkeyPatch):
    model = tiny_model()
    use_sorted_experts(model)
    adapted = with_adapters(model, BOTH, 2)
    keep_adapters_apart(adapted)
    monkeypatch.setattr(torch, "baddbmm", lambda *args, **settings: pytest.fail("weights and adapters were added"))
    loss_and_gradients(adapted)


def test_merged_adapters_are_in_the_experts():
    model = tiny_model()
    use_sorted_experts(model)
    adapted = with_adapters(model, BOTH, 2)
    keep_adapters_apart(adapted)
    expected = loss_of(adapted)
    adapted.merge_adapter()
    torch.testing.assert_close(loss_of(adapted), expected)
    adapted.unmerge_adapter()
    torch.testing.assert_close(loss_of(adapted), expected)
    torch.testing.assert_close(loss_of(adapted.merge_and_unload()), expected)


def test_a_gpu_that_cannot_multiply_groups_keeps_the_experts_of_transformers(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr("common.models.experts.compute_capability", lambda: (7, 5))
    model = tiny_model()
    use_sorted_experts(model)
    adapted = with_adapters(model, BOTH, 2)
    keep_adapters_apart(adapted)
    assert not any("forward" in vars(module) for module in adapted.modules())


def compared_kernels(**env: str) -> str:
    command = [sys.executable, str(Path(__file__).parent / "run_expert_kernels.py")]
    result = subprocess.run(command, capture_output=True, text=True, env=os.environ | env, check=False, cwd=ROOT)
    return result.stdout + result.stderr[-2000:]


def test_the_kernels_of_experts_compute_what_torch_does():
    """Triton interprets them on a CPU: what they compute, and not how fast."""
    assert compared_kernels(TRITON_INTERPRET="1", CUDA_VISIBLE_DEVICES="") == "alike on cpu\n"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="compiles Triton kernels for an NVIDIA GPU")
def test_the_kernels_of_experts_on_a_gpu():
    assert compared_kernels() == "alike on cuda\n"
