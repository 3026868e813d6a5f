"""Values that stand in a text: as JSON, or as Python writes them, which many data sets take for JSON."""

import ast
import json
from typing import Any

from common.data.files import DECODER

LONGEST = 100_000  # characters of a value in Python's form; Python's parser needs stack and memory for it
MOST_FAILED = 1000  # brackets that begin no JSON; a text of a hundred thousand would take minutes
NAMES = {"true": True, "false": False, "null": None}


def _value(node: ast.AST) -> Any:
    """Returns the value of a literal; nothing is called and no name is looked up."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str | int | float | bool | None):
        return node.value
    if isinstance(node, ast.Name) and node.id in NAMES:
        return NAMES[node.id]
    if isinstance(node, ast.List | ast.Tuple):
        return [_value(item) for item in node.elts]
    if isinstance(node, ast.Dict) and all(isinstance(key, ast.Constant) and isinstance(key.value, str) for key in node.keys):
        keys = [key.value for key in node.keys]
        if len(set(keys)) < len(keys):
            raise ValueError("a key stands twice in an object")
        return dict(zip(keys, map(_value, node.values), strict=True))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        value = _value(node.operand)
        if type(value) in (int, float):
            return -value
    raise ValueError("not a plain value")


def read_value(text: str) -> Any:
    """Reads a value as JSON, or as Python writes it (`{'city': 'Oslo', 'day': None}`).

    Raises:
        ValueError: If it is neither, or too deeply nested.
    """
    try:
        return DECODER.decode(text)
    except RecursionError:
        raise ValueError("too deeply nested") from None
    except ValueError:
        if len(text) > LONGEST:
            raise
    try:
        return _value(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, RecursionError, MemoryError) as error:
        raise ValueError(f"neither JSON nor a value of Python ({type(error).__name__})") from None


def read_json_values(text: str, *, among_words: bool = False) -> Any:
    """Reads the objects and lists that stand in a text one after the other.

    Args:
        text: Of JSON values alone, or with `among_words` any.
        among_words: Whether there may be words between them.

    Returns:
        The values, or None if there is anything else; with `among_words` start, end and value of each.
    """
    found, position, failed = [], 0, 0
    while position < len(text) and failed < MOST_FAILED:
        start = min((at for at in (text.find("{", position), text.find("[", position)) if at >= 0), default=len(text))
        if not among_words and text[position:start].strip(" \t\r\n,"):
            return None
        if start == len(text):
            break
        try:
            value, position = DECODER.raw_decode(text, start)
            found.append((start, position, value))
        except (ValueError, RecursionError):
            if not among_words:
                return None
            position, failed = start + 1, failed + 1
    return found if among_words else [value for _, _, value in found]


def is_json(value: Any) -> bool:
    """Returns whether a value can be written as JSON: no NaN, no Infinity, no half of a character, not too deeply nested."""
    try:
        json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    except (ValueError, TypeError, RecursionError):
        return False
    return True
