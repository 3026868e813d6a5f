"""Data sets of pictures in whatever layout: tables, parquet and the hub, PaddleOCR's label files, texts beside pictures."""

import os
import unicodedata
from functools import partial
from pathlib import Path
from typing import Any

from common.data.columns import HEADINGS, heading
from common.data.files import is_parquet, kind_of, read_file
from common.data.folders import find_files, split_of
from common.data.notes import note
from common.data.pictures import Cell
from common.data.rows import is_saved, load_parquet, load_splits
from common.data.splits import find_splits
from common.data.structs import plain_row
from common.errors import BadRow, fail

from datasets import Dataset, Features, Image, List

from columns import picture_columns
from labels import beginnings, find_labels, is_label_file, read_labels
from pairs import PARTS, Made, find_pairs, is_picture, read_pairs
from rows import Found, find_images

Columns = dict[str, str]  # see common.data.columns.read_columns


# --- Tables ---------------------------------------------------------------------------------------------------------------


def _split_of(row: dict[str, Any], mapped: Columns) -> str | None:
    """Returns the part after which the folder is called in which a row's picture lies."""
    try:
        name = next((row[column] for column in picture_columns(row, mapped)), None)
    except BadRow:  # said when the row is made
        return None
    parts = Path(name).parts if isinstance(name, str) else ()
    return PARTS.get(parts[0].lower()) if len(parts) > 1 else None


def _say_unnamed(path: Path, rows: list[dict[str, Any]], mapped: Columns) -> None:
    """Says how many of the pictures that lie beside a metadata file it does not name."""
    cells = [
        row[column] for row in rows for column in row if column in mapped.values() or heading(column) in HEADINGS["images"]
    ]
    named = {
        Path(name).name for cell in cells for name in (cell if isinstance(cell, list) else [cell]) if isinstance(name, str)
    }
    named |= {unicodedata.normalize(form, name) for name in named for form in ("NFC", "NFD")}
    others = [file.name for file in sorted(path.parent.rglob("*")) if is_picture(file) and file.name not in named]
    if others:
        note(f"{path}: {len(others)} pictures beside it have no row and are not read, such as {others[0]}")


def _read_table(path: Path, mapped: Columns, folders: list[Path]) -> dict[str, Made]:
    """Returns the rows of a jsonl, json, csv or tsv, by the folders of their pictures if all are called after splits."""
    folders = [*folders, *beginnings(path)]

    def make(row: dict[str, Any]) -> list[Found]:
        names = picture_columns(row, mapped)
        return [Found(row, find_images(row[names[0]], folders) if names else [], folders)]

    rows = read_file(path)
    if path.name.lower().startswith("metadata."):
        _say_unnamed(path, [row for _, row in rows], mapped)
    splits = [_split_of(row, mapped) for _, row in rows]
    if None in splits or "train" not in splits:
        splits = ["train"] * len(rows)
    parts: dict[str, Made] = {}
    for split, (where, row) in zip(splits, rows, strict=True):
        parts.setdefault(split, []).append((where, partial(make, row)))
    return parts


def _undecoded(feature: Any) -> Any:
    if isinstance(feature, Image):
        return Image(decode=False)
    if isinstance(feature, List):
        return List(_undecoded(feature.feature))
    if isinstance(feature, dict):
        return {name: _undecoded(inner) for name, inner in feature.items()}
    return feature


def _read_dataset(rows: Dataset, name: str, mapped: Columns, folders: list[Path]) -> Made:
    """Returns the rows of a data set, whose pictures stay where they are, undecoded."""
    rows = rows.cast(Features({column: _undecoded(feature) for column, feature in rows.features.items()}))
    pictures = [column for column, feature in rows.features.items() if str(feature).count("Image(")]
    try:
        columns = picture_columns(dict.fromkeys(rows.column_names, True), mapped) or pictures[:1]
    except BadRow as error:
        fail(f"{name}: {error}")
    rest = rows.remove_columns(columns)

    def make(number: int, row: dict[str, Any]) -> list[Found]:
        images = []
        for column in columns:
            value = rows[number][column]
            places = range(len(value)) if isinstance(value, list) else [None]
            for item, place in zip(value if isinstance(value, list) else [value], places, strict=True):
                is_within = isinstance(item, bytes) or (isinstance(item, dict) and isinstance(item.get("bytes"), bytes))
                found = [Cell(rows, number, column, place)] if is_within else find_images(item, folders)
                images += found
        return [Found(dict.fromkeys(columns) | row, images, folders)]

    others = rest if rest.column_names else [{}] * len(rows)
    return [(f"{name}, row {n + 1}", partial(make, n, plain_row(row, rest.features))) for n, row in enumerate(others)]


