"""The words of many_tools.py, as many_words.yaml has them: tools, their parameters, and how these are filled and asked for."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lesson.phrases import CITIES, DAYS, PEOPLE

Draw = Callable[[random.Random], tuple[str, Any]]
MONTHS = "January February March April May June July August September October November December"


@dataclass(frozen=True)
class Slot:
    """A parameter of a tool.

    Attributes:
        names: What it may be called in a schema.
        descriptions: What may be said of it there.
        said: How a request may give it, with the value in the place of `{}`.
        draw: Returns a value as it is said, and as the argument of a call.
        type: Its JSON type; of an array also that of its items, of an object the names of its whole numbers.
        choices: All values, where they are few.
    """

    names: list[str]
    descriptions: list[str]
    said: list[str]
    draw: Draw
    type: str
    choices: list[str] | None


@dataclass(frozen=True)
class Tool:
    """A tool, before its names are drawn.

    Attributes:
        field: What it is about; the module in a dotted name.
        names: What it may be called.
        description: What it does.
        openings: How a request begins, before its slots.
        required: Slots that every call fills.
        optional: Slots that it may leave out.
    """

    field: str
    names: list[str]
    description: str
    openings: list[str]
    required: list[str]
    optional: list[str]


# --- Values ---------------------------------------------------------------------------------------------------------------


def in_words(values: list[str], rng: random.Random) -> str:
    """Returns values one after the other, as people list them."""
    head, last = ", ".join(values[:-1]), values[-1]
    return f"{head} and {last}" if rng.random() < 0.8 else f"{head}, {last}"


def _of(values: list[str]) -> Draw:
    def draw(rng: random.Random) -> tuple[str, str]:
        value = rng.choice(values)
        return value, value

    return draw


def _whole(low: int, high: int, step: int = 1) -> Draw:
    def draw(rng: random.Random) -> tuple[str, int]:
        value = rng.randrange(low, high + 1, step)
        return f"{value:,}" if value > 9999 and rng.random() < 0.3 else str(value), value

    return draw


def _decimal(low: float, high: float, digits: int) -> Draw:
    def draw(rng: random.Random) -> tuple[str, float]:
        value = float(rng.randint(int(low) + 1, int(high))) if rng.random() < 0.3 else round(rng.uniform(low, high), digits)
        return f"{value:g}", value

    return draw


def _flag(true: str, false: str) -> Draw:
    return lambda rng: (true, True) if rng.random() < 0.6 else (false, False)


def _percent(rng: random.Random) -> tuple[str, float]:
    value = rng.choice([1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 1.5, 2.5, 3.5, 4.5, 7.5])
    return f"{value:g}%", value


def _share(rng: random.Random) -> tuple[str, float]:
    said, value = _percent(rng)
    return said, round(value / 100, 4)


def _date(rng: random.Random) -> tuple[str, str]:
    year, month, day = rng.randint(2019, 2026), rng.randint(1, 12), rng.randint(1, 28)
    written = f"{year}-{month:02d}-{day:02d}"
    return f"{MONTHS.split()[month - 1]} {day}, {year}" if rng.random() < 0.5 else written, written


def _time(rng: random.Random) -> tuple[str, str]:
    hour, minute, half = rng.randint(1, 12), rng.choice(["00", "15", "30", "45"]), rng.choice(["am", "pm"])
    return f"{hour}:{minute} {half}", f"{hour % 12 + 12 * (half == 'pm'):02d}:{minute}"


def _span(rng: random.Random) -> tuple[str, dict[str, int]]:
    low = rng.randint(10, 400)
    high = low + rng.randint(10, 600)
    return f"{low} and {high}", {"min": low, "max": high}


def _point(rng: random.Random) -> tuple[str, list[int]]:
    point = [rng.randint(-20, 40), rng.randint(-20, 40)]
    return f"({point[0]}, {point[1]})", point


def _several(draw: Draw, low: int, high: int, written: bool) -> Draw:
    """Draws a list of different values, said in words or, if it may be, as a list is written."""

    def draw_list(rng: random.Random) -> tuple[str, list[Any]]:
        drawn: dict[str, Any] = {}
        count = rng.randint(low, high)
        while len(drawn) < count:
            said, value = draw(rng)
            drawn[said] = value
        said = f"[{', '.join(drawn)}]" if written and rng.random() < 0.5 else in_words(list(drawn), rng)
        return said, list(drawn.values())

    return draw_list


# --- Reading --------------------------------------------------------------------------------------------------------------

NAMED = {"percent": _percent, "share": _share, "date": _date, "time": _time, "span": _span, "point": _point}


def _draw_of(row: dict[str, Any], values: dict[str, list[str]]) -> Draw:
    """Returns what fills a slot."""
    if "flag" in row:
        return _flag(*row["flag"])
    if "draw" in row:
        return NAMED[row["draw"]]
    if "whole" in row or "decimal" in row:
        one = _whole(*row["whole"]) if "whole" in row else _decimal(*row["decimal"])
    else:
        one = _of(row.get("choices") or (values[row["of"]] if isinstance(row["of"], str) else row["of"]))
    return _several(one, *row["list"], row.get("written", False)) if "list" in row else one


def read_words() -> tuple[dict[str, Slot], list[Tool]]:
    """Returns the slots by name, and the tools, as many_words.yaml has them."""
    words = yaml.safe_load((Path(__file__).parent / "many_words.yaml").read_text(encoding="utf-8"))
    values = words["values"] | {"places": CITIES + words["values"]["places"], "days": DAYS}
    values["people"] = [f"{first} {last}" for first in PEOPLE for last in values["surnames"]]
    slots = {
        name: Slot(
            row["names"].split(),
            row["description"].split("|"),
            row.get("said", "{}").split("|"),
            _draw_of(row, values),
            row.get("type", "string"),
            row.get("choices"),
        )
        for name, row in words["slots"].items()
    }
    tools = [
        Tool(
            row["field"],
            row["names"].split(),
            row["description"],
            row["openings"].split("|"),
            row["required"].split(),
            row["optional"].split(),
        )
        for row in words["tools"]
    ]
    return slots, tools
