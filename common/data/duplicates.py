"""Rows that stand in the training twice, or in what is measured as well: counted, said, and left out if asked to."""

from collections.abc import Callable, Hashable, Iterable
from typing import TypeVar

from common.data.notes import note

Row = TypeVar("Row")


def without_duplicates(
    train: list[Row],
    measured: Iterable[Row],
    question: Callable[[Row], Hashable],
    content: Callable[[Row], Hashable],
    *,
    name: str,
    drops: bool,
) -> list[Row]:
    """Counts rows that stand in the training twice, or ask what is measured, and says so; leaves them out if asked to.

    Args:
        train: The training rows.
        measured: The rows of the other parts.
        question: Returns what is asked in a row.
        content: Returns all that is in a row.
        name: Name of the data, for what is printed.
        drops: Whether to leave them out.

    Returns:
        The training rows that are left.
    """
    seen, first = set(), []
    for row in train:
        key = content(row)
        if key not in seen:
            seen.add(key)
            first.append(row)
    asked = {question(row) for row in measured}
    apart = [row for row in first if question(row) not in asked]
    twice, leaks = len(train) - len(first), len(first) - len(apart)
    what = "left out of the training" if drops else "trained as they are; `--drop_duplicates true` leaves them out"
    if twice:
        note(f"{name}: {twice} of {len(train)} training rows are the same as an earlier one: {what}")
    if leaks:
        note(f"{name}: {leaks} training rows ask what is also measured: {what}")
    return apart if drops else train
