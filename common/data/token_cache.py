"""Tokens of large data sets, kept in the cache of `datasets`: `recipes prepare` makes them, and the launch finds them."""

import json
import os
import shutil
from collections.abc import Sequence
from datetime import date
from hashlib import blake2b
from importlib.metadata import version
from pathlib import Path
from typing import Any

from common.data.files import Written
from common.data.templates import reads_clock
from common.errors import brief, say

import datasets
from datasets import Dataset
from transformers import PreTrainedTokenizerBase

FEWEST = 500  # conversations; fewer are made anew in less than a second
# What makes tokens of a conversation: with other code they may be other tokens.
CODE = [Path(__file__).with_name(name) for name in ("tokens.py", "shown.py", "templates.py")]


def _lossless(value: Any) -> Any:
    """Returns what JSON writes differently for different values: 1.50 and 1.5 are the same number, and other tokens."""
    if isinstance(value, dict):
        return {key: _lossless(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_lossless(item) for item in value]
    return {"written": str(value)} if isinstance(value, Written) else value


def folder_of(conversations: Sequence[dict[str, Any]], tokenizer: PreTrainedTokenizerBase) -> Path | None:
    """Returns where the tokens of conversations are kept: a name made of all that they depend on.

    Args:
        conversations: The conversations, in their order.
        tokenizer: The model's tokenizer, with its chat template.

    Returns:
        The folder, whether it is there or not; None for few conversations.
    """
    if len(conversations) < FEWEST:
        return None
    template = str(tokenizer.chat_template)
    digest = blake2b(digest_size=16)
    for part in (
        *(path.read_text(encoding="utf-8") for path in CODE),
        f"{version('transformers')} {version('tokenizers')}",
        tokenizer.backend_tokenizer.to_str(),
        template,
        str(date.today()) if reads_clock(template) else "",
        json.dumps({name: str(token) for name, token in tokenizer.special_tokens_map.items()}, sort_keys=True),
    ):
        digest.update(f"{len(part)}:{part}".encode(errors="surrogatepass"))
    for row in conversations:
        digest.update(json.dumps(_lossless([row["messages"], row.get("tools")])).encode() + b"\n")
    return Path(datasets.config.HF_DATASETS_CACHE) / "zero_recipes" / digest.hexdigest()


def load(folder: Path) -> Dataset | None:
    """Returns the tokens that are kept in a folder; None if there are none that can be read."""
    if not folder.is_dir():
        return None
    try:
        return datasets.load_from_disk(str(folder), keep_in_memory=True)
    except Exception as error:  # of a damaged folder the libraries raise whatever they stumble over
        say(f"The tokens kept in {folder} cannot be read and are made anew ({brief(error)}); remove the folder")
        return None


def keep(folder: Path, tokens: Dataset) -> None:
    """Keeps tokens for the next start; several processes may do so at once."""
    working = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        working.parent.mkdir(parents=True, exist_ok=True)
        tokens.save_to_disk(str(working))
        if not folder.exists():
            working.rename(folder)
    except OSError as error:
        if not folder.exists():  # or another process was faster
            say(f"The tokens are not kept for the next start: {brief(error)}")
    finally:
        shutil.rmtree(working, ignore_errors=True)
