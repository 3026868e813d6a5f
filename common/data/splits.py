"""What is trained, what is chosen by and what is reported on: splits found by name, or taken by a hash of the question."""

import unicodedata
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Any, TypeVar

from common.errors import fail, say

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


def size_of_part(num_rows: int, num_held_out: int) -> int:
    """Returns how many rows are put aside at a time: a tenth, at most `num_held_out`, and at least one."""
    return min(num_held_out, max(1, num_rows // 10))


# --- By hash --------------------------------------------------------------------------------------------------------------


def normalize_question(question: str) -> str:
    """Returns a question without what makes no other question of it: case, white space and compatible forms of characters."""
    return " ".join(unicodedata.normalize("NFKC", question).casefold().split())


def question_of(conversation: dict[str, Any]) -> str:
    """Returns what is asked first: all that the user says before the first answer, or, without a user, all that is said."""
    asked = []
    for message in conversation["messages"]:
        if message["role"] == "assistant":
            break
        asked += [message.get("content", "")] * (message["role"] == "user")
    return "\n".join(asked or [str(message.get("content")) for message in conversation["messages"]])


def _questions(rows: Iterable[Row], question: Callable[[Row], str]) -> list[list[int]]:
    """Returns the numbers of the rows of each question, in the order of the questions' hashes.

    A question that a tenth of all rows share stands last, whatever its hash: with it hardly anything would be left to train.
    """
    numbers: dict[bytes, list[int]] = {}
    for number, row in enumerate(rows):
        digest = blake2b(normalize_question(question(row)).encode(errors="replace"), digest_size=16).digest()
        numbers.setdefault(digest, []).append(number)
    common = max(1, sum(map(len, numbers.values())) // 10)
    return [numbers[digest] for digest in sorted(numbers, key=lambda digest: (len(numbers[digest]) > common, digest))]


def take(
    rows: Sequence[Row], question: Callable[[Row], str], count: int, *, questions_left: int = 0
) -> tuple[list[Row], list[Row]]:
    """Takes the rows whose questions have the smallest hashes; those of a question stay together.

    So it depends on the questions alone which rows are taken, not on a seed, a recipe, a format or the order of the rows, and
    fewer rows are a part of more.

    Args:
        rows: The rows.
        question: Returns what is asked in a row; rows that differ only as `normalize_question` ignores ask the same.
        count: How many to take at most; all rows of the first question are taken even if they are more.
        questions_left: At least so many questions are not taken.

    Returns:
        The rows taken and the others, both in their order.
    """
    questions, taken = _questions(rows, question), set()
    for numbers in questions[: len(questions) - questions_left]:
        if count < 1 or (taken and len(taken) + len(numbers) > count):
            break
        taken.update(numbers)
    apart = [row for number, row in enumerate(rows) if number in taken]
    return apart, [row for number, row in enumerate(rows) if number not in taken]


def hold_out(
    splits: Mapping[str, Sequence[Row]], question: Callable[[Row], str], num_held_out: int, *, name: str
) -> tuple[list[Row], list[Row], list[Row]]:
    """Returns what to train on, what to choose by and what to report on, and says where they come from.

    What is no split by one of `NAMES` is taken from the training split by `take`: first the held-out rows, then those of the
    validation.

    Args:
        splits: The rows by the name of their split.
        question: See `take`.
        num_held_out: The most rows of the validation, and of the held-out rows.
        name: Name of the data, for what is printed.

    Returns:
        The training, validation and held-out rows, each in its order.

    Raises:
        SystemExit: With code 2 and one line if there are too few questions.
    """
    check_num_held_out(num_held_out)
    found = find_splits(splits)
    train = list(splits[found["train"]])
    size, missing = size_of_part(len(train), num_held_out), [part for part in ("test", "validation") if part not in found]
    count = len(_questions(train, question))
    if count <= len(missing):
        fail(
            f"{name} has {count} distinct row{'s' * (count != 1)} to train on (those that ask the same are one) and needs at "
            f"least {len(missing) + 1}, as some are kept apart to measure; add rows"
        )
    parts = {}
    for number, part in enumerate(missing):
        parts[part], train = take(train, question, size, questions_left=len(missing) - number)
    for part in parts.keys() ^ {"test", "validation"}:
        parts[part], _ = take(splits[found[part]], question, num_held_out)
    come_from = {part: f"from `{found[part]}`" if part in found else f"from `{found['train']}`, by hash" for part in parts}
    say(
        f"{name}: {len(train)} rows to train on, {len(parts['validation'])} to choose by ({come_from['validation']}), "
        f"{len(parts['test'])} to report on ({come_from['test']})"
    )
    return train, parts["validation"], parts["test"]
