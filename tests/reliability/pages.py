"""Parts of a page that a program writes: each stands between two comments that name the program."""

import re
from pathlib import Path


def _part(text: str, program: str) -> re.Match:
    found = re.search(
        rf"(<!-- Written by `python {program}`\. -->\n\n)(.*?)(\n\n<!-- So far `{program}`\. -->)", text, re.DOTALL
    )
    assert found, f"no part of the page is written by {program}"
    return found


def read_part(page: Path, program: str) -> str:
    """Returns the part of a page that a program writes."""
    return _part(page.read_text(encoding="utf-8"), program)[2]


def write_part(page: Path, program: str, part: str) -> None:
    """Writes a program's part of a page anew."""
    text = page.read_text(encoding="utf-8")
    found = _part(text, program)
    page.write_text(text[: found.start()] + found[1] + part + found[3] + text[found.end() :], encoding="utf-8")
