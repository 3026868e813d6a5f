"""Tokens of large data sets, kept in the cache of `datasets`: `recipes prepare` makes them, and the launch finds them."""

import json
from collections.abc import Iterable, Sequence
from datetime import date
from hashlib import blake2b
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

from common.data import cache
from common.data.questions import digest_of_content, digests, exact_of
from common.data.templates import reads_clock

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset
from datasets.table import InMemoryTable
from transformers import PreTrainedTokenizerBase

FEWEST = 500  # conversations; fewer are made anew in less than a second
IN_MEMORY = 2000  # rows; fewer are held in memory
BATCH = 1000  # rows that are written at a time
FILE, FOUND = "tokens.arrow", "found.json"
TOKENS = pa.list_(pa.int32())
SCHEMA = pa.schema({"input_ids": TOKENS, "labels": TOKENS})
BadRows = dict[int, tuple[int, str]]  # of a row without tokens its length, if it is known, and what is wrong with it
# What makes tokens of a conversation: with other code they may be other tokens.
CODE = [
    Path(__file__).with_name(name)
    for name in ("tokens.py", "offsets.py", "words.py", "spans.py", "shown.py", "templates.py", "token_cache.py")
]


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
    digest.update(digests(conversations, exact_of, digest_of_content).tobytes())
    return cache.folder_of(digest.hexdigest())


def dataset_of(rows: Sequence[tuple[np.ndarray, np.ndarray]]) -> Dataset:
    """Returns the tokens and labels of a few rows in memory."""
    return Dataset(InMemoryTable(pa.Table.from_batches([_batch(rows)], SCHEMA)))


def _batch(rows: Sequence[tuple[np.ndarray, np.ndarray]]) -> pa.RecordBatch:
    columns = [pa.array([row[place] for row in rows], TOKENS) for place in range(2)]
    return pa.record_batch(columns, schema=SCHEMA)


def write(rows: Iterable[tuple[np.ndarray, np.ndarray]], bad: BadRows, folder: Path) -> None:
    """Writes tokens into a folder.

    Args:
        rows: The tokens and the labels of each row.
        bad: The rows of which there are none; complete when `rows` has come to its end.
        folder: A folder for `load`.
    """
    with pa.OSFile(str(folder / FILE), "wb") as file, pa.ipc.new_stream(file, SCHEMA) as writer:
        rows, count = iter(rows), 0
        while batch := list(islice(rows, BATCH)):
            writer.write_batch(_batch(batch))
            count += len(batch)
    (folder / FOUND).write_text(json.dumps({"count": count, "bad": bad}), encoding="utf-8")


def load(folder: Path) -> tuple[Dataset, BadRows]:
    """Returns the tokens in a folder, and the rows that have none.

    Many are read from the file whenever they are asked for, and take no memory of the process's own.

    Args:
        folder: See `write`.
    """
    found = json.loads((folder / FOUND).read_text(encoding="utf-8"))
    tokens = Dataset.from_file(str(folder / FILE), in_memory=found["count"] < IN_MEMORY)
    if len(tokens) != found["count"]:
        raise ValueError(f"{len(tokens)} rows instead of {found['count']}")
    return tokens, {int(number): tuple(why) for number, why in found["bad"].items()}


def lengths_of(tokens: Dataset) -> np.ndarray:
    """Returns how many tokens each row has."""
    batches = tokens.select_columns("input_ids").with_format("arrow").iter(BATCH)
    return np.concatenate([np.zeros(0, np.int64), *(pc.list_value_length(batch["input_ids"]) for batch in batches)])
