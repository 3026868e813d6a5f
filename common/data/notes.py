"""What was found in the data of this process: for the report of a run, and for `recipes prepare`."""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

from common.errors import say


class Gathered:
    """Rows of several sequences, each left where it is: in memory or on disk."""

    def __init__(self) -> None:
        self.parts: list[Sequence[dict[str, Any]]] = []

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return chain.from_iterable(self.parts)

    def extend(self, rows: Sequence[dict[str, Any]]) -> None:
        self.parts.append(rows)


LINES: dict[str, None] = {}  # in their order, each once
LEFT_OUT: dict[str, str] = {}  # why a row was left out, by where it stands
ROWS = Gathered()  # the conversations that can be used, in the order of the files


def note(line: str) -> None:
    """Says a line about the data, and keeps it for the report."""
    if line not in LINES:
        LINES[line] = None
        say(line)
