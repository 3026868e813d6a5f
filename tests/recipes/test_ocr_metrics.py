"""The metrics of ocr_vision_language, with values computed by hand."""

import random

import jiwer
import pytest
from conftest import recipe_modules


@pytest.fixture(scope="module")
def metrics():
    with recipe_modules("ocr_vision_language", ["metrics"]) as modules:
        yield modules["metrics"]


@pytest.mark.parametrize(
    ("completion", "reference", "characters", "words", "exact"),
    [
        ("TOTAL 12.30", "TOTAL 12.30", 0, 0, True),
        ("TOTAL 12.80", "TOTAL 12.30", 1 / 11, 1 / 2, False),
        ("TOTAL", "TOTAL 12.30", 6 / 11, 1 / 2, False),
        ("TOTAL 12.30 EUR", "TOTAL 12.30", 4 / 11, 1 / 2, False),
        ("total 12.30", "TOTAL 12.30", 5 / 11, 1 / 2, False),
        (" TOTAL\n 12.30\n", "TOTAL 12.30", 0, 0, True),
        ("Cafe\u0301 4", "Caf\u00e9 4", 0, 0, True),
        ("", "ABCD", 1, 1, False),
        ("ABCDEF", "AB", 2, 1, False),
        ("kitten", "sitting", 3 / 7, 1, False),
        ("", "", 0, 0, True),
        ("ABC", "", 3, 1, False),
    ],
)
def test_one_pair(metrics, completion: str, reference: str, characters: float, words: float, exact: bool):
    assert metrics.character_error_rate([completion], [reference])["value"] == pytest.approx(characters)
    assert metrics.word_error_rate([completion], [reference])["value"] == pytest.approx(words)
    assert metrics.exact_match(completion, reference) is exact


def test_a_long_line_counts_more_than_a_short_one(metrics):
    """The rate is that of the whole corpus: 1 edit in 12 characters, not the mean of 1 and 0."""
    rate = metrics.character_error_rate(["A", "ABCDEFGHIJ"], ["BC", "ABCDEFGHIJ"])
    assert rate["value"] == pytest.approx(2 / 12)


def test_intervals_hold_the_value_and_shrink_with_more_images(metrics):
    completions, references = ["ABCD", "ABCE", "XYCD", "ABCD"], ["ABCD"] * 4
    few, many = (metrics.character_error_rate(completions * n, references * n) for n in (5, 80))
    assert few["value"] == many["value"] == 3 / 16
    for rate in (few, many):
        assert 0 <= rate["low"] < rate["value"] < rate["high"] <= 1
    assert many["high"] - many["low"] < 0.4 * (few["high"] - few["low"])
    assert few == metrics.character_error_rate(completions * 5, references * 5)  # no chance from run to run
    # The standard error by hand: edits an image are 0, 1, 2, 0, with a variance of 11/16, of 4 characters each.
    half = 1.96 * (11 / 16 / 320) ** 0.5 / 4
    assert many["high"] - many["low"] == pytest.approx(2 * half, rel=0.1)


def test_all_right_and_all_wrong_are_no_certainty(metrics):
    right, wrong = (metrics.character_error_rate([text] * 5, ["A"] * 5) for text in ("A", ""))
    assert (right["value"], right["low"], right["high"] > 0.3) == (0, 0, True)
    assert (wrong["value"], wrong["high"], wrong["low"] < 0.7) == (1, 1, True)


@pytest.mark.parametrize(
    ("text", "value", "found"),
    [
        ("TOTAL: 9.00", "9.00", True),
        ("TOTAL: 19.00", "9.00", False),
        ("TOTAL: 9.005", "9.00", False),
        ("RM9.00", "9.00", True),
        ("Elvin &\n lutz", "ELVIN & LUTZ", True),
        ("DATE:25/12/2018 8:13", "25/12/2018", True),
        ("a+b (c)", "A+B (C)", True),
        ("", "9.00", False),
    ],
)
def test_what_counts_as_a_field(metrics, text: str, value: str, found: bool):
    assert metrics.has_field(text, value) is found


