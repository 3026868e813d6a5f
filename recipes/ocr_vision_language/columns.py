"""The columns of a row with pictures: how those that are read are called, and what is not read."""

import re
from collections.abc import Mapping
from mimetypes import guess_type
from typing import Any

from common.data.columns import HEADINGS, find_columns, heading
from common.data.pictures import Source
from common.errors import BadRow

from PIL import Image

FIELDS = ["company", "date", "address", "total"]  # SROIE's
# Columns with what is written in a picture; of several, `--columns` says which.
TEXTS = ("text", "transcription", "transcript", "ocr", "ocr_text", "label", "caption", "gt", "words")
UNREAD = ("video", "videos", "audio", "audios")
NUMBERED = re.compile(r"(?:images?|img|picture|photo)_?\d+(?:_(?:path|url|file))?")
PICTURE = str | bytes | dict | Image.Image  # a cell with one


def picture_columns(columns: Mapping[str, Any], mapped: Mapping[str, str]) -> list[str]:
    """Returns the columns of a row that name its pictures: one, or none.

    Args:
        columns: The columns with what is in them, or None where there is nothing.
        mapped: See `common.data.columns.read_columns`.
    """
    found = find_columns({name: value or None for name, value in columns.items()}, dict(mapped))["images"]
    return found[:1]


def never_read(columns: Mapping[str, Any], mapped: Mapping[str, str]) -> list[str]:
    """Returns the columns of a row whose names say nothing here.

    Args:
        columns: The columns.
        mapped: See `common.data.columns.read_columns`.
    """
    known = {*TEXTS, *FIELDS, "fields", "texts", *map(heading, mapped.values())}
    known |= {name for names in HEADINGS.values() for name in names}
    return [name for name in columns if heading(name) not in known]


def _holds_picture(value: Any) -> bool:
    """Returns whether a cell is a picture, or names one, or is a list of such."""
    if isinstance(value, list):
        return any(map(_holds_picture, value))
    if isinstance(value, dict):
        return _holds_picture(value.get("bytes")) or _holds_picture(value.get("path"))
    is_path = isinstance(value, str) and str(guess_type(value)[0]).startswith("image/")
    return is_path or isinstance(value, bytes | Image.Image)


def check_unread(columns: Mapping[str, Any], mapped: Mapping[str, str], images: list[Source]) -> None:
    """Checks that no column holds a picture that is not read.

    Args:
        columns: The columns with what is in them.
        mapped: See `common.data.columns.read_columns`.
        images: The pictures that were read: beside them only a numbered column is taken for one.

    Raises:
        BadRow: If one does.
    """
    if "images" in mapped or (not images and any(heading(name) in HEADINGS["images"] for name in columns)):
        return
    for name in never_read(columns, mapped):
        if not _holds_picture(columns[name]):
            continue
        if not images:
            cure = f"say so, `--columns image={name}`, or leave the column away"
            raise BadRow(f"no picture is read, and `{name}` holds one: {cure}")
        if NUMBERED.fullmatch(heading(name)):
            raise BadRow(f"`{name}` is not read beside the row's picture: write all into a list `images`, or leave it away")
