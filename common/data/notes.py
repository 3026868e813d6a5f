"""What was found in the data of this process: for the report of a run, and for `recipes prepare`."""

from common.errors import say

LINES: dict[str, None] = {}  # in their order, each once
LEFT_OUT: dict[str, str] = {}  # why a row was left out, by where it stands


def note(line: str) -> None:
    """Says a line about the data, and keeps it for the report."""
    if line not in LINES:
        LINES[line] = None
        say(line)
