"""Rows from a hub data set or a local file, with the file and row number of whatever is wrong in them."""

import json
from pathlib import Path

from common.errors import fail

from datasets import Dataset, DatasetDict, load_dataset
from datasets.exceptions import DatasetGenerationError

LOADERS = {".jsonl": "json", ".json": "json", ".csv": "csv", ".parquet": "parquet"}


def _fail_at_broken_row(path: Path, error: Exception) -> None:
    """Fails with the row that the loader could not read."""
    if path.suffix == ".jsonl":
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), start=1):
            try:
                if line.strip():
                    json.loads(line)
            except json.JSONDecodeError as problem:
                fail(f"{path}, row {number}: not valid JSON ({problem.msg}); write one JSON object a line")
    fail(f"{path} cannot be read as {path.suffix[1:]} ({' '.join(str(error.__cause__ or error).split())[:200]})")


def _load_file(path: Path) -> Dataset:
    if path.suffix not in LOADERS:
        fail(f"{path}: unknown file type; use one of {', '.join(LOADERS)}")
    if not path.read_bytes().strip():
        fail(f"{path} is empty; it needs at least one row")
    try:
        return load_dataset(LOADERS[path.suffix], data_files=str(path), split="train")
    except (DatasetGenerationError, ValueError) as error:
        _fail_at_broken_row(path, error)


def load_rows(name: str, columns: list[str], config: str | None = None) -> DatasetDict:
    """Loads a data set and checks that every row has the columns a recipe needs.

    Args:
        name: A hub id, or a local file (jsonl, json, csv, parquet).
        columns: Columns that must be there, with a value in every row.
        config: Name of the hub data set's configuration, where it has several.

    Returns:
        The splits by name; a local file is one split, `train`.

    Raises:
        SystemExit: With code 2 and one line for a missing or empty file, an unreachable hub, or a row without a column.
    """
    path = Path(name)
    if path.is_file():
        splits = DatasetDict(train=_load_file(path))
    elif path.suffix in LOADERS or name.startswith(("/", "./", "../", "~")):
        fail(f"dataset_name {name}: there is no such file; pass an existing file, a hub id, or `synthetic`")
    else:
        try:
            splits = load_dataset(name, config)
        except (OSError, ValueError) as error:
            fail(
                f"dataset_name {name}: neither a local file nor a hub data set that can be reached "
                f"({type(error).__name__}); without a hub pass a local file or `synthetic`"
            )
    for split, rows in splits.items():
        where = str(path) if path.is_file() else f"{name} ({split})"
        for column in columns:
            if column not in rows.column_names:
                fail(f"{where}, row 1: no column `{column}` (found: {', '.join(rows.column_names)})")
            for number, value in enumerate(rows[column], start=1):
                if value is None or value == "":
                    fail(f"{where}, row {number}: no value in column `{column}`; fill it in or remove the row")
    if len(splits["train"]) == 0:
        fail(f"{name} has no rows; it needs at least one")
    return splits
