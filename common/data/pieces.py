"""Files too large to be held in memory: their rows are read a piece at a time, by whichever process asks for the piece."""

import codecs
import gzip
import json
import os
import pickle
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from hashlib import blake2b, file_digest
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO, TextIO

from common.data.files import ROWS_DECODER, Rows, are_lines, csv_rows, kind_of, read_file, read_jsonl
from common.data.texts import Unreadable

LARGE = 2**25  # bytes; a smaller file is read whole
PACKED = 2**22  # bytes; the same of a packed one
PIECE = 2**20  # bytes
BLANK = re.compile(r"[ \t\n\r]*")  # what JSON takes for white space
READ_WHOLE = (Unreadable, ValueError, RecursionError, EOFError, OSError, zlib.error)  # a mistake is named by `read_file`


@dataclass
class Pieces:
    """Rows in pieces, as iterable as a list of rows.

    Attributes:
        digest: Differs wherever the rows do.
        cut: Returns for each piece what reads its rows; raises `Unreadable` or ends for a file that is no text of rows.
    """

    digest: str
    cut: Callable[[], list[Callable[[], Rows]]]

    @cached_property
    def parts(self) -> list[Callable[[], Rows]]:
        return self.cut()

    def __iter__(self) -> Iterator[tuple[str, dict]]:
        for read in self.parts:
            yield from read()


def join(found: Sequence[Rows | Pieces]) -> Rows | Pieces:
    """Returns the rows of several files as those of one."""
    if not any(isinstance(rows, Pieces) for rows in found):
        return [row for rows in found for row in rows]

    def cut() -> list[Callable[[], Rows]]:
        return [read for rows in found for read in (rows.parts if isinstance(rows, Pieces) else [partial(list, rows)])]

    digests = [rows.digest if isinstance(rows, Pieces) else digest_of_bytes(pickle.dumps(rows)) for rows in found]
    return Pieces(" ".join(digests), cut)


def digest_of_bytes(content: bytes) -> str:
    """Returns a hash of bytes."""
    return blake2b(content, digest_size=16).hexdigest()


def digest_of_file(path: str | Path) -> str:
    """Returns a hash of all of a file's content."""
    with open(path, "rb") as file:
        return file_digest(file, lambda: blake2b(digest_size=16)).hexdigest()


# --- Any file as one of lines ---------------------------------------------------------------------------------------------


def _json_elements(file: TextIO) -> Iterator[str]:
    """Yields the elements of a JSON list as they are written; raises ValueError for anything else."""
    text, place, size = file.read(PIECE), 0, PIECE

    def more() -> bool:
        nonlocal text, place, size
        block = file.read(size)
        text, place, size = text[place:] + block, 0, min(2 * size, 2**30)
        return bool(block)

    def skip_blank() -> str:
        nonlocal place
        place = BLANK.match(text, place).end()
        while place == len(text) and more():
            place = BLANK.match(text, place).end()
        return text[place : place + 1]

    if skip_blank() != "[":
        raise ValueError("no list")
    separator = "["
    while separator in ("[", ","):
        place += 1
        skip_blank()
        size = PIECE
        while True:
            try:
                _, end = ROWS_DECODER.raw_decode(text, place)
                is_whole = end < len(text)
            except ValueError:
                is_whole = False
            if is_whole:
                break
            if not more():
                raise ValueError("no element")
        yield text[place:end]
        place = end
        separator = skip_blank()
    place += 1
    if separator != "]" or skip_blank():
        raise ValueError("not closed")


def _as_lines(path: Path) -> tuple[BinaryIO, str]:
    """Returns a file with a row a line, and what stands before a line's number in its place; of other forms one is made."""
    kind = kind_of(path)
    unpack = gzip.open if path.name.lower().endswith(".gz") else open
    with unpack(path, "rt", encoding="utf-8-sig", newline="") as text:
        is_jsonl = kind not in (".json", ".csv", ".tsv") or (kind == ".json" and are_lines("".join(text.readlines(2 * PIECE))))
    if is_jsonl and unpack is open:
        return open(path, "rb"), f"{path}, line"
    lines = TemporaryFile()  # noqa: SIM115 - open as long as its pieces are read
    if is_jsonl:
        with gzip.open(path) as file:
            while block := file.read(PIECE):
                lines.write(block)
        return lines, f"{path}, line"
    with unpack(path, "rt", encoding="utf-8-sig", newline="") as text:
        if kind == ".json":
            rows = (element.replace("\n", " ") for element in _json_elements(text))
        else:
            rows = (json.dumps(row, ensure_ascii=False) for row in csv_rows(path, text))
        for row in rows:
            lines.write(row.encode() + b"\n")
    return lines, f"{path}, row"


# --- Pieces of lines --------------------------------------------------------------------------------------------------------


def _spans(file: BinaryIO) -> list[tuple[int, int, int]]:
    """Returns begin, end and number of the first line of each piece of a text in UTF-8; raises ValueError for another file."""
    spans, begin, first, position, count = [], 0, 1, 0, 1
    decoder, is_blank = codecs.getincrementaldecoder("utf-8")(), True
    file.seek(0)
    while block := file.read(PIECE):
        decoder.decode(block)
        if b"\0" in block:
            raise ValueError("a NUL byte")
        is_blank = is_blank and not block.strip()
        end = position + block.rfind(b"\n") + 1
        position, count = position + len(block), count + block.count(b"\n")
        if end > begin and b"\n" in block:
            spans.append((begin, end, first))
            begin, first = end, count
    decoder.decode(b"", final=True)
    if is_blank:
        raise ValueError("empty")
    return [*spans, (begin, position, first)] if begin < position else spans


def _read(file: BinaryIO, place: str, cure: str, begin: int, end: int, first: int) -> Rows:
    content = os.pread(file.fileno(), end - begin, begin)  # of a file that forked processes share
    return read_jsonl(content.decode("utf-8" if begin else "utf-8-sig"), place, first=first, cure=cure)


def _cut(path: Path) -> list[Callable[[], Rows]]:
    try:
        file, place = _as_lines(path)
        spans = _spans(file)
    except READ_WHOLE:
        rows = read_file(path)  # ends with the line that says what is wrong
        return [partial(list, rows)]
    by_line = place.endswith("line")
    cure = "write one {...} a line" if by_line else "write a list of objects, or a jsonl with one object a line"
    return [partial(_read, file, place, cure, *span) for span in spans]


def is_large(path: Path) -> bool:
    """Returns whether a file is read in pieces."""
    return path.stat().st_size >= (PACKED if path.name.lower().endswith(".gz") else LARGE)


def pieces_of(path: Path) -> Pieces:
    """Returns the rows of a jsonl, json, csv or tsv, packed or not, as `files.read_file` reads them, in pieces.

    Args:
        path: A file for which `kind_of` is not None.
    """
    return Pieces(f"{path} {digest_of_file(path)}", partial(_cut, path))
