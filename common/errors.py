"""One-line errors: what is wrong, where, and the cure."""

import contextlib
import difflib
import json
import os
import sys
import textwrap
import time
from typing import NoReturn

from common.progress import line_follows


class BadRow(ValueError):
    """A row that cannot be trained on; the text says why and what to do."""


def is_main_process() -> bool:
    """Returns whether this process is the one that prints and writes (every launcher sets RANK)."""
    return os.environ.get("RANK", "0") == "0"


def say(message: str) -> None:
    """Prints a line of information, once for all processes."""
    if is_main_process():
        line_follows()
        print(message, flush=True)


def brief(error: Exception) -> str:
    """Returns what a library's error says on one line, the sentences that fit, without what would end or continue it."""
    text = textwrap.shorten(str(error), 200, placeholder=" ...")
    if text.endswith(" ...") and ". " in text:
        text = text.rpartition(". ")[0]
    return text if text.endswith(" ...") else text.rstrip(" .,:;")


def nearest(word: str, words: list[str], cutoff: float = 0.5) -> str:
    """Returns a hint naming the most similar of `words`, or an empty text if none is as similar as `cutoff`, 0 to 1."""
    matches = difflib.get_close_matches(word, words, n=1, cutoff=cutoff)
    return f"; did you mean `{matches[0]}`?" if matches else ""


def tell_launcher(message: str) -> None:
    """Hands a line to the report with which torchrun and `accelerate launch` end when a process of theirs has an exit code."""
    report = os.environ.get("TORCHELASTIC_ERROR_FILE")
    if report:
        details = {"message": {"message": message, "extraInfo": {"timestamp": str(int(time.time()))}}}
        with contextlib.suppress(OSError), open(report, "w", encoding="utf-8") as file:  # it has been printed already
            json.dump(details, file)


def fail(message: str) -> NoReturn:
    """Ends the program with one line on standard error and exit code 2.

    For a user's mistakes only: a traceback is for bugs. torchrun and `accelerate launch` wrap the exit of any process in a
    report of their own and exit with 1; the line is also handed to that report, which ends with it.

    Args:
        message: What is wrong, where (file, row, key) and what to do about it.
    """
    if not is_main_process():
        # The launcher stops all processes as soon as one has failed: leave the main process the time to speak for all.
        # Whoever is still here after that has met a mistake of its own (a file that only its machine lacks).
        time.sleep(30)
    line_follows()
    print(f"error: {message}", file=sys.stderr, flush=True)
    tell_launcher(f"error: {message}")
    raise SystemExit(2)
