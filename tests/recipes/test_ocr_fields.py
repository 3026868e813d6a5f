"""Fields of receipts: which values stand in a transcription, and the F1 of JSON."""

import json

import pytest
from conftest import ROOT, recipe_modules

CASES = ROOT.parent / "shared" / "cases" / "receipt_fields.jsonl"
needs_cases = pytest.mark.skipif(not CASES.exists(), reason=f"needs the cases in {CASES}")


@pytest.fixture(scope="module")
def metrics():
    with recipe_modules("ocr_vision_language", ["metrics"]) as modules:
        yield modules["metrics"]


RECEIPT = "ELVIN LTD\nNO. 5, OAK ROAD\n01/02/2018 8:13\nTOTAL....9.00 SR\nCHANGE -9.50\nQTY 2 x 4.50\n1,234.00"


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("Elvin Ltd", True),
        ("ELVIN", True),
        ("ELV", False),
        ("NO. 5, OAK ROAD", True),
        ("01/02/2018", True),
        ("01/02", False),
        ("02/2018", False),
        ("8:13", True),
        ("13", False),
        ("9.00", True),
        ("9.0", False),
        ("9", False),
        ("9.50", False),
        ("-9.50", True),
        ("4.50", True),
        ("234.00", False),
        ("1,234.00", True),
        ("1,234", False),
        ("50", False),
        ("", False),
    ],
)
def test_fields_of_a_receipt(metrics, value: str, found: bool):
    assert metrics.has_field(RECEIPT, value) is found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("$9.00", True),
        ("-$9.00", False),
        ("MYR9.00", True),
        ("RM 9.00", True),
        ("RM-9.00", False),
        ("-RM9.00", False),
        ("TOTAL:9.00", True),
        ("TOTAL=9.00", True),
        ("(9.00)", True),
        ("9.00-", False),
        ("9.00%", False),
        ("9.00,", True),
        ("9.00.", True),
        ("9.00円", True),
        ("合計9.00元", True),
        ("9.000", False),
        ("9.00/10", False),
        ("A9.00", False),
        ("\u22129.00", False),
        ("\uff19.\uff10\uff10", True),
        ("9,00", False),
        ("9.00\n9.00", True),
    ],
)
def test_an_amount_in_a_receipt(metrics, text: str, found: bool):
    assert metrics.has_field(text, "9.00") is found


@needs_cases
def test_fields_from_the_field(metrics):
    cases = [json.loads(line) for line in CASES.read_text(encoding="utf-8").splitlines()]
    assert [case for case in cases if metrics.has_field(case["text"], case["field"]) is not case["found"]] == []


def test_fields_of_a_transcription_are_present_or_not(metrics):
    reference = "ELVIN LTD\n5 Oak Road,\nLima\n01/02/2020\nTOTAL 9.00"
    fields = {"company": "Elvin Ltd", "address": "5 Oak Road, Lima", "date": "01/02/2020", "total": "9.00"}

    def value(*completions: str, fields: dict = fields) -> float:
        return metrics.field_presence(list(completions), [reference] * len(completions), [fields] * len(completions))["value"]

    assert value(reference) == 1
    assert value(reference.replace("9.00", "9.80")) == 3 / 4
    assert value("what?") == 0
    assert value(reference, "") == 1 / 2
    # A field that the receipt itself spells otherwise is not asked for.
    other = fields | {"company": "Elvin Limited"}
    assert value(reference, fields=other) == 1
    assert value(reference.replace("9.00", ""), fields=other) == 2 / 3
    assert value("a", fields={"total": "8.00"}) == 0


@pytest.mark.parametrize(
    ("completion", "f1"),
    [
        ('{"total": "9.00", "menu": [{"nm": "Tea"}, {"nm": "Rice"}]}', 1),
        ('```json\n{"menu": [{"nm": "RICE"}, {"nm": "tea"}], "total": 9.00}\n```', 1),
        ('{"total": 9.0, "menu": [{"nm": "Tea"}, {"nm": "Rice"}]}', 4 / 6),
        ('<think>?</think>{"total": "9.00"}', 2 / 4),
        ('{"total": "9.00", "menu": [{"nm": "Tea"}, {"nm": "Rice"}], "prices": ["9.00", "1.00", "2.00"]}', 6 / 9),
        ('{"subtotal": "9.00"}', 0),
        ('{"total": "9.00"', 0),
        ("TOTAL 9.00", 0),
        ("[1]", 0),
    ],
)
def test_fields_of_json_are_compared_by_key(metrics, completion: str, f1: float):
    wanted = {"total": "9.00", "menu": [{"nm": "Tea"}, {"nm": "Rice"}], "cash": None}
    assert metrics.field_f1([completion], [wanted])["value"] == pytest.approx(f1)
    row = {"messages": [{"role": "assistant", "content": json.dumps(wanted)}], "fields": None}
    assert metrics.score([row], [completion])[0]["field_f1"]["value"] == pytest.approx(f1)


def test_a_number_of_json_is_right_as_it_is_written_or_by_its_value(metrics):
    for total, right in (("9.00", 1), (9.0, 1), ("9.0", 1), ("9", 0), (9.5, 0)):
        assert metrics.field_f1(['{"total": 9.00}'], [{"total": total}])["value"] == right


def test_score_has_the_fields_of_receipts_alone(metrics):
    def rows(*pairs: tuple) -> list[dict]:
        return [{"messages": [{"role": "assistant", "content": text}], "fields": fields} for text, fields in pairs]

    lines, verdicts = metrics.score(rows(("a", None), ("c", None)), ["a", "b"])
    assert [verdict["correct"] for verdict in verdicts] == [True, False]
    assert verdicts[0]["score"] == 1.0 > verdicts[1]["score"]
    assert verdicts[1]["marked"] == metrics.mark_errors("c", "b")
    assert list(lines) == ["character_error_rate", "word_error_rate", "exact_match"]
    assert lines["exact_match"]["value"] == 1 / 2
    mixed, _ = metrics.score(rows(("a 9.00", {"total": "9.00"}), ("c", None)), ["a 9.00", "b"])
    assert mixed["field_presence"]["value"] == 1
    assert mixed["character_error_rate"]["value"] == 1 / 7
    assert {name: values["count"] for name, values in mixed.items() if values["count"] != 2} == {"field_presence": 1}
