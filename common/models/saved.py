"""Loads what a run has trained: whole weights, an adapter on its base model, or ZeRO's shards."""

import contextlib
import io
import os
import warnings
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from common.data.hub import is_path, refusal, use_cache_if_unreachable
from common.data.runs import COMPLETE, RECORD, newest_complete_checkpoint, read_record, run_of
from common.errors import brief, fail, say
from common.models.experts import keep_adapters_apart, use_sorted_experts
from common.models.folder import check_folder
from common.models.in_files import dequantize_in_files, load_in_files
from common.models.mxfp4 import from_pretrained
from common.models.sampling import stop_tokens
from common.models.vision import auto_class

import torch
from peft import PeftConfig, PeftModel
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoProcessor,
    AutoTokenizer,
    BitsAndBytesConfig,
    GenerationConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    ProcessorMixin,
)

ROOT = Path(__file__).resolve().parent.parent.parent


def _in_4_bits(settings: dict[str, Any], config: PreTrainedConfig) -> BitsAndBytesConfig | None:
    """Returns what makes `from_pretrained` load the 4-bit weights that a run was trained with."""
    from common.models.load import quantization_of  # imports TRL, which takes seconds

    from trl import ModelConfig

    known = {field.name for field in fields(ModelConfig)}
    model_args = ModelConfig(**{name: value for name, value in settings.items() if name in known})
    return quantization_of(model_args, config)


def _base_of(adapter: Path, settings: dict[str, Any]) -> str:
    """Returns where the model is that an adapter was trained on: its folder or its hub id."""
    name = PeftConfig.from_pretrained(adapter).base_model_name_or_path
    trained_on = settings.get("model_name_or_path", name)
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
    return found or name


def _load_whole(name: str, config: PreTrainedConfig, files: Path | None, **loaded: Any) -> PreTrainedModel:
    if files is None:
        return from_pretrained(auto_class(config), config, name, **loaded)
    return load_in_files(auto_class(config), config, name, files, **loaded)


def _load_base(adapter: Path, settings: dict[str, Any], files: Path | None) -> PreTrainedModel:
    """Loads the model that an adapter was trained on, in the dtype it had then; 4 bits are put back into that."""
    name = _base_of(adapter, settings)
    try:
        revision = settings.get("model_revision")
        config = AutoConfig.from_pretrained(name, revision=revision, trust_remote_code=False)
        loaded = {"revision": revision}
        if settings.get("dtype") not in ("auto", None):
            loaded["dtype"] = getattr(torch, settings["dtype"])
        if settings.get("load_in_4bit"):
            loaded["quantization_config"] = _in_4_bits(settings, config)
            model = from_pretrained(auto_class(config), config, name, **loaded)
        else:
            model = _load_whole(name, config, files, **loaded)
    except (OSError, ValueError) as error:
        fail(f"{adapter}: its base model {name} cannot be loaded: {refusal(error) or brief(error)}")
    if settings.get("load_in_4bit"):
        # The adapter was trained and measured beside these weights: beside those that lost nothing it is another model.
        return dequantize_in_files(model, files) if files else model.dequantize()
    if settings.get("load_in_8bit"):
        say(f"The adapter was trained on its base model in 8 bits and is applied to it in {str(model.dtype)[6:]} here.")
    return model


@contextlib.contextmanager
def _reading_no_code() -> Iterator[None]:
    """Lets torch read weights, numbers and what DeepSpeed keeps beside them: any other pickle can run what its maker wants."""
    from deepspeed.runtime.fp16.loss_scaler import DynamicLossScaler, LossScaler
    from deepspeed.runtime.zero.config import ZeroStageEnum
    from deepspeed.utils.tensor_fragment import fragment_address

    variable = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"  # read by torch.load; DeepSpeed asks it for all that a pickle can do
    earlier = {variable: os.environ[variable]} if variable in os.environ else {}
    os.environ[variable] = "1"
    try:
        with torch.serialization.safe_globals([DynamicLossScaler, LossScaler, ZeroStageEnum, fragment_address]):
            yield
    finally:
        del os.environ[variable]
        os.environ |= earlier


def _kind_of_weights(folder: Path) -> str:
    """Returns how the weights in a folder are saved: as an `adapter`, `whole` or in `shards`; fails if none can be read."""
    adapted = (folder / "adapter_config.json").exists()
    if any(folder.glob("adapter_model.safetensors" if adapted else "*.safetensors")):
        return "adapter" if adapted else "whole"
    if not adapted and (folder / "latest").exists():
        return "shards"
    pickles = sorted(path.name for path in folder.glob("*model*.bin"))
    found = f"{pickles[0]}, a pickle, which could run code when it is read" if pickles else "no others either"
    fail(f"{folder} holds no weights in safetensors ({found}); pass a run whose weights are saved so")


def _join_shards(folder: Path) -> PreTrainedModel:
    """Loads a full model of which only ZeRO's shards were saved (`zero3_save_16bit_model: false`)."""
    from deepspeed.utils.zero_to_fp32 import get_fp32_state_dict_from_zero_checkpoint

    say(f"{folder} holds ZeRO shards and no whole weights: joining them.")
    try:
        with _reading_no_code(), contextlib.redirect_stdout(io.StringIO()):  # a dozen lines on the layout of the shards
            weights = get_fp32_state_dict_from_zero_checkpoint(str(folder))
    except UnpicklingError:
        fail(f"{folder}: its ZeRO shards hold more than weights and numbers, and reading that could run code; nothing was run")
    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    model = auto_class(config).from_config(config, dtype=config.dtype)
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        fail(f"{folder}: its ZeRO shards do not fit its config.json: {brief(error)}; put back the one that was saved with them")
    if (folder / "generation_config.json").exists():
        model.generation_config = GenerationConfig.from_pretrained(folder)
    return model


