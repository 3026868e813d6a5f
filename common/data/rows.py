"""Rows from a hub data set or a local file, with the file and row number of whatever is wrong in them."""

import glob
import gzip
import io
import os
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

from common.data.arguments import DataArguments
from common.data.files import KINDS, Rows, is_parquet, kind_of, read_file
from common.data.folders import find_files, split_of
from common.data.hub import is_path, refusal, use_cache_if_unreachable
from common.data.pieces import LARGE, PIECE, Pieces, digest_of_file, is_large, join, pieces_of
from common.data.sources import sources_of
from common.data.splits import find_splits
from common.data.structs import plain_row
from common.errors import brief, fail

import pyarrow.parquet
from datasets import Dataset, DatasetDict, Features, load_dataset, load_from_disk
from datasets.exceptions import DatasetGenerationError
from datasets.table import InMemoryTable
from huggingface_hub.utils import httpx

UNREADABLE = (DatasetGenerationError, OSError, ValueError, EOFError, zlib.error)  # of a damaged file


# --- One file -----------------------------------------------------------------------------------------------------------


def _check_types(path: Path) -> None:
    """Names the column of a parquet whose type `datasets` (5.2) does not read, if that is why it cannot be read."""
    unpack = gzip.open if path.suffix.lower() == ".gz" else open
    with suppress(*UNREADABLE), unpack(path, "rb") as file:  # damaged: the caller says so
        for field in pyarrow.parquet.read_schema(file):
            try:
                Features.from_arrow_schema(pyarrow.schema([field]))
            except ValueError:
                cure = "leave it out, or write it as text in JSON"
                fail(f"{path}: column `{field.name}` is of Arrow's type {field.type}, which is not read; {cure}")


def load_parquet(path: Path) -> Dataset:
    """Loads a parquet, packed or not.

    Args:
        path: A file for which `is_parquet` is true.

    Raises:
        SystemExit: With code 2 and one line if it is empty or damaged, or a column is of a type that `datasets` does not read.
    """
    if path.stat().st_size == 0:
        fail(f"{path} is empty; it needs at least one row")
    try:
        if path.suffix.lower() == ".gz":
            with gzip.open(path) as file:
                rows = Dataset(InMemoryTable(pyarrow.parquet.read_table(io.BytesIO(file.read()))))
        else:
            rows = load_dataset("parquet", data_files=glob.escape(str(path.absolute())), split="train")
    except UNREADABLE as error:
        _check_types(path)
        fail(f"{path} cannot be read as parquet: {brief(error.__cause__ or error)}; it is damaged or cut short, copy it again")
    if len(rows) == 0:
        fail(f"{path} has no rows; it needs at least one")
    return rows


def _piece(dataset: Dataset, where: str, begin: int, end: int) -> Rows:
    rows = dataset.select(range(begin, end))
    return [(f"{where}, row {number}", plain_row(row, rows.features)) for number, row in enumerate(rows, start=begin + 1)]


