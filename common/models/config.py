"""A model's configuration: read and checked by itself, before data are read and weights are loaded."""

from common.errors import fail, nearest
from common.models import tiny, tiny_vision
from common.models.attention import check_attention
from common.models.families import PICTURE_MODELS
from common.models.folder import check_source, config_folder, fail_to_load
from common.models.vision import is_language_model, is_vision_language

from transformers import AutoConfig, PreTrainedConfig, PreTrainedTokenizerBase, ProcessorMixin
from trl import ModelConfig


def tiny_architecture(name: str) -> str:
    """Returns the architecture of a tiny model, the part of its name behind `tiny:`."""
    architecture = name.removeprefix(tiny.PREFIX)
    if architecture not in tiny.ARCHITECTURES:
        known = list(tiny.ARCHITECTURES)
        hint = nearest(architecture, known) or f"; there is: {', '.join(known)}"
        fail(f"model_name_or_path {name}: unknown tiny architecture `{architecture}`{hint}")
    return architecture


def config_of_tiny(name: str, processing: PreTrainedTokenizerBase | ProcessorMixin | None = None) -> PreTrainedConfig:
    """Returns the configuration of a tiny model.

    Args:
        name: Its name, `tiny:` and all.
        processing: The tokenizer or processor whose tokens it gets; without one its vocabulary is not known yet.

    Raises:
        SystemExit: With code 2 for an unknown architecture.
    """
    if name in tiny_vision.TINY:
        return tiny_vision.tiny_vision_config(name, processing)
    return tiny.tiny_config(tiny_architecture(name), processing)


def read_config(model_args: ModelConfig) -> PreTrainedConfig:
    """Reads a model's configuration, and looks at the files beside it; of a `tiny:` model the vocabulary is not known yet.

    Args:
        model_args: Names the model.

    Raises:
        SystemExit: With code 2 for an unknown tiny architecture, a folder that is not there or an unreachable hub.
    """
    name = model_args.model_name_or_path
    if name.startswith(tiny.PREFIX):
        return config_of_tiny(name)
    check_source(name)
    try:
        config = AutoConfig.from_pretrained(config_folder(name), revision=model_args.model_revision, trust_remote_code=False)
    except Exception as error:  # the libraries raise whatever a broken file makes them stumble over
        fail_to_load(name, error)
    if not is_language_model(config):
        fail(f"model_name_or_path {name}: {config.model_type} is no causal language model; use one, such as Qwen3")
    return config


def check_reads_pictures(model_args: ModelConfig) -> None:
    """Checks that a model reads pictures in Qwen2-VL's way, before any data are read.

    Args:
        model_args: Names the model.

    Raises:
        SystemExit: With code 2; see `read_config`.
    """
    name, config = model_args.model_name_or_path, read_config(model_args)
    if not is_vision_language(config):
        fail(f"model_name_or_path {name} reads no pictures; use a vision-language model such as Qwen/Qwen2-VL-2B-Instruct")
    if config.model_type not in PICTURE_MODELS:
        fail(
            f"model_name_or_path {name} is {config.model_type}, which reads pictures in a way of its own; use one of "
            f"{', '.join(PICTURE_MODELS)}, such as Qwen/Qwen2-VL-2B-Instruct"
        )


def check_model(model_args: ModelConfig, *, packing: bool = False) -> None:
    """Checks what a model's configuration alone can tell, before any data are read.

    Args:
        model_args: Names the model and its attention implementation.
        packing: Whether several conversations are to share a row.

    Raises:
        SystemExit: With code 2; see `read_config` and `attention.check_attention`.
    """
    check_attention(model_args.attn_implementation, read_config(model_args), packing)