def _load(
    folder: Path, settings: dict[str, Any], files: Path | None
) -> tuple[PreTrainedModel, PreTrainedModel | PeftModel, PreTrainedTokenizerBase, PreTrainedTokenizerBase | ProcessorMixin]:
    """Returns the model below adapters, the model, its tokenizer, and its processor if it has one (else the tokenizer)."""
    kind = _kind_of_weights(folder)
    if kind != "shards":
        check_folder(str(folder))
    tokenizer = processing = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    if (folder / "processor_config.json").exists():
        processing = AutoProcessor.from_pretrained(folder, trust_remote_code=False)
    if kind == "adapter":
        base = _load_base(folder, settings, files)
        with warnings.catch_warnings():
            # Says how to merge an adapter of tied embeddings; common.commands.export does so.
            warnings.filterwarnings("ignore", message="Model has `tie_word_embeddings=True`")
            try:
                model = PeftModel.from_pretrained(base, folder)
            except RuntimeError as error:
                fail(f"{folder} does not fit its base model {base.config.name_or_path}: {brief(error)}; put the right one back")
    elif kind == "whole":
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        base = model = _load_whole(str(folder), config, files)
    else:
        base = model = _join_shards(folder)
    return base, model, tokenizer, processing


def _settings_of(folder: Path) -> dict[str, Any]:
    """Returns the settings of a run whose model can be loaded."""
    run, record = read_record(folder)
    if not (folder / COMPLETE).exists():
        checkpoint = newest_complete_checkpoint(run)
        cure = f"pass {checkpoint}" if checkpoint else "the command that started the run continues it"
        fail(f"{folder} is not complete; {cure}")
    parts = [str(path.parent) for path in sorted(folder.glob(f"*/{RECORD}"))]
    if parts:
        fail(f"{folder} is a run of several parts and holds no model itself; pass one of {', '.join(parts)}")
    return record["settings"]


def empty_model(folder: Path) -> tuple[PreTrainedModel, torch.dtype, dict[str, Any]]:
    """Returns the model of a run without its weights, of adapters their base model; the dtype of its weights; its settings.

    Args:
        folder: The run's folder, or one of its checkpoints.

    Raises:
        SystemExit: As `load_run`.
    """
    settings, name, revision, dtype = _settings_of(folder), str(folder), None, None
    kind, what, cure = _kind_of_weights(folder), folder, "; pass another run, or a checkpoint-N of this one"
    if kind != "shards":
        check_folder(name)
    try:
        if kind == "adapter":
            name, revision, dtype = _base_of(folder, settings), settings.get("model_revision"), settings.get("dtype")
            what, cure = f"{folder}: its base model {name}", ""
        config = AutoConfig.from_pretrained(name, revision=revision, trust_remote_code=False)
        with torch.device("meta"):
            model = auto_class(config).from_config(config, trust_remote_code=False)
    except (OSError, ValueError) as error:
        fail(f"{what} cannot be loaded: {refusal(error) or brief(error)}{cure}")
    dtype = getattr(torch, dtype) if dtype not in ("auto", None) else config.dtype or torch.float32
    return model, dtype, settings


def load_run(
    folder: str | Path, device: str | None = None, files: Path | None = None
) -> tuple[PreTrainedModel | PeftModel, PreTrainedTokenizerBase | ProcessorMixin, dict[str, Any]]:
    """Loads the model of a run, ready to generate: whole weights, an adapter on its base model, or ZeRO's shards.

    No code is run that the run, or the adapter's base model, brings along.

    Args:
        folder: The run's folder, or one of its checkpoints; or that of an export, or of any saved model or adapter.
        device: Where the model goes; a GPU if there is one and nothing is given.
        files: A folder for the weights of a model on the CPU; without one they go into the memory. ZeRO's shards always do.

    Returns:
        The model, its tokenizer (of a model that reads pictures its processor), and the run's settings by name; none
        of what is no run.

    Raises:
        SystemExit: With code 2 and one line if there is no complete run, a file of it is damaged, it holds no weights but
            pickles, or the adapter's base model is missing.
    """
    folder = Path(folder)
    settings = _settings_of(folder) if (run_of(folder) / RECORD).exists() else {}
    try:
        base, model, tokenizer, processing = _load(folder, settings, files)
    except (OSError, ValueError, SafetensorError) as error:
        fail(f"{folder} cannot be loaded: {brief(error)}; pass another run, or a checkpoint-N of this one")
    use_sorted_experts(base)
    keep_adapters_apart(model)
    # It was trained to end a turn with the tokenizer's end of text, which the base model may not have known.
    stops = {*stop_tokens(base.generation_config), tokenizer.eos_token_id}
    base.generation_config.eos_token_id = sorted(stops)
    base.generation_config.pad_token_id = tokenizer.pad_token_id
    return model.to(device or ("cuda" if torch.cuda.is_available() else "cpu")).eval(), processing, settings
