"""Rows of a local jsonl, json or csv as they were written, or one line that says where they cannot be read."""

import csv
import gzip
import io
import json
import os
import re
import sys
import zlib
from pathlib import Path
from typing import Any

from common.errors import brief, fail

Rows = list[tuple[str, dict[str, Any]]]  # where a row is, file and number, and the row

KINDS = (".jsonl", ".json", ".csv")
DEEPEST = 100  # lists and objects in each other; nobody's rows have as many, and Python stops at some hundreds
TOO_DEEP = f"lists and objects nested more than {DEEPEST} deep; write it flatter, or remove it"
UTF_16 = (b"\xff\xfe", b"\xfe\xff")  # the marks that such files begin with
HALF = re.compile(r"\\u[dD][89a-fA-F]")  # half of a character, which JSON writes as two


def check_path(setting: str, name: str) -> None:
    """Refuses a name that no file can have, a file that may not be read, and for data the whole disk.

    Args:
        setting: The setting that gives the name.
        name: The name.

    Raises:
        SystemExit: With code 2 and one line.
    """
    longest = max(len(os.fsencode(part)) for part in name.split("/"))
    if "\0" in name or longest > 255 or len(name) > 4000:
        problem = "it holds a NUL byte" if "\0" in name else f"it is {longest} bytes long, and file systems take 255"
        fail(f"{setting} {name[:40]!r}...: no file can have this name ({problem}); correct it")
    if os.path.isfile(name) and not os.access(name, os.R_OK):
        fail(f"{setting} {name}: you may not read this file; change its permissions")
    places = {"/": "the whole disk", os.path.realpath(os.path.expanduser("~")): "your home folder"}
    if setting.endswith("dataset_name") and os.path.realpath(name) in places:
        fail(f"{setting} {name} is {places[os.path.realpath(name)]}; pass the folder that holds the data")


def kind_of(path: Path) -> str | None:
    """Returns what a file holds by its name, one of `KINDS`, packed (`.gz`) or not; None for others."""
    suffix = Path(path.name.lower().removesuffix(".gz")).suffix
    return suffix if suffix in KINDS else None


class Unreadable(ValueError):
    """A file that is no text in UTF-8; the text says which, why and what to do."""


def text_of(path: Path) -> str:
    """Reads a text in UTF-8, packed or not, without the mark that some editors put before it.

    Args:
        path: The file.

    Raises:
        Unreadable: If it cannot be read, is empty, or is no such text.
    """
    try:
        content = path.read_bytes()
        if path.name.lower().endswith(".gz"):
            content = gzip.decompress(content)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise Unreadable(f"{path} cannot be unpacked ({brief(error)}): it is cut short or no gzip; copy it again") from None
    except OSError as error:
        raise Unreadable(f"{path} cannot be read ({error.strerror}); correct the path, or its permissions") from None
    if not content.strip():
        raise Unreadable(f"{path} is empty; it needs at least one row")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line, is_wide = content.count(b"\n", 0, error.start) + 1, content.startswith(UTF_16)
        raise Unreadable(
            f"{path}, line {line}: not UTF-8{', but UTF-16' if is_wide else ''} (byte {content[error.start]:#04x}); save it as "
            f"UTF-8, for example `iconv -f {'UTF-16' if is_wide else 'WINDOWS-1252'} -t UTF-8 OLD > NEW`"
        ) from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise Unreadable(
            f"{path}, line {line}: a NUL byte, so it is damaged or no text in UTF-8; copy it again, or save it as UTF-8"
        )
    return text


def read_text(path: Path) -> str:
    """Reads a text as `text_of` does, or ends.

    Args:
        path: The file.

    Raises:
        SystemExit: With code 2 and one line.
    """
    try:
        return text_of(path)
    except Unreadable as error:
        fail(str(error))


# --- JSON -----------------------------------------------------------------------------------------------------------------


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key `{twice}` stands twice in an object")
    return found


DECODER = json.JSONDecoder(object_pairs_hook=_object)


def is_deep(value: Any) -> bool:
    """Returns whether lists and objects are nested more than `DEEPEST` deep; without recursion, which would end before."""
    level, depth = [value], 0
    while level and depth <= DEEPEST:
        parts = [part.values() if isinstance(part, dict) else part for part in level if isinstance(part, dict | list)]
        level, depth = [item for part in parts for item in part], depth + bool(parts)
    return depth > DEEPEST


