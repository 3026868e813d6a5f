"""Rows of a local jsonl, json, csv or tsv as they were written, or one line that says where they cannot be read."""

import csv
import io
import json
import re
import sys
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any, NoReturn

from common.data.texts import Unreadable, decoded_text, read_text
from common.errors import fail

Rows = list[tuple[str, dict[str, Any]]]  # where a row is, file and number, and the row

KINDS = (".jsonl", ".ndjson", ".json", ".csv", ".tsv")
DEEPEST = 100  # lists and objects in each other; nobody's rows have as many, and Python stops at some hundreds
TOO_DEEP = f"lists and objects nested more than {DEEPEST} deep; write it flatter, or remove it"
HALF = re.compile(r"\\u[dD][89a-fA-F]")  # half of a character, which JSON writes as two


def kind_of(path: Path) -> str | None:
    """Returns what a file holds by its name, one of `KINDS`, packed (`.gz`) or not; None for others."""
    suffix = Path(path.name.lower().removesuffix(".gz")).suffix
    return suffix if suffix in KINDS else None


def is_parquet(path: Path) -> bool:
    """Returns whether a file is a parquet by its name, packed or not."""
    return path.name.lower().endswith((".parquet", ".parquet.gz"))


# --- JSON -----------------------------------------------------------------------------------------------------------------


def object_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Returns an object of JSON, as an `object_pairs_hook`; raises ValueError where a key stands twice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key `{twice}` stands twice in an object")
    return found


class Written(float):
    """A number that is written again as it stood in its file: 12.50 is no 12.5 where it is an answer."""

    def __new__(cls, text: str) -> "Written":
        number = super().__new__(cls, text)
        number.text = text
        return number

    def __str__(self) -> str:
        return self.text


DECODER = json.JSONDecoder(object_pairs_hook=object_of)
ROWS_DECODER = json.JSONDecoder(object_pairs_hook=object_of, parse_float=Written)


