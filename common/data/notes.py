"""What was found in the data of this process: for the report of a run, and for `recipes prepare`."""

from typing import Any

from common.errors import say

LINES: dict[str, None] = {}  # in their order, each once
LEFT_OUT: dict[str, str] = {}  # why a row was left out, by where it stands
ROWS: list[dict[str, Any]] = []  # the conversations that can be used, in the order of the files


def note(line: str) -> None:
    """Says a line about the data, and keeps it for the report."""
    if line not in LINES:
        LINES[line] = None
        say(line)
