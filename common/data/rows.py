"""Rows from a hub data set or a local file, with the file and row number of whatever is wrong in them."""

import json
from pathlib import Path

from common.data.hub import is_path, use_cache_if_unreachable
from common.data.splits import find_splits
from common.errors import brief, fail

from datasets import Dataset, DatasetDict, load_dataset
from datasets.exceptions import DatasetGenerationError

LOADERS = {".jsonl": "json", ".json": "json", ".csv": "csv", ".parquet": "parquet"}


def _fail_at_broken_row(path: Path, error: Exception) -> None:
    """Fails with the line that the loader could not read, or else with what the loader says."""
    if "corresponds to no data" in str(error):
        fail(f"{path} has no rows; it needs at least one")
    if path.suffix == ".jsonl":
        for number, line in enumerate(path.read_text(errors="replace").split("\n"), start=1):
            try:
                if line.strip() and not isinstance(json.loads(line), dict):
                    fail(f"{path}, line {number}: not a JSON object; write one {{...}} a line")
            except json.JSONDecodeError as problem:
                fail(f"{path}, line {number}: not valid JSON ({problem.msg}); write one JSON object a line")
    fail(f"{path} cannot be read as {path.suffix[1:]}: {brief(error.__cause__ or error)}")


def _load_file(path: Path) -> Dataset:
    if path.suffix not in LOADERS:
        fail(f"{path}: unknown file type; use one of {', '.join(LOADERS)}")
    if path.stat().st_size == 0:
        fail(f"{path} is empty; it needs at least one row")
    try:
        return load_dataset(LOADERS[path.suffix], data_files=str(path), split="train")
    except (DatasetGenerationError, ValueError) as error:
        _fail_at_broken_row(path, error)


def load_rows(name: str, columns: list[str], config: str | None = None, kind: type = str) -> DatasetDict:
    """Loads a data set and checks that every row has the columns a recipe needs.

    Args:
        name: A hub id, a local file (jsonl, json, csv, parquet) or a local folder of such files.
        columns: Columns that must be there, with a value in every row.
        config: Name of the hub data set's configuration, where it has several; not used for what is local.
        kind: What these columns hold.

    Returns:
        The splits by name, of those that `splits.find_splits` knows; a local file is one split, `train`.

    Raises:
        SystemExit: With code 2 and one line for a missing or empty file, an unreachable hub, or a row without a column.
    """
    path = Path(name)
    if path.is_file():
        splits = DatasetDict(train=_load_file(path))
    elif not path.is_dir() and (path.suffix in LOADERS or is_path(name)):
        fail(f"dataset_name {name}: there is no such file; pass an existing file, a hub id, or `synthetic`")
    else:
        if not path.is_dir():
            use_cache_if_unreachable()
        try:
            splits = load_dataset(name, None if path.is_dir() else config)
        except DatasetGenerationError as error:
            fail(f"dataset_name {name} cannot be read: {brief(error.__cause__ or error)}")
        except (OSError, ValueError) as error:
            fail(f"dataset_name {name} cannot be loaded: {brief(error)}; without a hub pass a local file or `synthetic`")
    found = find_splits(splits)
    if "train" not in found:
        fail(f"dataset_name {name} has no split `train` (found: {', '.join(splits)})")
    splits = DatasetDict({split: splits[split] for split in found.values()})
    for split, rows in splits.items():
        where = str(path) if path.is_file() else f"{name} ({split})"
        for column in columns:
            if column not in rows.column_names:
                fail(f"{where}, row 1: no column `{column}` (found: {', '.join(rows.column_names)})")
            for number, value in enumerate(rows[column], start=1):
                if value is None or value == "":
                    fail(f"{where}, row {number}: no value in column `{column}`; fill it in or remove the row")
                if not isinstance(value, kind):
                    fail(f"{where}, row {number}: column `{column}` must be {kind.__name__}, not {type(value).__name__}")
    if len(splits[found["train"]]) == 0:
        fail(f"{name} has no rows; it needs at least one")
    return splits
