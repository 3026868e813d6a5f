"""What the columns of a row hold, by their headings or as `--columns` says."""

import re
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from common.data.literals import read_value
from common.errors import BadRow, fail, nearest

# The usual headings, in lower case and with `_` for spaces. What stands first in a line is its name here and in `--columns`.
HEADINGS = {
    "messages": ("messages", "conversations", "conversation", "dialogue", "dialog"),
    "question": ("question", "prompt", "query", "instruction", "problem", "user", "human", "request", "q", "user_input"),
    "input": ("input", "context", "body"),
    "answer": (
        *("answer", "response", "completion", "output", "reply", "solution", "assistant", "target", "a"),
        *("expected_output", "expected_answer", "ground_truth", "final_answer"),
    ),
    "calls": ("answers",),
    "thinking": ("thinking", "reasoning_content", "reasoning", "thought"),
    "history": ("history",),
    "system": ("system", "system_prompt"),
    "tools": ("tools", "functions"),
    "transcript": ("chat", "sample"),
    "images": (
        *("images", "image", "file_name", "file_names", "image_path", "image_paths", "image_file", "image_url", "image_urls"),
        *("img", "img_path", "picture", "photo", "filename", "file_path", "filepath", "path"),
    ),
}

CHOICES = ("choices", "options")
LABEL = re.compile(r"\(?(?:[A-Za-z]|\d)\)?\.?")  # of a choice


def heading(name: Any) -> str:
    """Returns the name of a column as `HEADINGS` writes it."""
    return re.sub(r"[\s\-]+", "_", str(name).strip().lower())


def misspelt(row: dict[str, Any], headings: Sequence[str]) -> str:
    """Returns a hint that names a column whose heading is nearly one of `headings`, or an empty text if there is none."""
    known = {name for names in [headings, *HEADINGS.values()] for name in names}
    for column in row:
        hint = "" if heading(column) in known else nearest(heading(column), list(headings), cutoff=0.85)
        if hint:
            return f", but `{column}`{hint} Rename it, or name it with `--columns`"
    return ""


def read_columns(columns: Sequence[str]) -> dict[str, str]:
    """Returns the columns that `--columns` maps, by the names of `HEADINGS`.

    Args:
        columns: Texts such as `question=Frage`.

    Raises:
        SystemExit: With code 2 for one without a `=`, or a name that is not known.
    """
    mapped = {}
    for text in columns:
        name, equals, column = text.partition("=")
        if not equals or not column:
            fail(f"columns {text}: write what it is and the column, for example `--columns question=Frage answer=Antwort`")
        if name not in HEADINGS:
            fail(f"columns {text}: there is no `{name}`{nearest(name, list(HEADINGS)) or '; there is: ' + ', '.join(HEADINGS)}")
        mapped[name] = column
    return mapped


def _is_nan(value: Any) -> bool:
    """Returns whether a cell is NaN, which is what some libraries write for nothing."""
    return isinstance(value, float) and value != value


def _is_empty(value: Any) -> bool:
    return value is None or _is_nan(value) or value == [] or (isinstance(value, str) and not value.strip())


def _present(row: dict[str, Any], mapped: dict[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Returns the columns of a row that have a value by their headings, and beside them others of a heading with another value.

    Of two with one heading it is the mapped one, or the last that is not empty.
    """
    present: dict[str, str] = {}
    others: dict[str, str] = {}
    for name, value in row.items():
        other = present.get(heading(name), name)
        if value is None or _is_nan(value) or (other != name and other in mapped.values()):
            continue
        if other == name or name in mapped.values() or _is_empty(row[other]):
            others.pop(heading(name), None)
        elif _is_empty(value):
            continue
        elif str(value).strip() != str(row[other]).strip():
            others[heading(name)] = other
        present[heading(name)] = name
    return present, others


def find_columns(row: dict[str, Any], mapped: dict[str, str]) -> dict[str, list[str]]:
    """Returns the columns of a row that have a value, by what they are; a mapped one is the only one of its kind.

    Args:
        row: The row.
        mapped: See `read_columns`.

    Raises:
        BadRow: If a mapped one is not there, or two are called the same but for the case of letters, and differ.
    """
    present, others = _present(row, mapped)
    found = {}
    for name, column in mapped.items():
        if column not in row and heading(column) not in {heading(other) for other in row}:
            raise BadRow(
                f"no column `{column}` (found: {', '.join(map(str, row)) or 'nothing'}); correct `--columns {name}={column}`"
            )
    taken = {heading(column) for column in mapped.values()}
    for name, headings in HEADINGS.items():
        wanted = [heading(mapped[name])] if name in mapped else [known for known in headings if known not in taken]
        twice = next((known for known in wanted if known in others and name not in (*mapped, "images")), None)
        if twice:
            one, other = others[twice], present[twice]
            raise BadRow(f"`{one}` and `{other}` are one heading with two values: rename one, or say `--columns {name}={one}`")
        found[name] = [present[heading] for heading in wanted if heading in present]
    return found


def text_of_cell(value: Any, column: str) -> str:
    """Returns the text of a cell: a number or a truth value as JSON writes it.

    Raises:
        BadRow: If it is empty or neither.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float) and not _is_nan(value):
        return str(value)
    if not isinstance(value, str | float):
        raise BadRow(f"`{column}` must be a text, not a {type(value).__name__}; write one, or remove the row")
    if _is_nan(value) or not value.strip():
        raise BadRow(f"`{column}` is empty; fill it in or remove the row")
    return value


def text_of(row: dict[str, Any], column: str) -> str:
    """Returns the text in a column of a row; see `text_of_cell`.

    Args:
        row: A row as it was read.
        column: The column's name.

    Raises:
        BadRow: If there is none, or it is empty.
    """
    if column not in row:
        raise BadRow(f"no `{column}` (found: {', '.join(map(str, row)) or 'nothing'}); add the column")
    return text_of_cell(row[column], column)


def check_choices(row: dict[str, Any], question: str, answer: str) -> None:
    """Checks that a question is not answered by the letter or number of a choice that the model is not shown.

    Args:
        row: The columns that were not read.
        question: What is asked.
        answer: What is learned.

    Raises:
        BadRow: If it is.
    """
    if not LABEL.fullmatch(answer.strip()):
        return
    label = re.sub(r"\W", "", answer)
    for name in (name for name in row if heading(name) in CHOICES):
        choices = row[name]
        if isinstance(choices, str):
            with suppress(ValueError):
                choices = read_value(choices)
        if isinstance(choices, dict):
            choices = choices.get("text", list(choices.values()))
        texts = list(map(str, choices)) if isinstance(choices, list) else []
        is_place = not label.isdigit() or int(label) <= len(texts)
        is_value = any(re.findall(r"\w+", text)[-1:] == [label] for text in texts)  # `A) 5`, answered by 5
        if texts and is_place and not is_value and not all(text in question for text in texts):
            raise BadRow(
                f"`{answer}` answers by its place in `{name}`, which the model is not shown; write them into the question, or "
                "leave the column away"
            )


def check_wanted(row: dict[str, Any]) -> None:
    """Checks that a row is not an answer that KTO's data mark as unwanted.

    Args:
        row: The row as it was read.

    Raises:
        BadRow: If it is.
    """
    values = {heading(name): value for name, value in row.items()}
    label = str(values.get("label")).lower()
    if {"prompt", "completion"} <= values.keys() and label in ("false", "0", "0.0"):  # in a table a number, perhaps a float
        raise BadRow(
            f"`label` is {label}, KTO's mark of an unwanted answer; leave such rows out with `--skip_bad_rows true`, or train "
            "them with `--columns answer=completion`"
        )
