"""Several data sets as one: their names in a setting, and how often the rows of each are trained."""

import os
import re
import shlex
from collections.abc import Callable, Sequence
from typing import TypeVar

from common.data.notes import note
from common.data.questions import order_by_hash
from common.data.stored import select
from common.errors import fail

import numpy as np

Row = TypeVar("Row")


def sources_of(setting: str) -> list[tuple[str, float | None]]:
    """Returns the data sets that a setting names, each with its weight.

    Args:
        setting: A name (hub id, file, folder), or several with spaces between them, perhaps each with a weight behind it:
            `a.jsonl:2 b.jsonl:1`.

    Raises:
        SystemExit: With code 2 for a weight of nothing, or weights for some of them alone.
    """
    if os.path.exists(setting) or not re.search(r"\s|:[\d.]+$", setting):
        return [(setting, None)]
    try:
        words = shlex.split(setting)
    except ValueError as error:
        fail(f"dataset_name {setting}: {error}; put a name with spaces into quotes and close them")
    found: list[tuple[str, float | None]] = []
    for word in words:
        weighted = None if os.path.exists(word) else re.fullmatch(r"(.+):(\d+(?:\.\d+)?)", word)
        found.append((weighted[1], float(weighted[2])) if weighted else (word, None))
    weights = [weight for _, weight in found]
    if any(weight is None for weight in weights) and not all(weight is None for weight in weights):
        fail(f"dataset_name {setting}: some have a weight and some have none; give each one, for example `a.jsonl:2 b.jsonl:1`")
    if any(weight == 0 for weight in weights):
        fail(f"dataset_name {setting}: a weight of 0 trains nothing of it; leave it away")
    names = [name for name, _ in found]
    if len(set(names)) < len(names):
        fail(f"dataset_name {setting}: the same name stands there twice; write it once, with a weight")
    return found


def mix(rows: Sequence[Row], setting: str, source: Callable[[Row], str], question: Callable[[Row], str]) -> Sequence[Row]:
    """Mixes the training rows of several data sets, those with weights in proportion to them.

    Every row is trained: of the set that is the largest for its weight once, of the others more often, whole rounds first and
    then those whose questions have the smallest hashes.

    Args:
        rows: The training rows of all data sets.
        setting: See `sources_of`.
        source: Returns the name of a row's data set.
        question: See `questions.take`.

    Returns:
        The rows, those of each data set spread evenly over the whole; of one data set as they are.

    Raises:
        SystemExit: With code 2 if a data set has no row to train on.
    """
    weights = sources_of(setting)
    if len(weights) < 2 or not rows:
        return rows
    names = [name for name, _ in weights]
    numbers = np.fromiter((names.index(source(row)) for row in rows), np.int64, len(rows))
    groups = {name: np.flatnonzero(numbers == number) for number, name in enumerate(names)}
    for name, group in groups.items():
        if not len(group):
            fail(f"{name} has no row to train on that is not held out; add rows, or leave it away")
    scale = max(len(groups[name]) / (weight or len(groups[name])) for name, weight in weights)
    chosen, places, lines = [], [], []
    for name, weight in weights:
        group = groups[name]
        rounds, rest = divmod(round(weight * scale) if weight else len(group), len(group))
        first = group[order_by_hash(select(rows, group), question)[:rest]]
        many = np.concatenate([*[group] * rounds, first])
        chosen.append(many)
        places.append((np.arange(len(many)) + 0.5) / len(many))
        lines.append(f"{len(many)} of {name} ({len(many) / len(group):.3g} times each)" if weight else f"{len(many)} of {name}")
    note(f"Training rows mixed: {', '.join(lines)}")
    return select(rows, np.concatenate(chosen)[np.argsort(np.concatenate(places), kind="stable")])
