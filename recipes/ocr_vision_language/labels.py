"""Label files such as PaddleOCR's: a line for each picture, its path, a tab, and what is written there, or boxes with texts."""

import re
from functools import partial
from pathlib import Path

from common.data.notes import note
from common.data.texts import read_text
from common.errors import BadRow

from boxes import read_entries, read_paddle, rows_of_page
from pairs import PARTS, Made, is_picture, part_of
from rows import Found, find_images


def beginnings(file: Path) -> list[Path]:
    """Returns where the paths in a file may begin: at its folder, in `images` there, or one higher, as PPOCRLabel writes."""
    return [file.parent, file.parent / "images", file.parent.parent]


def _first_line(path: Path) -> tuple[str, str]:
    """Returns the two halves of the first line of a label file, or nothing for other files."""
    if path.suffix.lower() != ".txt" or path.name == "fileState.txt":  # PPOCRLabel's own
        return "", ""
    with path.open("rb") as file:
        name, said = _halves(file.readline().decode("utf-8-sig", errors="replace").strip("\r\n"))
    return (name, said) if is_picture(name) or name.startswith('["') else ("", "")


def _halves(line: str) -> tuple[str, str]:
    """Returns a picture's path and what stands behind it: behind a tab, in ICDAR's form (`1.png, "TEA"`), or behind a space."""
    name, tab, said = line.partition("\t")
    if tab:
        return name, said
    quoted = re.fullmatch(r'([^,]+),\s*"(.*)"\s*', line)
    if quoted and is_picture(quoted[1]):
        return quoted[1], quoted[2].replace('\\"', '"')
    name, _, said = line.partition(" ")
    return (name, said) if is_picture(name) else ("", "")


def is_label_file(path: Path) -> bool:
    """Returns whether a file is a label file: whether its first line is one of its lines."""
    return _first_line(path) != ("", "")


def find_labels(folder: Path) -> dict[str, list[Path]]:
    """Finds label files by the part that they, or their folders, are called after; `train` where none is.

    Args:
        folder: A folder; where some files label whole pages, as PPOCRLabel's do, those of lines cut out of them are not taken.
    """
    files = [path for path in sorted(folder.rglob("*.txt")) if path.is_file() and is_label_file(path)]
    pages = [path for path in files if _first_line(path)[1].startswith(("[{", "[]"))]
    parts: dict[str, list[Path]] = {}
    for path in pages or files:
        words = re.findall("[a-z]+", path.stem.lower())
        named = next((PARTS[word] for word in words if word in PARTS), None)
        parts.setdefault(named or part_of(path.relative_to(folder)) or "", []).append(path)
    if "train" in parts:
        parts.pop("", None)
    elif "" in parts:
        parts["train"] = parts.pop("")
    others = [str(path.relative_to(folder)) for path in files if not any(path in paths for paths in parts.values())]
    if others:
        note(f"{folder}: not read: {', '.join(others[:9])}")
    return parts


def read_labels(paths: list[Path], folders: list[Path], units: list[str]) -> Made:
    """Returns what makes the rows of label files.

    Args:
        paths: The files.
        folders: Where paths begin, before `beginnings`.
        units: See `boxes.rows_of_page`, for pages.
    """

    def make(line: str, where: str, places: list[Path]) -> list[Found]:
        name, said = _halves(line)
        if not name:
            raise BadRow("no tab between the picture's path and what is written there; correct it")
        images, entries = find_images(name, places), read_entries(said)
        if entries is None:
            if len(images) == 1:
                return [Found({"text": said}, images)]
            return [Found({"text": said}, [image], where=f"{where}, picture {n}") for n, image in enumerate(images, start=1)]
        if not isinstance(images[0], Path):
            raise BadRow("boxes are cut out of a file; write its path")
        return rows_of_page(images[0], read_paddle(entries, images[0], where), units, where)

    rows: Made = []
    for path in paths:
        places = [*folders, *beginnings(path)]
        for number, line in enumerate(read_text(path).splitlines(), start=1):
            where = f"{path}, line {number}"
            if line.strip():
                rows.append((where, partial(make, line, where, places)))
    return rows