def plain(value: Any) -> Any:
    """Returns a JSON value with numbers in place of `Written` ones: those of a call are compared by their type."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return float(value) if isinstance(value, Written) else value


def is_deep(value: Any) -> bool:
    """Returns whether lists and objects are nested more than `DEEPEST` deep; without recursion, which would end before."""
    level, depth = [value], 0
    while level and depth <= DEEPEST:
        parts = [part.values() if isinstance(part, dict) else part for part in level if isinstance(part, dict | list)]
        level, depth = [item for part in parts for item in part], depth + bool(parts)
    return depth > DEEPEST


def _refuse(message: str) -> NoReturn:
    raise Unreadable(message)


def _decode(text: str, where: str, cure: str, is_document: bool = False) -> Any:
    """Returns a JSON value, or refuses it with where it is and what is wrong in it."""
    try:
        return ROWS_DECODER.decode(text)
    except RecursionError:
        _refuse(f"{where}: {TOO_DEEP}")
    except ValueError as error:
        problem = str(error) if is_document else getattr(error, "msg", str(error))
        if problem.startswith("Exceeds the limit"):  # Python's words, which name a function of its own
            problem = "a number of thousands of digits"
        _refuse(f"{where}: not valid JSON ({problem}); {cure}")


def _is_suspect(text: str) -> bool:
    """Returns whether in a JSON text there may be what later steps could not write again."""
    return text.count("[") + text.count("{") > DEEPEST or HALF.search(text) is not None


def _check(row: Any, where: str, cure: str, is_suspect: bool) -> None:
    """Refuses a row that is no object, is nested without bound, or holds halves of characters."""
    if not isinstance(row, dict):
        _refuse(f"{where}: not a JSON object; {cure}")
    if is_suspect:
        if is_deep(row):
            _refuse(f"{where}: {TOO_DEEP}")
        try:
            json.dumps(row, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            half = f"\\u{ord(error.object[error.start]):04x}"
            _refuse(f"{where}: half a character (`{half}`, a lone surrogate); write the whole character, or remove it")


def read_jsonl(text: str, place: str, *, first: int = 1, cure: str = "write one {...} a line") -> Rows:
    """Reads JSON objects, one a line.

    Args:
        text: The lines.
        place: What stands before the number of a line in its place.
        first: The number of the first line.
        cure: For a line that is no object.

    Raises:
        Unreadable: Names the line.
    """
    rows = []
    for number, line in enumerate(text.split("\n"), start=first):
        if line.strip():
            where = f"{place} {number}"
            row = _decode(line, where, "write one JSON object a line")
            _check(row, where, cure, _is_suspect(line))
            rows.append((where, row))
    return rows


def read_lines(path: Path) -> Rows:
    """Reads a file of one JSON object a line, whatever its name; see `read_file`."""
    try:
        return [(where, plain(row)) for where, row in read_jsonl(read_text(path), f"{path}, line")]
    except Unreadable as error:
        fail(str(error))


def are_lines(text: str) -> bool:
    """Returns whether a text that is called JSON holds one object a line."""
    return re.match(r"\s*\{.*\}\s*\n\s*\{", text) is not None


def _read_json(path: Path, text: str) -> Rows:
    cure = "write a list of objects, or a jsonl with one object a line"
    if are_lines(text):  # under another name
        return read_jsonl(text, f"{path}, line")
    values = _decode(text, str(path), cure, is_document=True)
    if not isinstance(values, list):
        _refuse(f"{path} holds a {type(values).__name__}; {cure}")
    rows = [(f"{path}, row {number}", row) for number, row in enumerate(values, start=1)]
    is_suspect = _is_suspect(text)
    for where, row in rows:
        _check(row, where, cure, is_suspect)
    return rows


# --- CSV ------------------------------------------------------------------------------------------------------------------


def csv_rows(path: Path, lines: Iterable[str]) -> Iterator[dict[str, str]]:
    """Reads a csv or tsv as it is written: 007 stays 007, and NA a text. The names of columns are taken in lower case.

    Args:
        path: The file, for errors and for what separates its values.
        lines: Its lines with their ends.

    Yields:
        A row at a time.

    Raises:
        Unreadable: Names the row.
    """
    csv.field_size_limit(sys.maxsize)
    lines = iter(lines)
    begin = next((line for line in lines if line.strip("\r\n")), "")
    delimiter = "\t" if kind_of(path) == ".tsv" else max(",;\t", key=begin.count)
    reader, number = csv.reader(chain([begin], lines), delimiter=delimiter, strict=True), 0
    try:
        header = [name.strip().lower() for name in next(reader)]
        for name in header:
            if name and header.count(name) > 1:
                _refuse(f"{path}: two columns are called `{name}`; rename one")
        for values in reader:
            if not values:  # an empty line
                continue
            if len(values) != len(header):
                _refuse(
                    f"{path}, row {number + 1}: {len(values)} value{'s' * (len(values) != 1)} for {len(header)} columns; put a "
                    f"text that has a `{delimiter}` into double quotes, and write a value for each column"
                )
            number += 1
            yield dict(zip(header, values, strict=True))
    except csv.Error as error:
        _refuse(f"{path}, row {number + 1}: not valid csv ({error}); quotes in a text are doubled, and a quoted text is closed")


def _read_csv(path: Path, text: str) -> Rows:
    rows = csv_rows(path, io.StringIO(text, newline=""))
    return [(f"{path}, row {number}", row) for number, row in enumerate(rows, start=1)]


def read_file(path: Path) -> Rows:
    """Reads a jsonl, json, csv or tsv, packed or not: each row whole and as it was written.

    Args:
        path: A file for which `kind_of` is not None.

    Returns:
        The rows in order, each with its place.

    Raises:
        SystemExit: With code 2 and one line that names the file, the row and the cure.
    """
    kind = kind_of(path)
    try:
        text = decoded_text(path)
        if kind == ".json":
            rows = _read_json(path, text)
        else:
            rows = _read_csv(path, text) if kind in (".csv", ".tsv") else read_jsonl(text, f"{path}, line")
    except Unreadable as error:
        fail(str(error))
    if not rows:
        fail(f"{path} has no rows; it needs at least one")
    return rows
