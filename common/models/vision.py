"""Vision-language models and their processors: a hub id, a folder, an adapter, or a tiny one."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from common.data.templates import as_text, without_marks
from common.errors import BadRow, fail
from common.models import tiny
from common.models.folder import check_source, fail_to_load
from common.models.tiny_vision import TINY, tiny_processor

from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoProcessor,
    PreTrainedConfig,
    ProcessorMixin,
)

if TYPE_CHECKING:  # importing TRL takes seconds, which commands that only load a model can do without
    from trl import ModelConfig


def is_vision_language(config: PreTrainedConfig) -> bool:
    """Returns whether a model reads pictures as well as text."""
    return type(config) in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING


def is_language_model(config: PreTrainedConfig) -> bool:
    """Returns whether a model writes text, token by token."""
    return type(config) in MODEL_FOR_CAUSAL_LM_MAPPING or is_vision_language(config)


def auto_class(config: PreTrainedConfig) -> type[AutoModelForCausalLM] | type[AutoModelForImageTextToText]:
    """Returns the class that loads a model with its language-modelling head."""
    return AutoModelForImageTextToText if is_vision_language(config) else AutoModelForCausalLM


def load_processor(model_args: "ModelConfig", min_pixels: int, max_pixels: int, phrases: Iterable[str] = ()) -> ProcessorMixin:
    """Loads what turns pictures and text into a vision-language model's input.

    Args:
        model_args: Names the model.
        min_pixels: A smaller picture is enlarged; saved with the processor, so that others resize as in training.
        max_pixels: A larger picture is made smaller.
        phrases: Texts that always come whole, such as a question: one token each for a `tiny:` model.

    Raises:
        SystemExit: With code 2 for an unknown tiny architecture, a folder that is not there, or an unreachable hub. What
            models have that are not of `families.PICTURE_MODELS` is not looked at: see `config.check_reads_pictures`.
    """
    name = model_args.model_name_or_path
    if name.startswith(tiny.PREFIX):
        if name not in TINY:
            fail(f"model_name_or_path {name}: the only tiny models that read pictures are {' and '.join(TINY)}")
        return tiny_processor(min_pixels, max_pixels, phrases)
    check_source(name)
    try:
        processor = AutoProcessor.from_pretrained(name, revision=model_args.model_revision, trust_remote_code=False)
    except Exception as error:  # the libraries raise whatever a broken file makes them stumble over
        fail_to_load(name, error)
    processor.image_processor.size = {"shortest_edge": min_pixels, "longest_edge": max_pixels}
    # Rows are turned into tokens by the tokenizer alone, in the processor's chat format.
    try:
        processor.chat_template = without_marks(as_text(processor.chat_template))
    except BadRow as error:
        fail(f"model_name_or_path {name}: {error}")
    processor.tokenizer.chat_template = processor.chat_template
    return processor
