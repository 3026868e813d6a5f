"""MXFP4, in which gpt-oss is stored: 4 bits a weight, and a scale for every 32 (Open Compute Project, Microscaling v1.0)."""

from typing import Any

from common.errors import fail
from common.models.zero3 import keep_saved_names

from transformers import AutoModelForCausalLM, AutoModelForImageTextToText, Mxfp4Config, PreTrainedConfig, PreTrainedModel


def from_pretrained(
    auto_class: type[AutoModelForCausalLM] | type[AutoModelForImageTextToText],
    config: PreTrainedConfig,
    name: str,
    **settings: Any,
) -> PreTrainedModel:
    """Loads a model; one that is stored in MXFP4 becomes an ordinary model in 16 bits.

    The kernels that compute with MXFP4 have no gradient, and adapters of experts belong to weights of 16 bits.

    Args:
        auto_class: The class that loads it.
        config: The model's configuration.
        name: A hub id or a folder.
        **settings: Of transformers' `from_pretrained`.

    Raises:
        SystemExit: With code 2 if MXFP4 is to be quantised once more.
    """
    stored = getattr(config, "quantization_config", None) or {}
    if stored.get("quant_method") != "mxfp4":
        return auto_class.from_pretrained(name, **settings)
    if settings.pop("quantization_config", None) is not None:
        fail(f"{name} is stored in MXFP4 and trained in 16 bits: its experts cannot be quantised again; leave out load_in_4bit")
    model = auto_class.from_pretrained(name, quantization_config=Mxfp4Config(dequantize=True), **settings)
    # Or the experts' weights in 16 bits are saved under the names of those in 4 bits, which nobody finds again.
    keep_saved_names(model)
    return model
