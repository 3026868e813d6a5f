"""The embedded lesson of a recipe: the folder lesson/, which a copy of the recipe may do without."""

from collections.abc import Callable, Collection
from importlib import import_module
from types import ModuleType
from typing import Any, TypeVar

from common.errors import fail

Row = TypeVar("Row")
MOST = 1_000_000  # rows; a minute of generating


def check_size(args: Any) -> None:
    """Checks that no more rows are to be generated than a lesson needs.

    Args:
        args: A recipe's arguments, with `num_train` and `num_held_out`.

    Raises:
        SystemExit: With code 2 and one line.
    """
    for name in ("num_train", "num_held_out"):
        if getattr(args, name) > MOST:
            fail(f"{name} is {getattr(args, name)}: at most {MOST} rows are generated; use fewer, or a file of your own")


def draw_distinct(
    draw: Callable[[], Row], question: Callable[[Row], str], count: int, exclude: Collection[str] = ()
) -> list[Row]:
    """Draws rows until there are so many that ask different questions.

    Args:
        draw: Draws a row.
        question: Returns what a row asks.
        count: How many.
        exclude: Questions that must not appear.

    Raises:
        SystemExit: With code 2 and one line if there are not so many: ten thousand draws bring nothing new.
    """
    rows, seen, repeated = [], set(exclude), 0
    while len(rows) < count:
        row = draw()
        repeated = repeated + 1 if question(row) in seen else 0
        if not repeated:
            seen.add(question(row))
            rows.append(row)
        elif repeated == 10_000:
            fail(f"{count} different questions cannot be generated, about {len(rows)} can; use fewer, or a file of your own")
    return rows


def import_lesson(name: str) -> ModuleType:
    """Imports a module of the folder lesson/ beside the recipe's own files.

    Args:
        name: The module's name, such as `synthetic`.

    Raises:
        SystemExit: With code 2 and one line if the folder is not there.
    """
    try:
        return import_module(f"lesson.{name}")
    except ModuleNotFoundError as error:
        if error.name not in ("lesson", f"lesson.{name}"):
            raise
        fail(
            "dataset_name synthetic: the folder lesson/, which generates these rows, is not in this copy of the recipe; pass a "
            "file, a folder or a hub id, or copy lesson/ from the recipe that this one was made of"
        )
