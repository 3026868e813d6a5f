"""The fields of receipts where a model writes JSON: keys with their values."""

import json
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

from common.measure.statistics import ratio
from common.measure.text import fold, without_thoughts

FENCE = re.compile(r"```(?:json)?\s*(.*?)\s*```", re.DOTALL)


def read_json(text: str, number: Callable[[str], Any] = float) -> dict[str, Any] | None:
    """Returns the JSON object that a text is, perhaps in a block of code; None if it is none.

    Args:
        text: A completion; thoughts do not count.
        number: What becomes of a number with a point: by `str` 9.00 stays as it is written, else it is 9.0.
    """
    said = without_thoughts(text).strip()
    fenced = FENCE.search(said)
    try:
        found = json.loads(fenced[1] if fenced else said, parse_float=number)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def leaves(value: Any, path: str = "") -> list[tuple[str, str]]:
    """Returns the keys and values in an object, those of nested ones by the path of their keys; lists have no order."""
    if isinstance(value, dict):
        return [leaf for key, item in value.items() for leaf in leaves(item, f"{path}.{key}" if path else str(key))]
    if isinstance(value, list):
        return [leaf for item in value for leaf in leaves(item, path)]
    text = fold(str(value)).casefold()
    return [(path.casefold(), text)] if value is not None and text else []


def field_f1(completions: list[str], wanted: list[dict[str, Any]]) -> dict[str, float]:
    """Returns the F1 of keys with their values, of all receipts together, as for CORD (Kim et al. 2022, arXiv:2111.15664).

    A pair counts where both the key (of nested objects the path) and the value are right, but for case, white space and
    typography; a number may be right as it is written or by its value. What is no JSON object has no pairs.

    Args:
        completions: What was written of each receipt.
        wanted: The fields of each.

    Returns:
        `value`, `low` and `high`.
    """
    right, asked = [], []
    for completion, fields in zip(completions, wanted, strict=True):
        gold = Counter(leaves(fields))
        readings = [Counter(leaves(read_json(completion, number) or {})) for number in (str, float)]
        found = max(readings, key=lambda one: (one & gold).total())
        right.append(2 * (found & gold).total())
        asked.append(found.total() + gold.total())
    return ratio(right, asked)
