"""What CORD's and Donut's column `ground_truth` says about a picture, as a text to be learned: nothing of it is left away."""

import json
from typing import Any

from common.data.columns import text_of_cell
from common.errors import BadRow

KEYS = ("gt_parse", "gt_parses")
MENUS, SUMS = ("menu", "void_menu"), ("sub_total", "total")  # CORD's
ORDER = ["nm", "num", "unitprice", "cnt", "discountprice", "price"]  # of an entry of a menu, as it is printed


def read_truth(value: Any) -> Any:
    """Returns a ground truth as an object with one of `KEYS`; None for a text, which stands for itself.

    Raises:
        BadRow: If it is JSON of another form.
    """
    if isinstance(value, str):
        try:
            value = json.loads(value) if value.lstrip().startswith("{") else None
        except (ValueError, RecursionError):
            value = {}
        if value is None:
            return None
    if not isinstance(value, dict) or not any(value.get(key) for key in KEYS):
        raise BadRow('`ground_truth` must be JSON with a key "gt_parse", as in CORD; or write a column `text`')
    return value


def _text(value: Any) -> str:
    """Returns a value in words, those of a list joined by spaces."""
    if isinstance(value, list):
        return " ".join(filter(None, map(_text, value)))
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


def _name(key: str) -> str:
    return key.removesuffix("price").replace("_", " ").strip() or key


def _entry(entry: dict[str, Any]) -> list[str]:
    """Returns a line with all values of an entry, and a line for each entry within it."""
    keys = sorted(entry, key=lambda key: ORDER.index(key) if key in ORDER else len(ORDER))
    inner = {key: value for key, value in entry.items() if isinstance(value, dict) or _is_entries(value)}
    line = " ".join(filter(None, (_text(entry[key]) for key in keys if key not in inner)))
    return [line, *(more for value in inner.values() for more in _entries(value))]


def _is_entries(value: Any) -> bool:
    return isinstance(value, list) and any(isinstance(item, dict) for item in value)


def _entries(value: Any) -> list[str]:
    return [line for item in (value if isinstance(value, list) else [value]) for line in _lines_of_item(item)]


def _lines_of_item(item: Any) -> list[str]:
    return _entry(item) if isinstance(item, dict) else [_text(item)]


def _lines(key: str, value: Any) -> list[str]:
    """Returns the lines of a key: of entries those of each, of an object those of its keys, of a value its name and it."""
    if key in MENUS or (_is_entries(value) and key not in SUMS):
        return _entries(value)
    if isinstance(value, dict) or _is_entries(value):
        objects = value if isinstance(value, list) else [value]
        return [line for item in objects if isinstance(item, dict) for name in item for line in _lines(name, item[name])]
    return [f"{_name(key)} {_text(value)}"] if _text(value) else []


def read_parse(parse: Any) -> tuple[str, dict[str, Any] | None]:
    """Makes a text of what is known of a document (CORD: Park et al. 2019; Donut: Kim et al. 2022, arXiv:2111.15664).

    Each entry of a list, such as CORD's menu, is a line of its values joined by spaces; entries within it (`sub`) follow in
    lines of their own. Anything else is a line each: its key in words, without a last `price`, and its value. A parse of a
    single text, such as Donut's `text_sequence` and `class`, is that text.

    Args:
        parse: The `gt_parse`.

    Returns:
        The text, and the parse itself as the fields that can be looked for in what was read; None for a single text.

    Raises:
        BadRow: If nothing is named.
    """
    values = list(parse.values()) if isinstance(parse, dict) else []
    if len(values) == 1 and isinstance(values[0], str) and values[0].strip():
        return values[0], None
    found = parse if isinstance(parse, dict) else {"menu": parse}
    text = "\n".join(line for key, value in found.items() for line in _lines(key, value) if line)
    if not text:
        raise BadRow("`ground_truth` names nothing that could be transcribed; fill it in or remove the row")
    return text, found


def read_answers(parses: Any) -> list[tuple[str, str]]:
    """Returns the questions about a document with an answer each: the first, where several are right (DocVQA).

    Args:
        parses: The `gt_parses`: objects with a `question` and an `answer`.

    Raises:
        BadRow: If there are none.
    """
    found: dict[str, str] = {}
    for number, entry in enumerate(parses if isinstance(parses, list) else [parses], start=1):
        if not isinstance(entry, dict) or not {"question", "answer"} <= entry.keys():
            raise BadRow(f'`gt_parses`, entry {number}: not {{"question": ..., "answer": ...}}; correct it')
        question, answer = (text_of_cell(entry[key], f"gt_parses, {key}") for key in ("question", "answer"))
        found.setdefault(question, answer)
    return list(found.items())
