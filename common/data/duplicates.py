"""Rows that stand in the training twice, or in what is measured as well: counted, said, and left out if asked to."""

from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

from common.data.notes import note
from common.data.questions import digest_of, digest_of_content, digests, group_of
from common.data.stored import select

import numpy as np

Row = TypeVar("Row")


def _is_first(keys: np.ndarray) -> np.ndarray:
    """Returns for each hash whether it stands there for the first time."""
    order = np.lexsort((keys[:, 1], keys[:, 0]))  # stable: the same hashes stay in their order
    is_first = np.ones(len(keys), bool)
    is_first[order[1:]] = (keys[order[1:]] != keys[order[:-1]]).any(axis=1)
    return is_first


def asks_same(rows: Sequence[Row], others: Sequence[Row], question: Callable[[Row], str] = group_of) -> np.ndarray:
    """Returns for each row whether one of the others asks the same.

    Args:
        rows: The rows.
        others: The others.
        question: Returns what is asked in a row.
    """
    keys, known = (digests(part, question, digest_of).view("u8,u8").ravel() for part in (rows, others))
    return np.isin(keys, known)


def without_duplicates(
    train: Sequence[Row],
    measured: Sequence[Row],
    question: Callable[[Row], str],
    content: Callable[[Row], Hashable],
    *,
    name: str,
    drops: bool,
) -> Sequence[Row]:
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
    is_first = _is_first(digests(train, content, digest_of_content))
    is_asked = asks_same(train, measured, question)
    twice, leaks = int((~is_first).sum()), int((is_first & is_asked).sum())
    what = "left out of the training" if drops else "trained as they are; `--drop_duplicates true` leaves them out"
    if twice:
        note(f"{name}: {twice} of {len(train)} training rows are the same as an earlier one: {what}")
    if leaks:
        note(f"{name}: {leaks} training rows ask what is also measured: {what}")
    return select(train, np.flatnonzero(is_first & ~is_asked)) if drops else train