def _rows_of(dataset: Dataset, where: str) -> Rows | Pieces:
    size = dataset.data.nbytes
    if size < LARGE:
        return _piece(dataset, where, 0, len(dataset))
    step = max(1, len(dataset) * PIECE // size)

    def cut() -> list[Callable[[], Rows]]:
        begins = range(0, len(dataset), step)
        return [partial(_piece, dataset, where, begin, min(begin + step, len(dataset))) for begin in begins]

    files = [file["filename"] for file in dataset.cache_files]
    return Pieces(f"{where} {[digest_of_file(file) for file in files]} {[] if files else uuid4()}", cut)


def _read(path: Path) -> Rows | Pieces:
    if is_parquet(path):
        return _rows_of(load_parquet(path), str(path))
    return pieces_of(path) if is_large(path) else read_file(path)


# --- Folders --------------------------------------------------------------------------------------------------------------


def _read_folder(folder: Path) -> dict[str, Rows | Pieces]:
    splits = {}
    for split, paths in find_files(folder).items():
        # The parts of a set have numbers; other files of the same name in a folder are other versions of it.
        is_one = all(re.search(r"-\d+-of-\d+\.", path.name) for path in paths) or len({path.parent for path in paths}) > 1
        if split_of(paths[0]) and len(paths) > 1 and not is_one:
            fail(f"{folder} has {paths[0].name} and {paths[1].name}; keep one of them there")
        splits[split] = join([_read(path) for path in paths])
    return splits


def is_saved(folder: Path) -> bool:
    """Returns whether `save_to_disk` wrote a folder."""
    return any((folder / file).is_file() for file in ("state.json", "dataset_dict.json"))


def _load_saved(folder: Path) -> DatasetDict:
    """Loads what `Dataset.save_to_disk` or `DatasetDict.save_to_disk` wrote."""
    try:
        found = load_from_disk(str(folder))
    except UNREADABLE as error:
        fail(f"{folder} cannot be loaded: {brief(error)}; save it again with `save_to_disk`")
    return found if isinstance(found, DatasetDict) else DatasetDict(train=found)


# --- Everything -----------------------------------------------------------------------------------------------------------


def load_splits(name: str, config: str | None = None) -> DatasetDict:
    """Loads what `datasets` reads: a hub data set, a parquet, a folder, or what `save_to_disk` wrote.

    Args:
        name: A hub id, a local parquet, or a local folder.
        config: Name of the hub data set's configuration, where it has several; not used for what is local.

    Returns:
        The splits by name, of those that `splits.find_splits` knows; a local file is one split, `train`.

    Raises:
        SystemExit: With code 2 and one line for a missing or empty file, an unreachable hub, or one that cannot be read.
    """
    path, is_folder = Path(name), os.path.isdir(name)
    if os.path.isfile(name):
        if not is_parquet(path):
            fail(f"{path}: unknown file type; use one of {', '.join(KINDS)}, .parquet")
        return DatasetDict(train=load_parquet(path))
    if not is_folder and (is_parquet(path) or kind_of(path) or is_path(name)):
        fail(f"dataset_name {name}: there is no such file; pass an existing file, a hub id, or `synthetic`")
    if is_folder and is_saved(path):
        saved = _load_saved(path)
        return DatasetDict({split: saved[split] for split in find_splits(saved).values()})
    if not is_folder:
        use_cache_if_unreachable()
    try:
        splits = load_dataset(name, None if is_folder else config)
    except DatasetGenerationError as error:
        fail(f"dataset_name {name} cannot be read: {brief(error.__cause__ or error)}; pass one file of it, to learn which row")
    except (*UNREADABLE, httpx.TransportError) as error:
        cure = "pass a folder with a train.jsonl or the like" if is_folder else "without a hub pass a local file or `synthetic`"
        fail(f"dataset_name {name} cannot be loaded: {refusal(error) or f'{brief(error)}; {cure}'}")
    found = find_splits(splits)
    if not found:
        fail(f"dataset_name {name} has no split `train` (found: {', '.join(splits)}); call what is to be trained train")
    return DatasetDict({split: splits[split] for split in found.values()})


def read_splits(name: str, config: str | None = None) -> dict[str, Rows | Pieces]:
    """Reads rows from a hub data set, a local file or a local folder.

    Args:
        name: A hub id, a local file (one of `files.KINDS` or a parquet, packed or not), a local folder of such files, or one
            that `save_to_disk` wrote.
        config: Name of the hub data set's configuration, where it has several; not used for what is local.

    Returns:
        For each split where each row is, and the row; those of large files in pieces. A local file that is not called after a
        split is `train`. Rows are as they were written, whatever holds them; see `structs.plain_row` for what Arrow adds.

    Raises:
        SystemExit: With code 2 and one line if they cannot be read.
    """
    path = Path(name)
    if os.path.isfile(name) and (kind_of(path) or is_parquet(path)):
        return {split_of(path) or "train": _read(path)}
    if os.path.isdir(name) and not is_saved(path) and (rows := _read_folder(path)):
        return rows
    splits = load_splits(name, config)
    return {split: _rows_of(rows, f"{name} ({split})") for split, rows in splits.items()}


def read_sources(
    args: DataArguments, name: str | None = None, read: Callable[..., dict[str, Any]] = read_splits
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Reads each data set that a setting names.

    Args:
        args: Gives `dataset_name`, and perhaps the data to choose by and to report on.
        name: Other data, in place of all these.
        read: Reads a data set, and of the hub its configuration.

    Returns:
        The name of each data set and its rows by split. Of several data sets, and where others are given to choose by or to
        report on, the splits are called `train`, `validation` and `test`.

    Raises:
        SystemExit: With code 2 and one line if they cannot be read.
    """
    sources = [source for source, _ in sources_of(name or args.dataset_name)]
    given = {} if name else {"validation": args.validation_dataset_name, "test": args.test_dataset_name}
    given = {part: source for part, source in given.items() if source}
    for source in sources:
        if source == "synthetic" and (given or len(sources) > 1):  # it has no rows that could be read
            if len(sources) > 1:
                fail("dataset_name: `synthetic` cannot be mixed with other data; pass files, folders or hub ids")
            continue
        splits = read(source, args.dataset_config)
        if len(sources) > 1 or given:
            splits = {part: splits[split] for part, split in find_splits(splits).items() if part not in given}
        yield source, splits
    for part, source in given.items():
        yield source, {part: join(list(read(source).values()))}
