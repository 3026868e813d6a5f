"""A model's folder, looked at before anything is loaded: what is missing, broken or cut short is named by its file."""

import json
import os
from pathlib import Path
from typing import Any, NoReturn

from common.data.hub import is_path, refusal, use_cache_if_unreachable
from common.errors import brief, fail

from safetensors import SafetensorError, safe_open

AGAIN = "download or save the model again"
INDEX = "model.safetensors.index.json"
ADAPTER = "adapter_config.json"
# What of a model or its tokenizer is read as JSON, where it is there.
READ = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "processor_config.json",
    "preprocessor_config.json",
    ADAPTER,
    INDEX,
]
TOKENIZERS = ["tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", "sentencepiece.bpe.model"]


def _read_json(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        fail(f"{file} cannot be read ({error.strerror}); correct its permissions")
    except (ValueError, RecursionError) as error:
        fail(f"{file} is not valid JSON ({brief(error)}); {AGAIN}")
    if not isinstance(found, dict):
        fail(f"{file} holds a {type(found).__name__} and no object; {AGAIN}")
    return found


def _check_weights(folder: Path, index: dict[str, Any] | None) -> None:
    """Checks that every file of weights is there and as long as its header says."""
    if index is not None:
        names = index.get("weight_map")
        if not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()):
            fail(f"{folder / INDEX} has no `weight_map`; {AGAIN}")
        missing = sorted({name for name in names.values() if not (folder / name).is_file()})
        if missing:
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            fail(f"model_name_or_path {folder}: {missing[0]}{more} of {INDEX} is not there; {AGAIN}")
    for file in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(file, framework="pt"):
                pass
        except (SafetensorError, OSError) as error:
            fail(f"{file} is damaged or cut short ({brief(error)}); {AGAIN}")


def check_folder(name: str) -> None:
    """Looks at a model's folder: its configuration, tokenizer and weights, or those of an adapter, without loading them.

    Args:
        name: A folder; anything else is left to the hub.

    Raises:
        SystemExit: With code 2 and one line that names the file.
    """
    folder = Path(name)
    if not os.path.isdir(name):
        return
    found = {file: _read_json(folder / file) for file in READ if (folder / file).is_file()}
    if ADAPTER not in found and "config.json" not in found:
        fail(f"model_name_or_path {name} cannot be loaded: there is no config.json in it; pass the folder of a saved model")
    if not any((folder / file).is_file() for file in TOKENIZERS):
        fail(f"model_name_or_path {name} has no tokenizer (tokenizer.json); save it there too, or {AGAIN}")
    # Weights in other forms are old; those that are shards of ZeRO alone are joined by `recipes export`.
    if not any(folder.glob("*.safetensors")) and INDEX not in found and not any(folder.glob("pytorch_model*.bin")):
        fail(f"model_name_or_path {name} holds no weights (*.safetensors); {AGAIN}")
    _check_weights(folder, found.get(INDEX) if not (folder / "model.safetensors").is_file() else None)


def check_source(name: str) -> None:
    """Looks at where a model is to come from: a folder and what is in it, or the hub, which may be out of reach.

    Args:
        name: A folder, or a hub id.

    Raises:
        SystemExit: With code 2 and one line for a folder that is not there, or what is wrong in it.
    """
    if not os.path.isdir(name):
        if is_path(name):
            fail(f"model_name_or_path {name}: there is no such folder; pass an existing folder or a hub id")
        use_cache_if_unreachable()
    check_folder(name)


def fail_to_load(name: str, error: Exception) -> NoReturn:
    """Ends with what a library says of a model that it cannot load."""
    cure = "without a hub pass a local folder or --config tiny.yaml"
    if Path(name).is_dir():
        cure = "pass the folder of a saved model"
    fail(f"model_name_or_path {name} cannot be loaded: {refusal(error) or f'{brief(error)}; {cure}'}")


def config_folder(name: str) -> str:
    """Returns where a model's configuration is: for an adapter, the base model that it was trained on.

    Args:
        name: A folder, or a hub id.

    Raises:
        SystemExit: With code 2 and one line if an adapter names no base model, or one that is not there.
    """
    adapter = Path(name) / ADAPTER
    if not os.path.isfile(adapter):
        return name
    from peft import PeftConfig

    base = PeftConfig.from_pretrained(name).base_model_name_or_path
    if not base:
        fail(f"{adapter} names no base model; write it there as `base_model_name_or_path`")
    if is_path(base) and not Path(base).is_dir():
        fail(f"{name}: its base model {base} is not there; put it back, or correct `base_model_name_or_path` in {adapter}")
    return base
