"""Answers of math problems: what a referee would say of strings that models and data sets really have."""

import json
import time
from pathlib import Path

from common.measure.math_answers import boxed_answer, gold_number, is_same, last_boxed, read_number

import pytest

CASES = Path(__file__).parents[4] / "shared" / "cases"
needs_cases = pytest.mark.skipif(not CASES.exists(), reason=f"needs the cases in {CASES}")


def read(name: str) -> list[dict]:
    return [json.loads(line) for line in (CASES / name).read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"<think>6*7=42</think> \boxed{42}", "42"),
        (r"\boxed{41} no, \boxed{42}", "42"),
        (r"\boxed{\frac{84}{2}}", r"\frac{84}{2}"),
        (r"\boxed{1,042}", "1042"),
        (r"\boxed{$42}", "42"),
        ("The answer is 42", None),
        (r"\boxed{42", None),
        (r"\boxed{42} or \boxed{43", None),
        (r"\boxed{}", None),
        ("", None),
    ],
)
def test_the_answer_in_the_last_box(text: str, answer: str | None):
    assert boxed_answer(text) == answer


def test_braces_of_a_box_are_balanced():
    assert last_boxed(r"\boxed{\frac{1}{2}}}") == r"\frac{1}{2}"


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1{,}234", "1234"),
        ("1,23", None),
        ("x=20, y=18", None),
        ("x = 20", "20"),
        ("-$1,234.50", "-1234.50"),
        ("$-5", "-5"),
        ("--5", None),
        ("5.", "5"),
        (".5", "0.5"),
        (".", None),
        ("1/2 cup", "1/2"),
        ("1/0", None),
        ("18 miles per hour", "18"),
        ("18 km/h", "18"),
        ("18 thousand", None),
        ("18K", None),
        ("18 kg", "18"),
        ("6:30", None),
        ("3 1/2", None),
        ("12 34", None),
        ("9" * 5000, None),
        ("", None),
    ],
)
def test_what_is_a_number(text: str, number: str | None):
    assert read_number(text) == number


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("42", "42", True),
        ("42.0", "42", True),
        (r"\frac{84}{2}", "42", True),
        ("0.5", r"\frac{1}{2}", True),
        ("0.5", "1/2", True),
        ("1.2e3", "1200", True),
        (r"6 \times 7", "42", True),
        ("42", "41", False),
        ("four", "42", False),
        ("four", "four", True),
        ("12345678901234567890", "12345678901234567891", False),
        (None, "42", False),
        (None, None, False),
    ],
)
def test_equal_answers(one: str | None, other: str | None, same: bool):
    assert is_same(one, other) is same
    assert is_same(other, one) is same


@needs_cases
def test_boxed_answers_from_the_field():
    cases = read("boxed_answers.jsonl")
    wrong = [case for case in cases if is_same(boxed_answer(case["completion"]), case["answer"]) is not case["right"]]
    assert wrong == []


@needs_cases
def test_reference_answers_from_the_field():
    assert [case for case in read("gold_answers.jsonl") if gold_number(case["answer"]) != case["number"]] == []


@needs_cases
def test_no_answer_takes_long():
    for case in read("boxed_slow.jsonl"):
        begun = time.process_time()
        verdict = is_same(boxed_answer(case["completion"]), case["answer"])
        assert time.process_time() - begun < case["at_most_seconds"], case["completion"][:40]
        assert case["right"] in (None, verdict)
