"""The metrics of ocr_vision_language, with values computed by hand."""

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


def test_all_right_and_all_wrong_have_an_interval_of_no_width(metrics):
    assert metrics.character_error_rate(["A"] * 5, ["A"] * 5) == {"value": 0, "low": 0, "high": 0}
    assert metrics.character_error_rate([""] * 5, ["A"] * 5) == {"value": 1, "low": 1, "high": 1}


@pytest.mark.parametrize(
    ("text", "value", "found"),
    [
        ("TOTAL: 9.00", "9.00", True),
        ("TOTAL: 19.00", "9.00", False),
        ("TOTAL: 9.005", "9.00", False),
        ("RM9.00", "9.00", False),
        ("Elvin &\n lutz", "ELVIN & LUTZ", True),
        ("DATE:25/12/2018 8:13", "25/12/2018", True),
        ("a+b (c)", "A+B (C)", True),
        ("", "9.00", False),
    ],
)
def test_what_counts_as_a_field(metrics, text: str, value: str, found: bool):
    assert metrics.has_field(text, value) is found


def test_field_f1(metrics):
    reference = "ELVIN LTD\n5 Oak Road,\nLima\n01/02/2020\nTOTAL 9.00"
    fields = {"company": "Elvin Ltd", "address": "5 Oak Road, Lima", "date": "01/02/2020", "total": "9.00"}

    def value(completions: list[str]) -> float:
        return metrics.field_f1(completions, [reference] * len(completions), [fields] * len(completions))["value"]

    assert value([reference]) == 1
    assert value([reference.replace("9.00", "9.80")]) == 3 / 4
    assert value(["what?"]) == 0
    assert value([reference, ""]) == pytest.approx(2 * 4 / (4 + 8))  # precision 1, recall 1/2
    # A field that the receipt itself spells otherwise is not asked for.
    other = fields | {"company": "Elvin Limited"}
    assert metrics.field_f1([reference], [reference], [other])["value"] == 1
    assert metrics.field_f1([reference.replace("9.00", "")], [reference], [other])["value"] == pytest.approx(2 / 3)
    assert metrics.field_f1(["a"], ["b"], [{"total": "9.00"}])["value"] == 0


def test_score_has_the_fields_of_receipts_alone(metrics):
    def rows(*pairs: tuple) -> list[dict]:
        return [{"messages": [{"role": "assistant", "content": text}], "fields": fields} for text, fields in pairs]

    lines, verdicts = metrics.score(rows(("a", None), ("c", None)), ["a", "b"])
    assert [verdict["correct"] for verdict in verdicts] == [True, False]
    assert verdicts[1]["marked"] == metrics.mark_errors("c", "b")
    assert list(lines) == ["character_error_rate", "word_error_rate", "exact_match"]
    assert lines["exact_match"]["value"] == 1 / 2
    mixed, _ = metrics.score(rows(("a 9.00", {"total": "9.00"}), ("c", None)), ["a 9.00", "b"])
    assert mixed["field_f1"]["value"] == 1
    assert mixed["character_error_rate"]["value"] == 1 / 7
    for values in mixed.values():
        assert values.keys() == {"value", "low", "high"}


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
