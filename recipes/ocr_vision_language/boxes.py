"""Pages with a box around each text: the lines to cut out, and the text of the whole page."""

import json
import re
from pathlib import Path
from typing import Any

from common.data.pictures import image_size, pages_of
from common.errors import BadRow

from crops import Box, crop
from rows import Found

Boxed = list[tuple[Box, str, str]]  # a text's edges, with a little margin, the text, and where both were read
ILLEGIBLE = "###"  # what ICDAR writes where nobody can read the text
NUMBERS = re.compile(r"(?:\s*-?\d+(?:\.\d+)?\s*,){8}")


def _edges(across: list[float], down: list[float], size: tuple[int, int]) -> Box:
    """Returns the edges of a text with a little margin."""
    margin = max(2, int(max(down) - min(down)) // 8)
    left, upper = max(0, int(min(across)) - margin), max(0, int(min(down)) - margin)
    right, lower = min(size[0], int(max(across)) + margin), min(size[1], int(max(down)) + margin)
    if right - left <= margin or lower - upper <= margin:
        raise BadRow(f"its box lies outside the picture of {size[0]} x {size[1]} pixels, or is empty; correct it")
    return left, upper, right, lower


def is_boxed(text: str) -> bool:
    """Returns whether a text is of lines `x1,y1,x2,y2,x3,y3,x4,y4,text`: whether its first is."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    return NUMBERS.match(first) is not None


def read_boxes(text: str, picture: Path, file: Path) -> Boxed:
    """Reads the boxes of SROIE and of ICDAR 2015.

    Args:
        text: A line `x1,y1,x2,y2,x3,y3,x4,y4,text` for each text.
        picture: What they stand in.
        file: Where it stands.

    Raises:
        BadRow: If a line cannot be read; says which.
    """
    size, found = image_size(picture), []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        parts, where = line.split(",", 8), f"{file.name}, line {number}"
        if not NUMBERS.match(line) or not parts[8].strip():
            raise BadRow(f"{where}: not eight numbers and a text; write x1,y1,x2,y2,x3,y3,x4,y4,text")
        numbers = [float(part) for part in parts[:8]]
        try:
            found.append((_edges(numbers[::2], numbers[1::2], size), parts[8].strip(), f"{file}, line {number}"))
        except BadRow as error:
            raise BadRow(f"{where}: {error}") from None
    return found


def read_paddle(entries: Any, picture: Path, where: str) -> Boxed:
    """Reads the boxes of a line of PaddleOCR's label file.

    Args:
        entries: Objects with a `transcription` and `points`.
        picture: What they stand in.
        where: The file and the line.

    Raises:
        BadRow: If one cannot be read; says which.
    """
    size, found = image_size(picture), []
    for number, entry in enumerate(entries if isinstance(entries, list) else [entries], start=1):
        try:
            text, points = str(entry["transcription"]).strip(), [(float(x), float(y)) for x, y in entry["points"]]
            across, down = zip(*points, strict=True)
        except (TypeError, KeyError, ValueError):
            raise BadRow(f'text {number}: not {{"transcription": ..., "points": [[x, y], ...]}}; correct it') from None
        try:
            if text != "*":  # which PaddleOCR takes for illegible too
                found.append((_edges(across, down, size), text, f"{where}, text {number}"))
        except BadRow as error:
            raise BadRow(f"text {number}: {error}") from None
    return found


def read_entries(text: str) -> Any:
    """Returns what stands behind the path in a line of PaddleOCR's label file, if it is boxes; None for a text."""
    try:
        found = json.loads(text) if text.startswith(("[{", "[]")) else None
    except (ValueError, RecursionError):
        return None
    return found


def _reading_order(boxes: Boxed) -> str:
    """Returns texts as they are read: what stands side by side is one line, joined by spaces; the lines go down."""
    lines: list[Boxed] = []
    for one in sorted(boxes, key=lambda found: found[0][1] + found[0][3]):
        box = one[0]
        middle = (box[1] + box[3]) / 2
        # Beside the last one, if its middle is in the other's height and neither stands over the other.
        last = lines[-1][-1][0] if lines else None
        if (
            last
            and last[1] < middle < last[3]
            and all(box[2] <= other[0] + 8 or other[2] <= box[0] + 8 for other, *_ in lines[-1])
        ):
            lines[-1].append(one)
        else:
            lines.append([one])
    return "\n".join(" ".join(text for _, text, _ in sorted(line)) for line in lines)


def rows_of_page(
    picture: Path, boxes: Boxed, units: list[str], where: str, fields: dict[str, str] | None = None
) -> list[Found]:
    """Makes rows of a page.

    Args:
        picture: The page.
        boxes: Its texts; those that nobody can read are left away.
        units: `lines`: for each text a row with the part of the picture that shows it. `receipts`: a row with the whole
            picture and the text of all its lines from top to bottom.
        where: The page's place.
        fields: What is known of the page.

    Raises:
        BadRow: If there is no text, or there are several pages.
    """
    legible = [found for found in boxes if found[1] != ILLEGIBLE]
    if not legible:
        raise BadRow("no text is marked in it; mark one, or remove the picture")
    if len(pages_of(picture)) > 1:
        raise BadRow(f"{picture.name} has several pages, and boxes do not say on which; save each as a picture of its own")
    text = _reading_order(legible)
    whole = Found({"text": text, "fields": fields}, [picture], where=where, receipt_text=text, is_receipt=True)
    lines = [
        Found({"text": line}, [crop(picture, box)], where=place, receipt_text=text, is_receipt=False)
        for box, line, place in legible
    ]
    return [*(lines if "lines" in units else []), *([whole] if "receipts" in units else [])]