@pytest.mark.parametrize(
    ("reference", "completion", "marked"),
    [
        ("ABC", "ABC", "ABC"),
        ("ABC", "AXC", "A[missing B][wrong X]C"),
        ("ABC", "AC", "A[missing B]C"),
        ("AC", "ABC", "A[wrong B]C"),
        ("ABC", "", "[missing ABC]"),
        ("", "ABC", "[wrong ABC]"),
        ("", "", ""),
        ("A <b>", "A <i>", "A <[missing b][wrong i]>"),
        ("Tea 4.50\nTotal 4.50", "Tea 4.50 \n\n Total  4.80", "Tea 4.50\nTotal 4.[missing 5][wrong 8]0"),
        ("Tea\nTotal", "Tea", "Tea[missing \nTotal]"),
    ],
)
def test_marked_errors(metrics, reference: str, completion: str, marked: str):
    parts = metrics.mark_errors(reference, completion)
    assert "".join(text if kind == "equal" else f"[{kind} {text}]" for kind, text in parts) == marked


@pytest.mark.parametrize("completion", ["Caf\u00e9\r\n 4", "Cafe\u0301 4", "Caf\u00e9\u2028\t4", "Cafe 4", "Caf\u00e94", ""])
def test_errors_are_marked_where_the_metrics_count_some(metrics, completion: str):
    reference = "Caf\u00e9\n4"
    parts = metrics.mark_errors(reference, completion)
    assert all(kind == "equal" for kind, _ in parts) is metrics.exact_match(completion, reference)
    read = "".join(text for kind, text in parts if kind != "missing")
    assert metrics.normalize(read) == metrics.normalize(completion)


def test_texts_that_were_trained_are_scored_apart(metrics):
    rows = [
        {"messages": [{"role": "assistant", "content": text}], "fields": None, "seen": seen}
        for text, seen in (("TOTAL", True), ("CASH", True), ("ALDER", False))
    ]
    found, _ = metrics.score(rows, ["TOTAL", "CASK", "ELDEN"])
    assert found["character_error_rate_seen"]["value"] == pytest.approx(1 / 9)
    assert found["character_error_rate_unseen"]["value"] == pytest.approx(2 / 5)
    assert found["character_error_rate"]["value"] == pytest.approx(3 / 14)
    assert "character_error_rate_seen" not in metrics.score(rows[:2], ["TOTAL", "CASK"])[0]


def test_characters_that_are_misread_most(metrics):
    found = metrics.confused_characters(["1O", "10", "8", "$ 0x"], ["10", "10", "B0", "S 0"])
    assert found["rows"][0] == "0  2 of 4"
    cells = dict(zip([row[0] for row in found["rows"]], found["values"], strict=True))
    assert cells["0"][found["columns"].index("O")] == 1 / 4
    assert cells["0"][found["columns"].index("nothing")] == 1 / 4
    assert cells["B"][found["columns"].index("8")] == 1
    assert metrics.confused_characters(["a"], ["a"]) is None


def test_rates_are_those_of_jiwer(metrics):
    """On 1,200 misread lines, one by one and together."""
    rng, read, right = random.Random(0), [], []
    for _ in range(1200):
        text = " ".join(
            "".join(rng.choices("ABCDEFaeiou0123456789.,-:$", k=rng.randint(1, 8))) for _ in range(rng.randint(1, 6))
        )
        wrong = "".join(rng.choice([character, character, character, "x", "", " "]) for character in text)
        read.append(" ".join(wrong.split()))
        right.append(text)
    for ours, theirs in ((metrics.character_error_rate, jiwer.cer), (metrics.word_error_rate, jiwer.wer)):
        assert ours(read, right)["value"] == pytest.approx(theirs(right, read))
        for pair in zip(read, right, strict=True):
            assert ours([pair[0]], [pair[1]])["value"] == pytest.approx(theirs(pair[1], pair[0]))