def _decode(text: str, where: str, cure: str, is_document: bool = False) -> Any:
    """Returns a JSON value, or fails with where it is and what is wrong in it."""
    try:
        return DECODER.decode(text)
    except RecursionError:
        fail(f"{where}: {TOO_DEEP}")
    except ValueError as error:
        problem = str(error) if is_document else getattr(error, "msg", str(error))
        if problem.startswith("Exceeds the limit"):  # Python's words, which name a function of its own
            problem = "a number of thousands of digits"
        fail(f"{where}: not valid JSON ({problem}); {cure}")


def _is_suspect(text: str) -> bool:
    """Returns whether in a JSON text there may be what later steps could not write again."""
    return text.count("[") + text.count("{") > DEEPEST or HALF.search(text) is not None


def _check(row: Any, where: str, cure: str, is_suspect: bool) -> None:
    """Fails for a row that is no object, is nested without bound, or holds halves of characters."""
    if not isinstance(row, dict):
        fail(f"{where}: not a JSON object; {cure}")
    if is_suspect:
        if is_deep(row):
            fail(f"{where}: {TOO_DEEP}")
        try:
            json.dumps(row, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            half = f"\\u{ord(error.object[error.start]):04x}"
            fail(f"{where}: half a character (`{half}`, a lone surrogate); write the whole character, or remove it")


def _read_jsonl(path: Path, text: str) -> Rows:
    rows = []
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            where = f"{path}, line {number}"
            row = _decode(line, where, "write one JSON object a line")
            _check(row, where, "write one {...} a line", _is_suspect(line))
            rows.append((where, row))
    return rows


def read_lines(path: Path) -> Rows:
    """Reads a file of one JSON object a line, whatever its name; see `read_file`."""
    return _read_jsonl(path, read_text(path))


def _read_json(path: Path, text: str) -> Rows:
    cure = "write a list of objects, or a jsonl with one object a line"
    if re.match(r"\s*\{.*\}\s*\n\s*\{", text):  # one object a line, under another name
        return _read_jsonl(path, text)
    values = _decode(text, str(path), cure, is_document=True)
    if not isinstance(values, list):
        fail(f"{path} holds a {type(values).__name__}; {cure}")
    rows = [(f"{path}, row {number}", row) for number, row in enumerate(values, start=1)]
    is_suspect = _is_suspect(text)
    for where, row in rows:
        _check(row, where, cure, is_suspect)
    return rows


# --- CSV ------------------------------------------------------------------------------------------------------------------


def _read_csv(path: Path, text: str) -> Rows:
    """Reads a csv as it is written: 007 stays 007, and NA a text. The names of columns are taken in lower case."""
    csv.field_size_limit(sys.maxsize)
    text = text.lstrip("\r\n")
    delimiter = max(",;\t", key=text.partition("\n")[0].count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows: Rows = []
    try:
        header = [name.strip().lower() for name in next(reader)]
        for name in header:
            if name and header.count(name) > 1:
                fail(f"{path}: two columns are called `{name}`; rename one")
        for values in reader:
            if not values:  # an empty line
                continue
            where = f"{path}, row {len(rows) + 1}"
            if len(values) != len(header):
                fail(
                    f"{where}: {len(values)} value{'s' * (len(values) != 1)} for {len(header)} columns; put a text that has a "
                    f"`{delimiter}` into double quotes, and write a value for each column"
                )
            rows.append((where, dict(zip(header, values, strict=True))))
    except csv.Error as error:
        fail(f"{path}, row {len(rows) + 1}: not valid csv ({error}); quotes in a text are doubled, and a quoted text is closed")
    return rows


def read_file(path: Path) -> Rows:
    """Reads a jsonl, json or csv, packed or not: each row whole and as it was written.

    Args:
        path: A file for which `kind_of` is not None.

    Returns:
        The rows in order, each with its place.

    Raises:
        SystemExit: With code 2 and one line that names the file, the row and the cure.
    """
    read = {".jsonl": _read_jsonl, ".json": _read_json, ".csv": _read_csv}[kind_of(path)]
    rows = read(path, read_text(path))
    if not rows:
        fail(f"{path} has no rows; it needs at least one")
    return rows
