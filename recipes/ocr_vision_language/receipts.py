"""Pictures of others as they were read: folders of SROIE, tables of files, data sets; and what CORD says about a receipt."""

import json
import os
import reprlib
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

from common.data.files import Unreadable, kind_of, read_file, text_of
from common.data.rows import load_splits
from common.data.splits import find_splits
from common.errors import BadRow, fail

from datasets import Dataset, Features, Image, List

from images import Cell, Crop, image_size

SUFFIXES = [".jpg", ".jpeg", ".png"]
FIELDS = ["company", "date", "address", "total"]  # SROIE's

# Where a row is, and what makes it, or several: the columns as they were read, and the pictures in `images`.
Made = Iterable[tuple[str, Callable[[], list[dict[str, Any]]]]]


# --- SROIE --------------------------------------------------------------------------------------------------------------


def find_sroie(folder: Path) -> list[Path]:
    """Returns the pictures of a folder that have both a csv and a json of the same name beside them."""
    pictures = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in SUFFIXES] if folder.is_dir() else []
    return [path for path in pictures if path.with_suffix(".csv").exists() and path.with_suffix(".json").exists()]


def _read_box(line: str, size: tuple[int, int]) -> tuple[tuple[int, int, int, int], str]:
    """Returns the edges of a text with a little margin, and the text."""
    parts = line.split(",", 8)
    try:
        numbers = [int(part) for part in parts[:8]]
    except ValueError:
        numbers = []
    if len(parts) < 9 or len(numbers) < 8 or not parts[8].strip():
        raise BadRow("not eight whole numbers and a text; write x1,y1,x2,y2,x3,y3,x4,y4,text")
    across, down = numbers[::2], numbers[1::2]
    margin = max(2, (max(down) - min(down)) // 8)
    left, upper = max(0, min(across) - margin), max(0, min(down) - margin)
    right, lower = min(size[0], max(across) + margin), min(size[1], max(down) + margin)
    if right - left <= margin or lower - upper <= margin:
        raise BadRow(f"its box lies outside the picture of {size[0]} x {size[1]} pixels, or is empty; correct it")
    return (left, upper, right, lower), parts[8].strip()


def _reading_order(boxes: list[tuple[tuple[int, int, int, int], str]]) -> str:
    """Returns texts as they are read: what stands side by side is one line, joined by spaces; the lines go down."""
    lines: list[list[tuple[tuple[int, int, int, int], str]]] = []
    for box, text in sorted(boxes, key=lambda found: found[0][1] + found[0][3]):
        middle = (box[1] + box[3]) / 2
        # Beside the last one, if its middle is in the other's height and neither stands over the other.
        last = lines[-1][-1][0] if lines else None
        if (
            last
            and last[1] < middle < last[3]
            and all(box[2] <= other[0] + 8 or other[2] <= box[0] + 8 for other, _ in lines[-1])
        ):
            lines[-1].append((box, text))
        else:
            lines.append([(box, text)])
    return "\n".join(" ".join(text for _, text in sorted(line)) for line in lines)


def read_sroie(picture: Path, units: list[str]) -> list[dict[str, Any]]:
    """Reads a receipt of SROIE (Huang et al. 2019, arXiv:2103.10213).

    Args:
        picture: Beside it are a csv of the same name, a line `x1,y1,x2,y2,x3,y3,x4,y4,text` for each text, and a json with the
            four fields.
        units: `lines`: for each text a row with the part of the picture that shows it. `receipts`: a row with the whole
            picture, the text of all its lines from top to bottom, and the `fields`. Each row has that text as `receipt_text`.

    Raises:
        BadRow: If the picture, a line or the json cannot be read; says in which file.
    """
    table, facts = picture.with_suffix(".csv"), picture.with_suffix(".json")
    size, boxes, lines = image_size(picture), [], []
    try:
        written, named = text_of(table), text_of(facts)
    except Unreadable as error:
        raise BadRow(str(error)) from None
    for number, line in enumerate(written.splitlines(), start=1):
        if line.strip():
            try:
                box, text = _read_box(line, size)
            except BadRow as error:
                raise BadRow(f"{table.name}, line {number}: {error}") from None
            boxes.append((box, text))
            lines.append({"images": [Crop(picture, box)], "text": text})
    try:
        found = json.loads(named)
    except (ValueError, RecursionError) as error:
        raise BadRow(f"{facts.name} is not valid JSON ({error}); write an object with {', '.join(FIELDS)}") from None
    if not isinstance(found, dict):
        raise BadRow(f"{facts.name} holds a {type(found).__name__}; write an object with {', '.join(FIELDS)}")
    fields = {name: str(found[name]) for name in FIELDS if found.get(name)}
    whole = {"images": [picture], "text": _reading_order(boxes), "fields": fields}
    rows = [*(lines if "lines" in units else []), *([whole] if "receipts" in units else [])]
    return [row | {"receipt_text": whole["text"]} for row in rows]


# --- CORD ---------------------------------------------------------------------------------------------------------------


def _entries(value: Any) -> list[dict[str, Any]]:
    return [entry for entry in (value if isinstance(value, list) else [value]) if isinstance(entry, dict)]


def _words(value: Any) -> str:
    return " ".join(str(part) for part in (value if isinstance(value, list) else [value]) if part not in (None, ""))


def read_cord(ground_truth: Any) -> tuple[str, dict[str, str]]:
    """Makes a transcription of what CORD says about a receipt (Park et al. 2019; naver-clova-ix/cord-v2 on the hub).

    Only what `gt_parse` names is transcribed, not all that is printed. Each entry of the menu is a line, its name, count and
    price joined by spaces; what goes with it (`sub`) follows in lines of its own. Then each entry of `sub_total` and of `total`
    is a line: its key in words, without a last `price`, and its value.

    Args:
        ground_truth: The column of this name: JSON with `gt_parse`.

    Returns:
        The transcription, and the entries of `sub_total` and `total` by key, `total` being `total_price`.

    Raises:
        BadRow: If it is not such JSON, or nothing is named.
    """
    try:
        parsed = json.loads(ground_truth) if isinstance(ground_truth, str) else ground_truth
        parsed = parsed["gt_parse"]
        menu, sums = _entries(parsed.get("menu")), [*_entries(parsed.get("sub_total")), *_entries(parsed.get("total"))]
    except (ValueError, TypeError, KeyError, AttributeError):
        raise BadRow('`ground_truth` must be JSON with a key "gt_parse", as in CORD; or write a column `text`') from None
    lines, fields = [], {}
    for entry in menu:
        for part in [entry, *_entries(entry.get("sub"))]:
            lines.append(" ".join(_words(part[key]) for key in ("nm", "cnt", "price") if _words(part.get(key))))
    for entry in sums:
        for key, value in entry.items():
            name = key.removesuffix("price").replace("_", " ").strip() or key
            fields[name] = _words(value)
            lines.append(f"{name} {fields[name]}")
    text = "\n".join(line for line in lines if line)
    if not text:
        raise BadRow("`ground_truth` names nothing that could be transcribed; fill it in or remove the row")
    return text, fields


# --- Any data -----------------------------------------------------------------------------------------------------------


def _split_folders(folder: Path) -> list[Path]:
    return [folder / name for name in find_splits([path.name for path in folder.iterdir() if path.is_dir()]).values()]


def _find_tables(folder: Path) -> dict[str, Path]:
    """Returns the jsonl or csv that describes a folder's pictures by split, or those of its folders named as splits are."""
    tables = {path.stem: path for path in sorted(folder.iterdir()) if path.suffix in (".jsonl", ".csv")}
    if "metadata" in tables or len(tables) == 1:
        return {"train": tables.get("metadata") or next(iter(tables.values()))}
    if tables and "train" not in find_splits(tables):
        fail(f"{folder} has {', '.join(path.name for path in tables.values())}; call the one to read metadata.jsonl or .csv")
    if not tables:
        parts = [(part.name, _find_tables(part)) for part in _split_folders(folder)]
        tables = {name: found["train"] for name, found in parts if found}
    return {name: tables[name] for name in find_splits(tables).values()}


def _read_table(path: Path) -> Made:
    """Yields the rows of a jsonl, json or csv."""

    def make(row: dict[str, Any]) -> list[dict[str, Any]]:
        names = row.get("images") or [row[column] for column in ("image", "file_name") if row.get(column)][:1]
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise BadRow(f"its pictures are {reprlib.repr(names)}; write a path in `image`, or a list of paths in `images`")
        return [row | {"images": [path.parent / name for name in names]}]

    for where, row in read_file(path):
        yield where, partial(make, row)


def _read_dataset(rows: Dataset, name: str, folder: Path) -> Made:
    """Yields the rows of a data set, whose pictures stay where they are, undecoded."""
    columns = [column for column in ("images", "image") if column in rows.column_names][:1]
    features = dict(rows.features)
    for column, kind in rows.features.items():
        if isinstance(kind, Image):
            features[column] = Image(decode=False)
        elif isinstance(kind, List) and isinstance(kind.feature, Image):
            features[column] = List(Image(decode=False))
    rows = rows.cast(Features(features))

    def make(number: int, row: dict[str, Any]) -> list[dict[str, Any]]:
        images = []
        for column in columns:
            value = rows[number][column]
            several = value if isinstance(value, list) else [value]
            places = range(len(value)) if isinstance(value, list) else [None]
            images = [
                folder / item if isinstance(item, str) else Cell(rows, number, column, place)
                for item, place in zip(several, places, strict=True)
                if item is not None
            ]
        return [row | {"images": images}]

    for number, row in enumerate(rows.remove_columns(columns)):
        yield f"{name}, row {number + 1}", partial(make, number, row)


def read(name: str, config: str | None, units: list[str]) -> dict[str, Made]:
    """Finds the rows of a data set; they are made one by one.

    Args:
        name: A folder of SROIE (or with folders of it, named as `splits.NAMES` says); a jsonl, json or csv, or a folder that
            has one beside its pictures; or whatever `datasets` loads: a parquet, a folder, a hub id.
        config: Name of the hub data set's configuration, where it has several.
        units: What of SROIE's receipts makes a row; see `read_sroie`.

    Returns:
        By split, where each row is and what makes it.

    Raises:
        SystemExit: With code 2 and one line if there is no such data set.
    """
    path = Path(name)
    if os.path.isfile(name) and kind_of(path):
        return {"train": _read_table(path)}
    if path.is_dir():
        pictures = {part.name: found for part in _split_folders(path) if (found := find_sroie(part))}
        if here := find_sroie(path):
            pictures = {"train": here}
        if "train" in find_splits(pictures):
            return {
                split: [(str(picture), partial(read_sroie, picture, units)) for picture in found]
                for split, found in pictures.items()
            }
        tables = _find_tables(path)
        if "train" in find_splits(tables):
            return {split: _read_table(table) for split, table in tables.items()}
    splits = load_splits(name, config)
    folder = path.parent if path.is_file() else path
    return {
        split: _read_dataset(rows, str(path) if path.is_file() else f"{name} ({split})", folder)
        for split, rows in splits.items()
    }
