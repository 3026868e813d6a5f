"""What is held out: the same rows whatever their order, format and seed, and never a question on two sides."""

import random
from itertools import pairwise

from common.data.questions import normalize_question, question_of, take
from common.data.splits import check_parts, find_splits, hold_out, size_of_part

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
    assert [len(part) for part in parts] == [162, 17, 21]  # about a tenth each: every question's hash decides for itself
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
    assert [row["answer"] for row in validation] == ["4", "20", "33"]


def test_fewer_rows_are_a_part_of_more():
    rows = rows_of(500)
    sets = [asked(split(rows, count)[2]) for count in (1, 7, 20, 50, 1000)]
    assert [len(found) for found in sets] == [1, 7, 20, 50, 55]
    assert all(fewer <= more for fewer, more in pairwise(sets))


def test_what_is_held_out_of_some_rows_is_held_out_of_all():
    parts, all_parts = split(rows_of(500)), split(rows_of(3000), 1000)
    for part, of_all in zip(parts, all_parts, strict=True):
        assert asked(part) <= asked(of_all)


def test_what_another_number_measures_is_never_trained():
    """One stage measures 10 rows, the next 300: none of these was trained in the first."""
    rows = rows_of(2000)
    trained = asked(split(rows, 10)[0])
    for part in split(rows, 300)[1:]:
        assert not asked(part) & trained
    assert asked(split(rows, 300)[0]) == trained


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
        assert [len(train), len(validation), len(held_out)] == [66, 2, 2]


@pytest.mark.parametrize(("count", "sizes"), [(3, [1, 1, 1]), (4, [2, 1, 1]), (12, [10, 1, 1]), (29, [23, 2, 4])])
def test_small_files_work(count: int, sizes: list[int]):
    assert [len(part) for part in split(rows_of(count), 400)] == sizes


def test_two_questions_of_many_rows_and_a_third():
    rows = [row for row in rows_of(3) for _ in range(10)]
    assert [len(part) for part in split(rows)] == [10, 10, 10]


@pytest.mark.parametrize(("rows", "others"), [(rows_of(2), []), (rows_of(1) * 9, []), (rows_of(1), ["test"])])
def test_too_few_questions(capsys: pytest.CaptureFixture, rows: list[dict], others: list[str]):
    """They can be looked at; a script that needs all parts says what is missing."""
    train, validation, held_out = split(rows, **{name: rows_of(5) for name in others})
    assert [train, validation, len(held_out)] == [rows, [], 5 * len(others)]
    with pytest.raises(SystemExit, match="2"):
        check_parts("data", {"held_out": held_out}, train, validation)
    assert capsys.readouterr().err.startswith(
        "error: data has too few rows that ask different things: some are kept apart to measure, so it takes at least 3"
    )


def test_a_test_split_alone(capsys: pytest.CaptureFixture):
    for name in ("test", "dev"):
        rows = rows_of(30)
        assert list(hold_out({name: rows}, lambda row: row["question"], 100, name="data")) == [[], [], rows]
    check_parts("data", {"held_out": rows})
    with pytest.raises(SystemExit, match="2"):
        check_parts("data", {"held_out": rows}, [], [])
    assert capsys.readouterr().err == (
        "error: data has nothing to train on: all there is is kept to measure; pass the data to train on as dataset_name\n"
    )


def test_duplicates_and_leaks_are_counted_and_can_be_left_out(capsys: pytest.CaptureFixture):
    rows, test = rows_of(30), rows_of(4)
    settings = {"question": lambda row: row["question"], "num_held_out": 9, "content": str}
    for drops in (False, True):
        name = f"data {drops}"  # a line is said once
        train, _, held_out = hold_out(
            {"train": [*rows, *rows[20:]], "dev": [], "test": test}, name=name, drop_duplicates=drops, **settings
        )
        assert [len(train), len(held_out)] == [[40, 4], [26, 4]][drops]
        what = "left out of the training" if drops else "trained as they are; `--drop_duplicates true` leaves them out"
        said = capsys.readouterr().out
        assert f"{name}: 10 of 40 training rows are the same as an earlier one: {what}\n" in said
        assert f"{name}: 4 training rows ask what is also measured: {what}\n" in said


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
    assert [len(train), len(validation), len(held_out)] == [28, 2, 10]
    assert asked(held_out) < asked(test)
    assert capsys.readouterr().out == (
        "data: 28 rows to train on, 2 to choose by (from `train`, by hash), 10 to report on (from `test_sft`)\n"
    )
    _, validation, held_out = split(rows, 10, val=test)
    assert asked(validation) < asked(test)
    assert [len(validation), len(held_out)] == [10, 4]
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
