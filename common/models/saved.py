"""Loads what a run has trained: whole weights, an adapter on its base model, or ZeRO's shards."""

import contextlib
import io
import warnings
from dataclasses import fields
from pathlib import Path
from typing import Any

from common.data.hub import is_path, use_cache_if_unreachable
from common.data.runs import COMPLETE, RECORD, newest_complete_checkpoint, read_record
from common.errors import brief, fail, say
from common.models.folder import check_folder
from common.models.mxfp4 import from_pretrained
from common.models.vision import auto_class

import torch
from peft import PeftConfig, PeftModel
from transformers import (
    AutoConfig,
    AutoProcessor,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    ProcessorMixin,
)

ROOT = Path(__file__).resolve().parent.parent.parent


def _in_4_bits(settings: dict[str, Any], config: PreTrainedConfig) -> dict[str, Any]:
    """Returns what makes `from_pretrained` load the 4-bit weights that a run was trained with."""
    from common.models.load import quantization_of  # imports TRL, which takes seconds

    from trl import ModelConfig

    known = {field.name for field in fields(ModelConfig)}
    model_args = ModelConfig(**{name: value for name, value in settings.items() if name in known})
    named = settings.get("dtype") not in ("auto", None)
    return {
        "quantization_config": quantization_of(model_args, config),
        **({"dtype": getattr(torch, settings["dtype"])} if named else {}),
    }


def _load_base(adapter: Path, settings: dict[str, Any]) -> PreTrainedModel:
    """Loads the model that an adapter was trained on; one that was held in 4 bits is put back into the dtype from these."""
    trained_on = settings["model_name_or_path"]
    name = PeftConfig.from_pretrained(adapter).base_model_name_or_path
    if not name:
        fail(f"{adapter}: its base model {trained_on} was built for the run and not kept; train from a saved model instead")
    # A relative path is meant from the folder in which the training was started, most likely the repository.
    places = [Path(name), ROOT / name, Path(trained_on)]
    found = next((str(place) for place in places if place.is_dir()), None)
    if found is None:
        if is_path(name):
            fail(
                f"{adapter}: its base model {name} is not there; put it back, or write where it is as "
                f"`base_model_name_or_path` in {adapter / 'adapter_config.json'}"
            )
        use_cache_if_unreachable()
    try:
        revision = settings.get("model_revision")
        config = AutoConfig.from_pretrained(found or name, revision=revision)
        loaded = {"revision": revision}
        if settings.get("load_in_4bit"):
            loaded |= _in_4_bits(settings, config)
        model = from_pretrained(auto_class(config), config, found or name, **loaded)
    except (OSError, ValueError) as error:
        fail(f"{adapter}: its base model {name} cannot be loaded: {brief(error)}")
    if settings.get("load_in_4bit"):
        # The adapter has learned to make up for what these weights lost: beside those that lost nothing it would be wrong.
        return model.dequantize()
    if settings.get("load_in_8bit"):
        say(f"The adapter was trained on its base model in 8 bits and is applied to it in {str(model.dtype)[6:]} here.")
    return model


def _join_shards(folder: Path) -> PreTrainedModel:
    """Loads a full model of which only ZeRO's shards were saved (`zero3_save_16bit_model: false`)."""
    from deepspeed.utils.zero_to_fp32 import get_fp32_state_dict_from_zero_checkpoint

    say(f"{folder} holds ZeRO shards and no whole weights: joining them.")
    with contextlib.redirect_stdout(io.StringIO()):  # a dozen lines on the layout of the shards
        weights = get_fp32_state_dict_from_zero_checkpoint(str(folder))
    config = AutoConfig.from_pretrained(folder)
    model = auto_class(config).from_config(config, dtype=config.dtype)
    model.load_state_dict(weights)
    if (folder / "generation_config.json").exists():
        model.generation_config = GenerationConfig.from_pretrained(folder)
    return model


def load_run(
    folder: str | Path, device: str | None = None
) -> tuple[PreTrainedModel | PeftModel, PreTrainedTokenizerBase | ProcessorMixin, dict[str, Any]]:
    """Loads the model of a run, ready to generate: whole weights, an adapter on its base model, or ZeRO's shards.

    Args:
        folder: The run's folder, or one of its checkpoints.
        device: Where the model goes; a GPU if there is one and nothing is given.

    Returns:
        The model, its tokenizer (of a model that reads pictures its processor), and the run's settings by name.

    Raises:
        SystemExit: With code 2 and one line if there is no complete run, a file of it is damaged, or its adapter's base model
            is missing.
    """
    folder = Path(folder)
    run, record = read_record(folder)
    settings = record["settings"]
    if not (folder / COMPLETE).exists():
        checkpoint = newest_complete_checkpoint(run)
        cure = f"pass {checkpoint}" if checkpoint else "the command that started the run continues it"
        fail(f"{folder} is not complete; {cure}")
    parts = [str(path.parent) for path in sorted(folder.glob(f"*/{RECORD}"))]
    if parts:
        fail(f"{folder} is a run of several parts and holds no model itself; pass one of {', '.join(parts)}")
    if any(folder.glob("*.safetensors")):
        check_folder(str(folder))
    tokenizer = processing = AutoTokenizer.from_pretrained(folder)
    if (folder / "processor_config.json").exists():
        processing = AutoProcessor.from_pretrained(folder)
    if (folder / "adapter_config.json").exists():
        base = _load_base(folder, settings)
        with warnings.catch_warnings():
            # Says how to merge an adapter of tied embeddings; common.commands.export does so.
            warnings.filterwarnings("ignore", message="Model has `tie_word_embeddings=True`")
            model = PeftModel.from_pretrained(base, folder)
    elif any(folder.glob("*.safetensors")):
        config = AutoConfig.from_pretrained(folder)
        base = model = from_pretrained(auto_class(config), config, str(folder))
    else:
        base = model = _join_shards(folder)
    # It was trained to end a turn with the tokenizer's end of text, which the base model may not have known.
    stops = base.generation_config.eos_token_id
    stops = set(stops if isinstance(stops, list) else [] if stops is None else [stops])
    base.generation_config.eos_token_id = sorted(stops | {tokenizer.eos_token_id})
    base.generation_config.pad_token_id = tokenizer.pad_token_id
    return model.to(device or ("cuda" if torch.cuda.is_available() else "cpu")).eval(), processing, settings
