"""What can be wrong with a call, and what both comparisons need to say it."""

import reprlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

# From the furthest off to the nearest miss.
KINDS = (
    "malformed call",
    "wrong number of calls",
    "unknown function",
    "wrong function",
    "missing argument",
    "unexpected argument",
    "wrong type",
    "wrong value",
)
TYPES = {str: "string", int: "integer", float: "number", bool: "boolean", list: "array", dict: "object", type(None): "null"}


@dataclass(frozen=True)
class Mistake:
    """What is wrong with the calls of a completion.

    Attributes:
        kind: One of `KINDS`, to be counted.
        detail: The names and values.
    """

    kind: str
    detail: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.detail}"


def nearness(mistake: Mistake) -> int:
    """Returns how near a mistake is to a right answer; see `KINDS`."""
    return KINDS.index(mistake.kind)


def worst(mistakes: Iterable[Mistake | None]) -> Mistake | None:
    """Returns the worst of the mistakes in one thing, or None if there are none."""
    return min((mistake for mistake in mistakes if mistake), key=nearness, default=None)


# reprlib shortens, and like repr it escapes what cannot be printed: a model may write anything.
def shown(value: Any) -> str:
    """Returns a value as it is shown in a mistake."""
    return reprlib.repr(value)


def name_of(text: str) -> str:
    """Returns the name of a function or an argument as it is shown in a mistake."""
    return f"`{repr(text)[1:-1]}`"


def types_of(schema: dict[str, Any]) -> list[str]:
    """Returns the types that a JSON schema allows; none means any, and so does a name that JSON does not know."""
    types = schema.get("type", [])
    types = [types] if isinstance(types, str) else types
    return types if set(types) <= set(TYPES.values()) else []


def has_type(value: Any, schema: dict[str, Any]) -> bool:
    """Returns whether a value is of a type that a JSON schema allows; an integer is a number, too."""
    types, found = types_of(schema), TYPES[type(value)]
    return not types or found in types or (found == "integer" and "number" in types)


def wrong_type(value: Any, schema: dict[str, Any], path: str) -> Mistake:
    """Returns the mistake that a value is of none of the types that a JSON schema allows."""
    return Mistake("wrong type", f"{name_of(path)} must be {' or '.join(types_of(schema))}, not {TYPES[type(value)]}")