def _is_index(path: Path) -> bool:
    """Returns whether a file names the pictures of a folder, whatever lies beside them: `metadata.csv`, `train.jsonl`."""
    return bool(kind_of(path) or is_parquet(path)) and bool(split_of(path) or path.name.lower().startswith("metadata."))


def _read_tables(folder: Path, mapped: Columns, folders: list[Path]) -> dict[str, Made]:
    """Returns the rows of the tables and parquets of a folder by split; where one is called `metadata`, of these alone."""
    splits: dict[str, Made] = {}
    files = find_files(folder)
    for split, paths in files.items():
        named = [path for path in paths if path.name.lower().startswith("metadata.")]
        others = [str(path.relative_to(folder)) for path in paths if named and path not in named]
        if others:
            note(f"{folder}: not read, as there is {named[0].relative_to(folder)}: {', '.join(others[:9])}")
        for path in named or paths:
            if is_parquet(path):
                rows = _read_dataset(load_parquet(path), str(path), mapped, [*folders, *beginnings(path)])
                splits.setdefault(split, []).extend(rows)
                continue
            for part, rows in _read_table(path, mapped, folders).items():
                splits.setdefault(part if list(files) == ["train"] else split, []).extend(rows)
    return splits


# --- Everything -----------------------------------------------------------------------------------------------------------


def read(name: str, config: str | None, *, units: list[str], mapped: Columns, image_folder: str | None) -> dict[str, Made]:
    """Finds the rows of a data set; they are made one by one.

    Args:
        name: A jsonl, json, csv, tsv, parquet, or label file of PaddleOCR; a folder of such files, of pictures with a text
            beside each, or of SROIE; or whatever `datasets` loads: what it has saved, a hub id.
        config: Name of the hub data set's configuration, where it has several.
        units: What of pages with boxes makes a row; see `boxes.rows_of_page`.
        mapped: See `common.data.columns.read_columns`.
        image_folder: Where paths begin, if not at the file that holds them.

    Returns:
        By split, where each row is and what makes it.

    Raises:
        SystemExit: With code 2 and one line if there is no such data set.
    """
    path, folders = Path(name), [Path(image_folder)] if image_folder else []
    if os.path.isfile(name) and kind_of(path):
        splits = _read_table(path, mapped, folders)
        return splits if len(splits) > 1 else {split_of(path) or "train": splits["train"]}
    if os.path.isfile(name) and is_label_file(path):
        return {"train": read_labels([path], folders, units)}
    if os.path.isdir(name) and not is_saved(path):
        if labels := find_labels(path):
            return {part: read_labels(files, folders, units) for part, files in labels.items()}
        if not any(map(_is_index, path.rglob("*"))) and (pairs := find_pairs(path)):
            return {part: read_pairs(found, units) for part, found in pairs.items()}
        if "train" in find_splits(tables := _read_tables(path, mapped, folders)):
            return tables
        if not tables and any(map(is_picture, path.rglob("*"))):
            fail(
                f"{name} holds pictures and no texts; write a metadata.jsonl with `file_name` and `text` into it, or a text "
                "beside each, picture.gt.txt"
            )
    splits = load_splits(name, config)
    folders = [*folders, path if path.is_dir() else path.parent]
    return {
        split: _read_dataset(rows, str(path) if path.is_file() else f"{name} ({split})", mapped, folders)
        for split, rows in splits.items()
    }
