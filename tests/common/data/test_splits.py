"""What is held out: the same rows whatever their order, format and seed, and never a question on two sides."""

import random
from itertools import pairwise

from common.data.splits import find_splits, hold_out, normalize_question, question_of, size_of_part, take

import pytest


def rows_of(count: int) -> list[dict]:
    return [{"question": f"What is {number} + 1?", "answer": str(number + 1)} for number in range(count)]


def split(rows: list[dict], num_held_out: int = 100, **others: list[dict]) -> list[list[dict]]:
    return list(hold_out({"train": rows, **others}, lambda row: row["question"], num_held_out, name="data"))


def asked(rows: list[dict]) -> set[str]:
    return {row["question"] for row in rows}


def test_the_same_rows_in_any_order_and_form():
    rows = rows_of(200)
    parts = split(rows)
    assert [len(part) for part in parts] == [160, 20, 20]
    assert all(part == [row for row in rows if row in part] for part in parts)  # in their order
    shuffled = random.Random(0).sample(rows, len(rows))
    # Case, white space and full-width digits make no other question.
    written = [{"question": row["question"].upper().replace(" ", "  ").replace("1", "\uff11") + "\n"} for row in rows]
    for others in (shuffled, written):
        for part, other in zip(parts, split(others), strict=True):
            assert {normalize_question(row["question"]) for row in other} == {row["question"].casefold() for row in part}


def test_which_rows_they_are_never_changes():
    """Numbers that were measured hold for these rows: another choice would make them incomparable."""
    _, validation, held_out = split(rows_of(40), 3)
    assert [row["answer"] for row in held_out] == ["5", "24", "29"]
    assert [row["answer"] for row in validation] == ["18", "20", "39"]


def test_fewer_rows_are_a_part_of_more():
    rows = rows_of(500)
    sets = [asked(split(rows, count)[2]) for count in (1, 7, 20, 50, 1000)]
    assert [len(found) for found in sets] == [1, 7, 20, 50, 50]
    assert all(fewer <= more for fewer, more in pairwise(sets))
    more_rows = asked(split(rows_of(5000), 1000)[2])
    assert len(more_rows & asked(rows)) >= 45  # more data moves few rows


def test_rows_that_ask_the_same_stay_together():
    rows = [row for row in rows_of(100) for _ in range(3)]
    parts = split(rows, 1000)
    assert [len(part) for part in parts] == [240, 30, 30]
    train, validation, held_out = map(asked, parts)
    assert len(train | validation | held_out) == len(train) + len(validation) + len(held_out) == 100


def test_a_question_that_most_rows_share_is_trained():
    for number in range(20):  # whatever its hash
        rows = [{"question": f"Read {number}."}] * 50 + rows_of(20)
        train, validation, held_out = split(rows)
        assert len(train) == 56
        assert [len(validation), len(held_out)] == [7, 7]


@pytest.mark.parametrize(("count", "sizes"), [(3, [1, 1, 1]), (4, [2, 1, 1]), (29, [25, 2, 2])])
def test_small_files_work(count: int, sizes: list[int]):
    assert [len(part) for part in split(rows_of(count), 400)] == sizes


def test_two_questions_of_many_rows_and_a_third():
    rows = [row for row in rows_of(3) for _ in range(10)]
    assert [len(part) for part in split(rows)] == [10, 10, 10]


@pytest.mark.parametrize(
    ("rows", "others", "line"),
    [
        (
            rows_of(2),
            [],
            "data has 2 distinct rows to train on (those that ask the same are one) and needs at least 3, as some",
        ),
        (
            rows_of(1) * 9,
            [],
            "data has 1 distinct row to train on (those that ask the same are one) and needs at least 3, as some",
        ),
        (
            rows_of(1),
            ["test"],
            "data has 1 distinct row to train on (those that ask the same are one) and needs at least 2, as",
        ),
    ],
)
def test_too_few_questions(capsys: pytest.CaptureFixture, rows: list[dict], others: list[str], line: str):
    with pytest.raises(SystemExit) as ended:
        split(rows, **{name: rows_of(5) for name in others})
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith(f"error: {line}")


def test_no_rows_to_measure(capsys: pytest.CaptureFixture):
    with pytest.raises(SystemExit):
        split(rows_of(9), 0)
    assert capsys.readouterr().err == (
        "error: num_held_out is 0: without held-out problems nothing can be measured; use at least 1\n"
    )


def test_splits_are_found_by_their_names(capsys: pytest.CaptureFixture):
    names = ["train_gen", "train_sft", "test_sft", "dev", "extra"]
    assert find_splits(names) == {"train": "train_sft", "validation": "dev", "test": "test_sft"}
    assert find_splits(["val", "train", "train_sft"]) == {"train": "train", "validation": "val"}

    rows, test = rows_of(30), [{"question": f"Test {number}?"} for number in range(12)]
    train, validation, held_out = split(rows, 10, test_sft=test)
    assert [len(train), len(validation), len(held_out)] == [27, 3, 10]
    assert asked(held_out) < asked(test)
    assert capsys.readouterr().out == (
        "data: 27 rows to train on, 3 to choose by (from `train`, by hash), 10 to report on (from `test_sft`)\n"
    )
    _, validation, held_out = split(rows, 10, val=test)
    assert asked(validation) < asked(test)
    assert [len(validation), len(held_out)] == [10, 3]
    # What is trained is all there is where both are given.
    assert split(rows, 10, dev=test, test=test)[0] == rows


def test_taking_none_and_leaving_some():
    rows = rows_of(10)
    assert take(rows, lambda row: row["question"], 0) == ([], rows)
    taken, left = take(rows, lambda row: row["question"], 100, questions_left=4)
    assert [len(taken), len(left)] == [6, 4]
    assert size_of_part(5, 400) == size_of_part(19, 400) == 1
    assert size_of_part(10_000, 400) == 400


def test_the_question_of_a_conversation():
    say = [{"role": role, "content": text} for role, text in [("user", "One?"), ("user", "Two?"), ("assistant", "Yes.")]]
    assert question_of({"messages": [{"role": "system", "content": "Be brief."}, *say, {"role": "user", "content": "3?"}]}) == (
        "One?\nTwo?"
    )
    assert question_of({"messages": say[2:]}) == "Yes."
