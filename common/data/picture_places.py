"""Where a picture is, however a row names it: a path, an address on the web, a data URI, or its bytes."""

import base64
import binascii
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from common.data import cache
from common.data.pictures import Cell, Source
from common.errors import BadRow, brief

from huggingface_hub.utils import httpx
from PIL import Image

# Keys of an object that names a picture, in the order in which they are looked at: datasets', qwen-vl-utils', OpenAI's and
# Anthropic's. What stands under the first three are the bytes themselves.
KEYS = ("bytes", "base64", "data", "image", "image_url", "source", "url", "path", "file_name")
SHORTEST = 64  # characters of a picture in base64; a shorter text is a path
# How pictures begin in base64: JPEG, PNG, GIF, BMP, TIFF, WEBP.
BASE64 = ("/9j/", "iVBORw0KGgo", "R0lGOD", "Qk", "SUkq", "TU0A", "UklGR")
PATIENCE = 60  # seconds for a picture on the web


@dataclass(frozen=True)
class Remote:
    """A picture on the web: fetched when it is opened first, and kept.

    Attributes:
        url: Its address.
    """

    url: str

    def open(self) -> Path:
        path = cache.folder_of("web") / blake2b(self.url.encode(), digest_size=16).hexdigest()
        if not path.is_file():
            try:
                answer = httpx.get(self.url, timeout=PATIENCE, follow_redirects=True)
                answer.raise_for_status()
            except httpx.HTTPStatusError as error:
                why = f"{error.response.status_code} {error.response.reason_phrase}"
                raise BadRow(f"{self.url} cannot be fetched ({why}); correct the address or remove the row") from None
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                why = brief(error) or type(error).__name__
                raise BadRow(f"{self.url} cannot be fetched ({why}); fetch it yourself and write its path") from None
            cache.write_file(path, answer.content)
        return path


def _decode(text: str, name: str) -> bytes:
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadRow(f"{name} is no base64 ({brief(error)}); write it anew, or a path") from None


def _spellings(name: str) -> Iterator[str]:
    """Yields a path as it is written, with accents in their two forms, and with the slashes of other systems."""
    for path in dict.fromkeys((name, name.replace("\\", "/"))):
        yield path
        yield from (unicodedata.normalize(form, path) for form in ("NFC", "NFD"))


def _find_file(name: str, folders: list[Path]) -> Path:
    """Returns the first file of a name below folders; where there is none, what it would be in the first."""
    try:
        return next(path for folder in folders for text in _spellings(name) if (path := folder / text).is_file())
    except (StopIteration, OSError):  # a name that is too long for a file system
        return folders[0] / name


def _find_text(text: str, folders: list[Path]) -> Source:
    kind = text[:9].lower()
    if kind.startswith("data:"):
        head, comma, body = text.partition(",")
        if not comma or not head.endswith(";base64"):
            raise BadRow(f"its picture is {text[:40]!r}...; write a data URI as data:image/png;base64,...")
        return _decode(body, "the data URI")
    if kind.startswith(("http://", "https://")):
        return Remote(text)
    if kind.startswith("file:"):
        written = text[5:].removeprefix("//").removeprefix("localhost")
        is_there = Path(written).is_file()  # as qwen-vl-utils reads it; a browser writes a space as %20
        return _find_file(written if is_there else unquote(urlsplit(text).path), folders)
    if len(text) >= SHORTEST and text.startswith(BASE64) and not _find_file(text, folders).is_file():
        return _decode(text, "the picture")
    return _find_file(text, folders)


def find_picture(value: Any, folders: list[Path]) -> Source:
    """Returns the picture that a cell or a part of a message names, as qwen-vl-utils and `datasets` read it.

    Args:
        value: A path, `file://`, `http://` or `https://`, a data URI, base64, bytes, a PIL image, a cell, or an
            object with one of these under one of `KEYS`.
        folders: Where paths begin; the first in which the file is counts.

    Raises:
        BadRow: If it names no picture.
    """
    if isinstance(value, dict):
        key = next((key for key in KEYS if value.get(key) not in (None, "", b"")), None)
        if key == "bytes" and isinstance(value[key], bytes):
            return value
        if key in KEYS[:3] and isinstance(value[key], str) and not value[key].startswith("data:"):
            return _decode(value[key], f"`{key}` of the picture")
        if key and isinstance(value[key], dict):
            return find_picture(value[key], folders)
        value = value[key] if key else value
    if isinstance(value, str) and value.strip():
        return _find_text(value.strip(), folders)
    if isinstance(value, bytes | Path | Image.Image | Cell):
        return value
    raise BadRow(f"its picture is {str(value)[:60]!r}; write a path, an address or a data URI")
