"""Rows from a hub data set or a local file, with the file and row number of whatever is wrong in them."""

import glob
import os
from pathlib import Path
from typing import Any

from common.data.files import KINDS, Rows, kind_of, read_file
from common.data.hub import is_path, use_cache_if_unreachable
from common.data.splits import find_splits
from common.errors import brief, fail

from datasets import Dataset, DatasetDict, load_dataset
from datasets.exceptions import DatasetGenerationError

UNREADABLE = (DatasetGenerationError, OSError, ValueError)  # what `datasets` and Arrow raise where a file is damaged


def _load_parquet(path: Path) -> Dataset:
    if path.stat().st_size == 0:
        fail(f"{path} is empty; it needs at least one row")
    try:
        rows = load_dataset("parquet", data_files=glob.escape(str(path.absolute())), split="train")
    except UNREADABLE as error:
        fail(f"{path} cannot be read as parquet: {brief(error.__cause__ or error)}; it is damaged or cut short, copy it again")
    if len(rows) == 0:
        fail(f"{path} has no rows; it needs at least one")
    return rows


def load_splits(name: str, config: str | None = None) -> DatasetDict:
    """Loads what `datasets` reads: a hub data set, a parquet, or a folder.

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
        if path.suffix.lower() != ".parquet":
            fail(f"{path}: unknown file type; use one of {', '.join(KINDS)}, .parquet")
        return DatasetDict(train=_load_parquet(path))
    if not is_folder and (path.suffix.lower() == ".parquet" or kind_of(path) or is_path(name)):
        fail(f"dataset_name {name}: there is no such file; pass an existing file, a hub id, or `synthetic`")
    if not is_folder:
        use_cache_if_unreachable()
    try:
        splits = load_dataset(name, None if is_folder else config)
    except DatasetGenerationError as error:
        fail(f"dataset_name {name} cannot be read: {brief(error.__cause__ or error)}; pass one file of it, to learn which row")
    except UNREADABLE as error:
        cure = "pass a folder with a train.jsonl or the like" if is_folder else "without a hub pass a local file or `synthetic`"
        fail(f"dataset_name {name} cannot be loaded: {brief(error)}; {cure}")
    found = find_splits(splits)
    if "train" not in found:
        fail(f"dataset_name {name} has no split `train` (found: {', '.join(splits)}); call what is to be trained train")
    return DatasetDict({split: splits[split] for split in found.values()})


def _find_files(folder: Path) -> dict[str, Path]:
    """Returns the files of a folder that are called as splits are (train.jsonl, test.csv.gz), by the name of the split."""
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        name = path.name.partition(".")[0]
        if path.is_file() and path.name.lower() in (f"{name}{kind_of(path)}", f"{name}{kind_of(path)}.gz"):
            if name in found:
                fail(f"{folder} has {found[name].name} and {path.name}; keep one of them there")
            found[name] = path
    return {name: found[name] for name in find_splits(found).values()}


def _without_none(value: Any) -> Any:
    """Drops keys without a value: Arrow gives every object the keys of all the others, filled with None."""
    if isinstance(value, dict):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    return [_without_none(item) for item in value] if isinstance(value, list) else value


def read_splits(name: str, config: str | None = None) -> dict[str, Rows]:
    """Reads rows from a hub data set, a local file or a local folder.

    Args:
        name: A hub id, a local file (jsonl, json, csv, parquet) or a local folder of such files.
        config: Name of the hub data set's configuration, where it has several; not used for what is local.

    Returns:
        For each split where each row is, and the row; a local file is one split, `train`. Rows of a jsonl, json or csv are as
        they were written.

    Raises:
        SystemExit: With code 2 and one line if they cannot be read.
    """
    if os.path.isfile(name) and kind_of(Path(name)):
        return {"train": read_file(Path(name))}
    files = _find_files(Path(name)) if os.path.isdir(name) else {}
    if "train" in find_splits(files):
        return {split: read_file(path) for split, path in files.items()}
    splits = {}
    for split, rows in load_splits(name, config).items():
        where = name if os.path.isfile(name) else f"{name} ({split})"
        splits[split] = [
            (f"{where}, row {number}", {column: _without_none(value) for column, value in row.items()})
            for number, row in enumerate(rows, start=1)
        ]
    return splits


def load_rows(name: str, columns: list[str], config: str | None = None) -> dict[str, Rows]:
    """Reads rows and checks that every one has a text in the columns that a recipe needs.

    Args:
        name: See `read_splits`.
        columns: Columns that must be there, with a text in every row.
        config: See `read_splits`.

    Returns:
        The splits by name: where each row is, and the row.

    Raises:
        SystemExit: With code 2 and one line for data that cannot be read, or a row without a text in a column.
    """
    splits = read_splits(name, config)
    for rows in splits.values():
        for where, row in rows:
            for column in columns:
                if column not in row:
                    fail(f"{where}: no column `{column}` (found: {', '.join(map(str, row)) or 'nothing'}); rename or add it")
                value = row[column]
                if value is None or (isinstance(value, str) and not value.strip()):
                    fail(f"{where}: no value in column `{column}`; fill it in or remove the row")
                if not isinstance(value, str):
                    kind = type(value).__name__
                    fail(f"{where}: column `{column}` must be a text, not {kind}; put it into quotes, or remove the row")
    return splits
