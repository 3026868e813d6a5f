"""Folders in which a text lies beside each picture: `line.png` and `line.gt.txt`, and SROIE's boxes and fields."""

import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

from common.data.pictures import digest_of_source
from common.data.splits import NAMES
from common.data.texts import Unreadable, decoded_text
from common.errors import BadRow

from boxes import is_boxed, read_boxes, rows_of_page
from rows import Found

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif", ".webp", ".jp2", ".pnm", ".ppm", ".pgm")
TEXTS = (".gt.txt", ".txt", ".csv", ".json")  # what lies beside
VARIANTS = (".bin", ".nrm", ".dew")  # of a line's picture, as ocropus names them
YOLO = re.compile(r"\d+(?: [01]?\.\d+| [01]){4,}\s*")
PARTS = {name: part for part, names in NAMES.items() for name in names} | {"training": "train", "testing": "test"}

Made = list[tuple[str, Callable[[], list[Found]]]]  # where a row is, and what makes it, or several


def is_picture(path: str | Path) -> bool:
    """Returns whether a file holds a picture by its name."""
    return str(path).lower().endswith(SUFFIXES)


def part_of(path: Path) -> str | None:
    """Returns the part that a path belongs to by the names of its folders: one of splits.NAMES, or `task1train(626p)`."""
    for folder in reversed(path.parts[:-1]):
        if folder.lower() in PARTS:
            return PARTS[folder.lower()]
    words = [word for folder in reversed(path.parts[:-1]) for word in re.findall("[a-z]+", folder.lower())]
    return next((PARTS[word] for word in words if word in PARTS), None)


def _stem(path: Path) -> str:
    """Returns what a picture and its texts have in common."""
    name = path.name
    if is_picture(name):
        name = name.rpartition(".")[0]
        return next((name.removesuffix(variant) for variant in VARIANTS if name.endswith(variant)), name)
    return name.removesuffix(next(suffix for suffix in TEXTS if name.lower().endswith(suffix)))


# --- Which belong together ------------------------------------------------------------------------------------------------


def _beside(picture: Path, texts: list[Path]) -> list[Path]:
    """Returns the texts of a picture of which there are others of the same name: those in its folder, or beside that."""
    here = [path for path in texts if path.parent == picture.parent]
    return here or [path for path in texts if path.parent.parent == picture.parent.parent]


def find_pairs(folder: Path) -> dict[str, list[tuple[Path, list[Path]]]]:
    """Finds pictures with texts of the same name, in one folder or in several (`img`, `box`, `entities`).

    Args:
        folder: Their folder.

    Returns:
        By part (`train` where folders are called after none) the pictures in order, each with its texts; a text without a
        picture stands in the place of one. Nothing if no picture has a text.
    """
    found: dict[tuple[str, str], tuple[list[Path], list[Path]]] = {}
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if any(part.startswith(".") for part in inside.parts) or not path.is_file():
            continue
        if is_picture(path) or path.name.lower().endswith(TEXTS):
            kinds = found.setdefault((part_of(inside) or "", _stem(path)), ([], []))
            kinds[not is_picture(path)].append(path)
    if not any(pictures and texts for pictures, texts in found.values()):
        return {}
    parts: dict[str, list[tuple[Path, list[Path]]]] = {}
    for (part, _), (those, texts) in found.items():
        # SROIE holds each receipt twice; other pictures of one name are pages of several books.
        if len(those) < 2 or len(set(map(digest_of_source, those))) == 1:
            here = [(those[0], texts)] if those else [(path, []) for path in texts if path.name.endswith(".gt.txt")]
        else:
            here = [(path, _beside(path, texts)) for path in those]
        parts.setdefault(part, []).extend(here)
    if "train" not in parts:
        return {"train": [pair for pairs in parts.values() for pair in pairs]} if "" in parts else parts
    parts.pop("", None)
    return parts


# --- What they say --------------------------------------------------------------------------------------------------------


def _read(picture: Path, texts: list[Path], units: list[str]) -> list[Found]:
    if not is_picture(picture):
        raise BadRow("no picture beside it; add it, or remove the text")
    boxed, facts, said = None, None, None
    for path in texts:
        try:
            written = decoded_text(path)
        except Unreadable as error:
            raise BadRow(str(error)) from None
        if path.suffix.lower() == ".json" or re.match(r"\s*\{.*\}\s*$", written, re.DOTALL):
            try:
                facts = json.loads(written)
            except (ValueError, RecursionError) as error:
                raise BadRow(f"{path.name} is not valid JSON ({error}); write an object with the fields") from None
            if not isinstance(facts, dict):
                raise BadRow(f"{path.name} holds a {type(facts).__name__}; write an object with the fields")
        elif path.suffix.lower() == ".csv" or is_boxed(written):
            boxed = path, written
        else:
            said = path, written
    if boxed and said:
        raise BadRow(f"both {boxed[0].name} and {said[0].name} say what is written in it; remove one")
    if boxed:
        return rows_of_page(picture, read_boxes(boxed[1], picture, boxed[0]), units, str(picture), facts)
    if said and all(YOLO.fullmatch(line) for line in said[1].strip().splitlines()):
        raise BadRow(f"{said[0].name} holds boxes in YOLO's form and no text; write what stands there, or remove it")
    if said:
        return [Found({"text": said[1].strip("\r\n"), "fields": facts}, [picture])]
    if facts:  # a row of its own
        return [Found(facts, [picture], [picture.parent])]
    raise BadRow(f"no text beside it; write {_stem(picture)}.txt or {_stem(picture)}.gt.txt, or remove the picture")


def read_pairs(pairs: list[tuple[Path, list[Path]]], units: list[str]) -> Made:
    """Returns what makes the rows of pictures with texts.

    Args:
        pairs: Of `find_pairs`.
        units: See `boxes.rows_of_page`, for texts that have boxes (Huang et al. 2019, arXiv:2103.10213).
    """
    return [(str(picture), partial(_read, picture, texts, units)) for picture, texts in pairs]
