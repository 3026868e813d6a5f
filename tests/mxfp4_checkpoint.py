"""Writes a tiny gpt-oss as openai/gpt-oss-20b is stored: the experts in MXFP4, everything else in bfloat16."""

import json
from pathlib import Path

from common.models.load import load_model, load_tokenizer

import torch
from safetensors.torch import load_file, save_file
from transformers import set_seed
from trl import ModelConfig

# The sixteen numbers that 4 bits name: a sign, two bits of exponent, one of mantissa (E2M1).
NUMBERS = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6])
EXPERTS = ["gate_up_proj", "down_proj"]


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


def write_mxfp4(folder: Path, texts: list[str]) -> dict[str, torch.Tensor]:
    """Writes a tiny model with random weights, and its tokenizer.

    Args:
        folder: Where to.
        texts: What its tokenizer is trained on.

    Returns:
        The weights of the experts by name, as they are meant.
    """
    args = ModelConfig(model_name_or_path="tiny:gpt_oss")
    tokenizer = load_tokenizer(args, texts)
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
