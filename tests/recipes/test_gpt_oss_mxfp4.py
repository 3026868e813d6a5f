"""gpt-oss as it is stored: MXFP4 is read exactly, trains, and keeps what the experts' adapters have learned."""

import json
from pathlib import Path

from common.models import load_model, load_tokenizer

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerBase, set_seed
from trl import ModelConfig

# The sixteen numbers that 4 bits name: a sign, two bits of exponent, one of mantissa (E2M1).
NUMBERS = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6])
EXPERTS = ["gate_up_proj", "down_proj"]
TEXT = "Ada has 6 jars with 7 pens in each."


def to_mxfp4(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Returns blocks and scales as gpt-oss's checkpoints hold them, and the weights that they stand for.

    Args:
        weight: Of shape (experts, inputs, outputs), as transformers holds it; in a checkpoint outputs come first.
    """
    groups = weight.float().transpose(1, 2).unflatten(-1, (-1, 32))
    exponents = groups.abs().amax(-1).clamp_min(1e-20).log2().floor() - 2  # 6 is the largest number: 1.5 times 2 to the 2
    scaled = groups / exponents.exp2()[..., None]
    codes = (scaled[..., None] - NUMBERS).abs().argmin(-1)
    blocks = (codes[..., 0::2] | codes[..., 1::2] << 4).to(torch.uint8)  # the first of two is in the lower half of a byte
    meant = (NUMBERS[codes] * exponents.exp2()[..., None]).flatten(-2).transpose(1, 2)
    return blocks.contiguous(), (exponents + 127).to(torch.uint8).contiguous(), meant


def write_mxfp4(folder: Path) -> dict[str, torch.Tensor]:
    """Writes a tiny model in the layout of openai/gpt-oss-20b; returns the weights of its experts as they are meant."""
    args = ModelConfig(model_name_or_path="tiny:gpt_oss")
    tokenizer = load_tokenizer(args, [TEXT])
    set_seed(0)
    load_model(args, tokenizer).to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    stored, meant = {}, {}
    for name, weight in load_file(folder / "model.safetensors").items():
        if name.endswith(tuple(EXPERTS)):
            stored[f"{name}_blocks"], stored[f"{name}_scales"], meant[name] = to_mxfp4(weight)
        else:
            stored[name] = weight
    save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    spared = ["model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens", "lm_head"]
    config["quantization_config"] = {"quant_method": "mxfp4", "modules_to_not_convert": spared}
    (folder / "config.json").write_text(json.dumps(config))
    return meant


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
    return folder, write_mxfp4(folder)


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
