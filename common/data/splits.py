"""What is trained, what is chosen by and what is reported on: splits found by name, or taken by a hash of the question."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeVar

from common.data.duplicates import without_duplicates
from common.data.notes import note
from common.data.questions import Questions, partition, take
from common.errors import fail

import numpy as np

Row = TypeVar("Row")

# The names that data sets on the hub use for each part; the first one that is there is taken, the other splits are not read.
NAMES = {
    "train": ("train", "train_sft"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "test_sft"),
}


def find_splits(names: Collection[str]) -> dict[str, str]:
    """Returns the names of a data set's splits by what they are for, of those that are there: `train`, `validation`, `test`."""
    found = {part: [name for name in known if name in names] for part, known in NAMES.items()}
    return {part: those[0] for part, those in found.items() if those}


def check_num_held_out(num_held_out: int) -> None:
    """Checks that there is to be something to measure.

    Raises:
        SystemExit: With code 2.
    """
    if num_held_out < 1:
        fail(f"num_held_out is {num_held_out}: without held-out problems nothing can be measured; use at least 1")


def check_parts(name: str, held_out: Mapping[str, Sequence[Any]], *parts: Sequence[Any]) -> None:
    """Checks that there is something in each part of the data that is needed.

    Args:
        name: Name of the data.
        held_out: The held-out rows by the name of the set.
        parts: The rows to train on, and those to choose by, where the script needs them.

    Raises:
        SystemExit: With code 2.
    """
    if parts and not parts[0]:
        fail(f"{name} has nothing to train on: all there is is kept to measure; pass the data to train on as dataset_name")
    if not held_out or not all(map(len, [*held_out.values(), *parts])):
        fail(
            f"{name} has too few rows that ask different things: some are kept apart to measure, so it takes at least 3 "
            "(2 with a split for the validation or to report on); add rows"
        )


def size_of_part(num_rows: int, num_held_out: int) -> int:
    """Returns how many rows are put aside at a time: a tenth, at most `num_held_out`, and at least one."""
    return min(num_held_out, max(1, num_rows // 10))


# --- By hash --------------------------------------------------------------------------------------------------------------

# Shares of all questions by their hash: what is reported on, and what is chosen by. The rest is trained.
SHARES = {"test": (0.0, 0.1), "validation": (0.1, 0.2)}
RESERVED = 400  # rows kept out of the training for a part even if fewer are measured: another recipe may measure these


def _take_share(
    rows: Sequence[Row], question: Callable[[Row], str], part: str, most: int, questions_left: int
) -> tuple[Sequence[Row], Sequence[Row]]:
    """Takes the rows whose questions' hashes lie in the share of a part; if there are none, those of the smallest hash.

    Whether a row is taken depends on its question alone, so that what is held out of some of the rows is a part of what is held
    out of all, as long as it is not more than `most` rows or a fifth of all.
    """
    questions = Questions(rows, question)
    most = min(most, max(1, len(rows) // 5))
    inside = np.flatnonzero(questions.within(*SHARES[part]) & ~questions.is_common)
    taken, count = [], 0
    for number in (inside if len(inside) else np.arange(len(questions))[:1])[: max(0, len(questions) - questions_left)]:
        if taken and count + questions.counts[number] > most:
            break
        taken.append(questions.rows_of(number))
        count += questions.counts[number]
    return partition(rows, taken)


def _take_shares(
    rows: Sequence[Row], question: Callable[[Row], str], missing: list[str], most: int
) -> tuple[dict[str, Sequence[Row]], Sequence[Row]]:
    """Takes the rows of the parts that are missing by `_take_share`; returns those of each part, and the rest.

    There are none if each part, and the training, could not have a question.
    """
    parts: dict[str, Sequence[Row]] = {part: [] for part in SHARES}
    if len(Questions(rows, question)) > len(missing):
        for number, part in enumerate(missing):
            parts[part], rows = _take_share(rows, question, part, most, len(missing) - number)
    return parts, rows


# --- All parts ------------------------------------------------------------------------------------------------------------


def _origin(part: str, found: dict[str, str]) -> str:
    return f"from `{found[part]}`" if part in found else f"from `{found['train']}`, by hash"


def hold_out(
    splits: Mapping[str, Sequence[Row]],
    question: Callable[[Row], str],
    num_held_out: int,
    *,
    name: str,
    content: Callable[[Row], str] | None = None,
    drop_duplicates: bool = False,
) -> tuple[Sequence[Row], Sequence[Row], Sequence[Row]]:
    """Returns what to train on, what to choose by and what to report on, and says where they come from.

    What is no split by one of `NAMES` is taken from the training split by the hash of the question, see `SHARES`: the same rows
    in every recipe, for any seed, order and `num_held_out`.

    Args:
        splits: The rows by the name of their split.
        question: See `take`.
        num_held_out: The most rows of the validation, and of the held-out rows.
        name: Name of the data, for what is printed.
        content: Returns all that is in a row, to find rows that are the same; not looked for without it.
        drop_duplicates: Leave out of the training what stands there twice, or is measured.

    Returns:
        The training, validation and held-out rows, each in its order. Without a training split all rows are held out; with too
        few questions none, see `check_parts`.

    Raises:
        SystemExit: With code 2 and one line if nothing is to be held out.
    """
    check_num_held_out(num_held_out)
    found = find_splits(splits)
    if "train" not in found:
        part = "test" if "test" in found else "validation"
        held_out, _ = take(splits[found[part]], question, num_held_out)
        note(f"{name}: {len(held_out)} rows to report on (from `{found[part]}`), none to train on")
        return [], [], held_out
    missing = [part for part in SHARES if part not in found]
    parts, train = _take_shares(splits[found["train"]], question, missing, max(RESERVED, num_held_out))
    all_of_part = parts | {part: splits[found[part]] for part in parts if part in found}
    measured = {part: take(rows, question, num_held_out)[0] for part, rows in all_of_part.items()}
    apart = sum(map(len, parts.values())) - sum(len(measured[part]) for part in missing)
    if content:
        given = [row for rows in measured.values() for row in rows]
        train = without_duplicates(train, given, question, content, name=name, drops=drop_duplicates)
    note(
        f"{name}: {len(train)} rows to train on, {len(measured['validation'])} to choose by ({_origin('validation', found)}), "
        f"{len(measured['test'])} to report on ({_origin('test', found)})"
        + (f", {apart} kept apart for other recipes" if apart else "")
    )
    return train, measured["validation"], measured["test"]
