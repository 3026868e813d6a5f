"""MXFP4, in which gpt-oss is stored: 4 bits a weight, and a scale for every 32 (Open Compute Project, Microscaling v1.0)."""

from typing import Any

from common.errors import fail
from common.models.zero3 import keep_saved_names

from transformers import AutoModelForCausalLM, AutoModelForImageTextToText, Mxfp4Config, PreTrainedConfig, PreTrainedModel


def _whole(name: str, model: PreTrainedModel, found: dict[str, Any]) -> PreTrainedModel:
    """Returns a model that has been loaded, or fails: transformers fills weights that do not fit with random numbers."""
    if found["mismatched_keys"]:
        weight, stored, wanted = sorted(found["mismatched_keys"])[0]
        fail(
            f"model_name_or_path {name}: the weight {weight} is {tuple(stored)} in its files and {tuple(wanted)} by its "
            "config.json; download or save the model again"
        )
    missing = sorted(found["missing_keys"])
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        fail(f"model_name_or_path {name}: the weight {missing[0]}{more} is not in its files; download or save the model again")
    return model


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
        SystemExit: With code 2 if MXFP4 is to be quantised once more, or a weight is not in the model's files as it should be.
    """
    settings |= {"output_loading_info": True, "ignore_mismatched_sizes": True}  # `_whole` looks after them
    stored = getattr(config, "quantization_config", None) or {}
    if stored.get("quant_method") != "mxfp4":
        return _whole(name, *auto_class.from_pretrained(name, **settings))
    if settings.pop("quantization_config", None) is not None:
        fail(f"{name} is stored in MXFP4 and trained in 16 bits: its experts cannot be quantised again; leave out load_in_4bit")
    settings["quantization_config"] = Mxfp4Config(dequantize=True)
    model = _whole(name, *auto_class.from_pretrained(name, **settings))
    # Or the experts' weights in 16 bits are saved under the names of those in 4 bits, which nobody finds again.
    keep_saved_names(model)
    return model
