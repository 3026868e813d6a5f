"""Models by name: the sizes of those that the recipes name and of some larger ones are at hand, without a hub."""

import json
from importlib.resources import files
from pathlib import Path

from common.models.folder import config_folder, fail_to_load

from transformers import AutoConfig, PreTrainedConfig

SUFFIXES = ("-Instruct", "-Base", "-Chat")


def shapes() -> dict[str, dict]:
    """Returns by a model's name, without its owner and what it was tuned for, what its config.json says of its size."""
    return json.loads((files("common.plan") / "configs.json").read_text(encoding="utf-8"))


def _key(name: str) -> str:
    key = name.rpartition("/")[2]
    for suffix in SUFFIXES:
        key = key.removesuffix(suffix)
    return key


def is_at_hand(name: str) -> bool:
    """Returns whether a model's size is known without a hub.

    Args:
        name: See `config_named`.
    """
    return _key(name) in shapes()


def config_named(name: str) -> PreTrainedConfig:
    """Returns the configuration of a model, without its weights.

    Args:
        name: A folder, or a hub id, such as `meta-llama/Llama-3.2-3B-Instruct`; the owner may be left out of one at hand.

    Raises:
        SystemExit: With code 2 for a folder without a configuration, and for a model that is not at hand and on no hub.
    """
    found = shapes().get(_key(name))
    if found and not Path(name).is_dir():
        return AutoConfig.for_model(**found)
    try:
        return AutoConfig.from_pretrained(config_folder(name), trust_remote_code=False)
    except Exception as error:  # the libraries raise whatever a broken file makes them stumble over
        fail_to_load(name, error)
