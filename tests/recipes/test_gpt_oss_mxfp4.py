"""gpt-oss as it is stored: MXFP4 is read exactly, trains, and keeps what the experts' adapters have learned."""

import json
from pathlib import Path

from common.models.load import load_model, load_tokenizer

import pytest
import torch
from mxfp4_checkpoint import EXPERTS, write_mxfp4
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerBase
from trl import ModelConfig

TEXT = "Ada has 6 jars with 7 pens in each."


def load(folder: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    args = ModelConfig(model_name_or_path=str(folder), dtype="bfloat16", attn_implementation="eager")
    tokenizer = load_tokenizer(args)
    return load_model(args, tokenizer), tokenizer


def adapted(model: PreTrainedModel) -> PeftModel:
    """Returns the model with adapters that already change it, in the attention and in the experts."""
    torch.manual_seed(1)
    config = LoraConfig(
        r=4,
        lora_alpha=8,
        lora_dropout=0.0,
        init_lora_weights=False,
        target_modules=["q_proj", "k_proj", "v_proj", "o_proj"],
        target_parameters=[f"mlp.experts.{name}" for name in EXPERTS],
        task_type="CAUSAL_LM",
    )
    return get_peft_model(model, config)


def logits(model: torch.nn.Module, tokenizer: PreTrainedTokenizerBase) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(tokenizer(TEXT, return_tensors="pt", add_special_tokens=False)["input_ids"]).logits


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, torch.Tensor]]:
    folder = tmp_path_factory.mktemp("mxfp4")
    return folder, write_mxfp4(folder, [TEXT])


def test_weights_are_read_as_they_are_meant(stored: tuple[Path, dict[str, torch.Tensor]], tmp_path: Path):
    folder, meant = stored
    model, tokenizer = load(folder)
    found = dict(model.named_parameters())
    assert meant
    for name, weight in meant.items():
        assert found[name].dtype == torch.bfloat16
        assert found[name].float().equal(weight)
    # What is saved is an ordinary model in 16 bits.
    model.save_pretrained(tmp_path)
    assert "quantization_config" not in json.loads((tmp_path / "config.json").read_text())
    reloaded = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert logits(reloaded, tokenizer).equal(logits(model, tokenizer))


def test_training_changes_the_adapters_of_the_experts_and_nothing_else(stored: tuple[Path, dict[str, torch.Tensor]]):
    model, tokenizer = load(stored[0])
    model = adapted(model).train()
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    optimizer = torch.optim.SGD([parameter for parameter in model.parameters() if parameter.requires_grad], lr=1.0)
    tokens = tokenizer(TEXT, return_tensors="pt", add_special_tokens=False)["input_ids"]
    model(input_ids=tokens, labels=tokens).loss.backward()
    optimizer.step()
    changed = {name for name, parameter in model.named_parameters() if not parameter.equal(before[name])}
    assert changed
    assert all("lora_" in name for name in changed)
    assert {name for name in before if "lora_" in name and "experts" in name} <= changed


def test_the_merge_keeps_what_the_experts_have_learned(stored: tuple[Path, dict[str, torch.Tensor]], tmp_path: Path):
    folder, meant = stored
    model, tokenizer = load(folder)
    model = adapted(model.float())
    adapter = {name: parameter.detach().clone() for name, parameter in model.named_parameters() if "lora_" in name}
    trained = logits(model, tokenizer)
    merged = model.merge_and_unload()
    assert (logits(merged, tokenizer) - trained).abs().max() < 1e-4 * trained.abs().max()

    # The weights of the experts are those of the base and the product of the two halves of their adapter, by hand.
    layer, rank, experts = merged.model.layers[1].mlp.experts, 4, merged.config.num_local_experts
    prefix = "base_model.model.model.layers.1.mlp.experts"
    # The parameter that is named last is wrapped last: its adapter stands outside, the other one inside it.
    for name, place in {"down_proj": "", "gate_up_proj": ".base_layer"}.items():
        first = adapter[f"{prefix}{place}.lora_A.default.weight"].view(experts, rank, -1)
        second = adapter[f"{prefix}{place}.lora_B.default.weight"].view(-1, rank, experts)
        expected = meant[f"model.layers.1.mlp.experts.{name}"] + 2 * torch.einsum("ore,eri->eio", second, first)
        torch.testing.assert_close(getattr(layer, name).detach(), expected, rtol=0, atol=1e-5)
        assert (expected - meant[f"model.layers.1.mlp.experts.{name}"]).abs().max() > 0.01

    merged.save_pretrained(tmp_path)
    reloaded = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    assert logits(reloaded, tokenizer).equal(logits(merged, tokenizer))


def test_a_merge_without_the_experts_would_be_another_model(stored: tuple[Path, dict[str, torch.Tensor]]):
    """That the test above can fail: without the experts' adapters the logits are far from the trained ones."""
    model, tokenizer = load(stored[0])
    model = adapted(model.float())
    trained = logits(model, tokenizer)
    for name, parameter in model.named_parameters():
        if "lora_B" in name and "experts" in name:
            parameter.data.zero_()
    lost = logits(model.merge_and_unload(), tokenizer)
    assert (lost - trained).abs().max() > 0.05 * trained.abs().max()
