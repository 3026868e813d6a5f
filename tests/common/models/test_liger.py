"""Fused gates compute what the model's own do."""

from copy import deepcopy

from common.models.liger import compile_gates
from common.models.load import load_tokenizer
from common.models.tiny import tiny_config

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, PreTrainedModel, set_seed
from trl import ModelConfig


def loss_and_gradients(model: PreTrainedModel, tokens: torch.Tensor) -> tuple[float, torch.Tensor]:
    model.zero_grad()
    loss = model(input_ids=tokens, labels=tokens).loss
    loss.backward()
    gradients = [weight.grad.flatten() for weight in model.parameters() if weight.grad is not None]
    return loss.item(), torch.cat(gradients)


@pytest.mark.slow
def test_a_compiled_gate_of_experts_changes_nothing():
    tokenizer = load_tokenizer(ModelConfig(model_name_or_path="tiny:gpt_oss"), ["one two three"])
    set_seed(0)
    model = AutoModelForCausalLM.from_config(tiny_config("gpt_oss", tokenizer))
    compiled = deepcopy(model)
    compile_gates(compiled)
    assert sum("_apply_gate" in vars(module) for module in compiled.modules()) == model.config.num_hidden_layers
    for length in (24, 40):  # the experts get another number of rows
        tokens = torch.randint(0, model.config.vocab_size, (2, length))
        own, fused = loss_and_gradients(model, tokens), loss_and_gradients(compiled, tokens)
        assert fused[0] == pytest.approx(own[0], rel=1e-6)
        torch.testing.assert_close(fused[1], own[1], rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_a_gate_is_compiled_once_beside_adapters_of_experts():
    """PEFT gives such a layer a new class at each forward."""
    tokenizer = load_tokenizer(ModelConfig(model_name_or_path="tiny:gpt_oss"), ["one two three"])
    model = AutoModelForCausalLM.from_config(tiny_config("gpt_oss", tokenizer))
    compile_gates(model)
    adapted = get_peft_model(model, LoraConfig(r=2, target_parameters=["0.mlp.experts.gate_up_proj"]))
    torch.compiler.reset()
    counts = []
    for length in (24, 40, 56):
        loss_and_gradients(adapted, torch.randint(0, model.config.vocab_size, (2, length)))
        counts.append(torch._dynamo.utils.counters["stats"]["unique_graphs"])
    assert len(set(counts)) == 1, counts
