"""Answers of math problems: what a referee would say of strings that models and data sets really have."""

import json
import time
from pathlib import Path

from common.measure.math_answers import boxed_answer, gives, gold_number, is_same, last_boxed
from common.measure.problems import gold_answer

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
        (r"\boxed{\frac{84}{2}}", "84/2"),
        (r"\boxed{\sqrt{4}}", r"\sqrt{4}"),
        (r"<think>\boxed{41}</think> \boxed{42}", "42"),
        (r"<think>\boxed{41}</think> 42", None),
        (r"<think>so \boxed{42}", None),
        (r"\boxed{1,042}", "1042"),
        (r"\boxed{$42}", "42"),
        (r"\boxed {42}", "42"),
        (r"\boxed{42}. I put it in \boxed as asked, `\boxed`.", "42"),
        (r"\boxed{42} \fboxsep", "42"),
        (r"\boxed 42", None),
        (r"\boxed{10000^{99}.5=3}", "10000^{99}.5=3"),
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


BOXES = [
    # Units and words.
    (r"18\;\text{km}", "18", True),
    (r"18 \text{ cm}^2", "18", True),
    (r"18 \text{ cm}^{2}", "18", True),
    (r"18\,\mathrm{cm^{2}}", "18", True),
    (r"18\,\mathrm{m/s}^{2}", "18", True),
    (r"\boldsymbol{18}", "18", True),
    (r"\underline{18\text{ m}}", "18", True),
    (r"\textcolor{blue}{18}", "18", True),
    ("18''", "18", True),
    (r"18^{2}", "324", True),
    (r"18^{2}", "18", False),
    (r"2^{3}4", "2^{34}", False),
    (r"18^{\circ}\text{C}", "18", True),
    (r"18\,\mathrm{kg}", "18", True),
    ("18 miles per hour", "18", True),
    ("18 years old", "18", True),
    ("18 percent", "18", True),
    (r"\text{Total: }18", "18", True),
    (r"\text{Total cost} = \$18", "18", True),
    ("f(x)=18", "18", True),
    # Words that scale, and others that make another number.
    ("18 thousand", "18000", True),
    ("18 million dollars", "18", False),
    ("18 hundred", "1800", True),
    ("18 lakh", "18", False),
    ("18M", "18", False),
    ("18万", "18", False),
    (r"18\text{k}", "18", False),
    (r"18\text{ Dutzend}", "18", False),
    (r"18\text{ mille}", "18", False),
    ("18 halves", "18", False),
    ("18 gross", "18", False),
    ("18 or 19", "18", False),
    ("18 to 20", "18", False),
    ("18 apples and 2 pears", "18", False),
    # Signs and currencies.
    (r"\textbf{18}", "18", True),
    ("**18**", "18", True),
    ("$18$", "18", True),
    (r"\(18\)", "18", True),
    (r"US\$18", "18", True),
    ("18 €", "18", True),
    ("\u20b918", "18", True),
    ("+18", "18", True),
    ("-18", "18", False),
    (r"\pm 18", "18", False),
    (r"18\%", "0.18", False),
    ("18!", "18", False),
    ("18:00", "18", False),
    ("[18, 19]", "18", False),
    # Digits and groups.
    ("१८", "18", True),
    (r"1\!,\!234", "1234", True),
    ("1\u202f234", "1234", True),
    ("18'000", "18000", True),
    ("18,00", "1800", False),
    ("18 19", "1819", False),
    ("1.234", "1234", False),
    ("1.234,5", "1234.5", False),
    # Fractions and calculations.
    (r"\dfrac{1}{2}", "0.5", True),
    (r"\frac12", "0.5", True),
    (r"1\frac{1}{2}", "1.5", True),
    ("½", "0.5", True),
    (r"-\frac{1}{2}", "-0.5", True),
    (r"\frac{36}{2}\text{ dollars}", "18", True),
    (r"x = \frac{36}{2}", "18", True),
    (r"1.2\times 10^{3}", "1200", True),
    ("9\u00d72", "18", True),
    (r"\sqrt{324}", "18", True),
    (r"6 \div \frac{1}{2}", "3", False),
    (r"9 \times 2 = 18", "18", True),
    (r"20 - 2 = 9 \times 2 = \$18", "18", True),
    (r"9 \times 3 = 18", "18", False),
    (r"x \approx 18", "18", True),
    ("= 18", "18", True),
    ("18x", "18", False),
    (r"18\pi", "18", False),
    ("18=18", "18", False),
    ("x=18,y=18", "18", False),
    ("18^2", "18", False),
    (r"10^{10^{10}}", "18", False),
]


@pytest.mark.parametrize(("box", "answer", "right"), BOXES)
def test_boxes(box: str, answer: str, right: bool):
    assert is_same(boxed_answer(f"so \\boxed{{{box}}}."), answer) is right


# As MATH and data sets after it have the right answer, and as models write it.
REFERENCES = [
    (r"\text{(B)}", r"\text{(B)}", True),
    (r"\text{(B)}", "B", True),
    ("B", r"\textbf{(B)}", True),
    ("B", "C", False),
    (r"\text{even}", "Even", True),
    (r"\text{even}", "odd", False),
    (r"90^\circ", r"90^{\circ}", True),
    (r"10\%", r"10\%", True),
    (r"\$18.90", "18.9", True),
    (r"18\text{ cm}", "18", True),
    (r"6.02 \times 10^{23}", r"6.02\times10^{23}", True),
    ("x=5", "5", True),
    (r"x \in [1,2)", r"\left[1, 2\right)", True),
    ("[1,2)", "[1,2]", False),
    ("(1,2)", "(1, 2)", True),
    ("(1,2)", "(2,1)", False),
    (r"\left(3,\frac{\pi}{2}\right)", r"(3, \dfrac{\pi}{2})", True),
    (r"\{1,2,3\}", r"\left\{1, 2, 3\right\}", True),
    (r"\begin{pmatrix} 1 \\ -2 \end{pmatrix}", r"\begin{pmatrix}1\\-2\end{pmatrix}", True),
    (r"\begin{pmatrix} 1 \\ -2 \end{pmatrix}", r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", False),
    ("x^2+2x+1", "x^{2} + 2x + 1", True),
    ("x^2+2x+1", "x^2+2x+2", False),
    ("1 2", "12", False),
    ("P", "p'", False),
    (r"\frac{1}{2}\sqrt{3}", r"\frac{\sqrt{3}}{2}", True),
    (r"\frac{1}{2}\sqrt{3}", r"\frac{1}{2\sqrt{3}}", False),
    (r"24\pi", r"24\pi\text{ cm}^2", True),
    (r"2\sqrt{3}\text{ cm}", r"\sqrt{12}", True),
    (r"2\sqrt{3}", r"2\sqrt{3}\text{ million}", False),
    (r"2\sqrt{3}", r"2\sqrt{3}\text{ or }5", False),
    (r"\frac{\pi}{2}", r"\frac{1}{2}\pi", True),
    (r"\frac{1}{2\pi}", r"\frac12\pi", False),
    (r"2^{10}", "1024", True),
    (r"2^{10}", "1023", False),
    ("1024", r"2^{10}", True),
    (r"2^{-3}", r"\frac{1}{8}", True),
    (r"3 \cdot 2^{11}", "6144", True),
    (r"10^{12}", "1,000,000,000,000", True),
    (r"\sqrt{2^{11}}", r"32\sqrt{2}", True),
    (r"2^{3}5", "34359738368", False),
    (r"2^{10}.5", "1024.5", False),
]


@pytest.mark.parametrize(("reference", "box", "right"), REFERENCES)
def test_a_reference_in_a_box_is_read_as_a_completion_is(reference: str, box: str, right: bool):
    answer = gold_answer(f"So it is $\\boxed{{{reference}}}$.")
    assert is_same(boxed_answer(f"\\boxed{{{box}}}"), answer) is right
    assert is_same(boxed_answer(f"\\boxed{{{reference}}}"), answer)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("#### 1,234.50", "1234.50"),
        ("####5", "5"),
        ("#### 5\n", "5"),
        ("#### 5 %", "5"),
        ("#### 5 dozen", "60"),
        ("#### 1½", "1.5"),
        ("#### 3 1/2", "3.5"),
        ("#### US$5", "5"),
        ("#### \u20b95", "5"),
        ("#### 1\u00a0234", "1234"),
        ("#### \uff11\uff12", "12"),
        ("first #### 3\n#### 4", "4"),
        ("#### 5,6", None),
        ("#### 1.234.567", None),
        ("#### 5-6", None),
        ("#### 5 or 6", None),
        ("#### 2:30", None),
        ("#### 5x", None),
        ("#### 1/0", None),
        ("#### ", None),
        ("The answer is 12.", None),
    ],
)
def test_the_number_of_a_reference(text: str, number: str | None):
    assert gold_number(text) == number


@pytest.mark.parametrize(
    ("text", "answer", "right"),
    [
        ("so it is 18.", "18", True),
        (r"so \boxed{18}", "18", True),
        ("$18.00", "18", True),
        ("18 thousand", "18", False),
        ("18, then 19", "18", False),
        ("<think>18</think>", "18", False),
        ("nothing", "18", False),
        (r"so it is $\frac{1}{2}$.", "0.5", True),
        (r"so it is $\frac{1}{2}$.", "2", False),
        (r"so it is $-\frac{1}{2}$.", "-0.5", True),
        (r"so it is $-\frac{1}{2}$.", "0.5", False),
        (r"so it is \(\frac{1}{2}\).", "0.5", True),
        (r"\[\dfrac{1}{2}\]", "0.5", True),
        (r"$\frac{1}{2}\text{ cups}$", "0.5", True),
        (r"\frac{1}{2} cups", "0.5", True),
        (r"3\frac{1}{2} cups", "3.5", True),
        (r"$x^{\frac{1}{2}}$", "0.5", False),
        (r"The area is 24 cm^{2}.", "24", True),
        (r"The area is $24 \text{ cm}^2$.", "24", True),
        (r"It falls with $3\,\mathrm{m/s}^{2}$.", "3", True),
        (r"The angle is $72^\circ$.", "72", True),
        (r"about $1.5 \times 10^{6}$ cells", "1500000", True),
        (r"about $1.5 \times 10^{6}$ cells", "6", False),
        (r"The area is $24\pi$.", "24", False),
        ("The area is 24π.", "24", False),
        (r"$\frac{1}{2}\pi$", "2", False),
        (r"It has $2^{10}$ leaves.", "10", False),
        ("It has 2¹⁰ leaves.", "10", False),
        (r"$5\sqrt{3}$", "3", False),
        (r"$5\sqrt{3}$", "5", False),
        (r"$2^3 = 8$", "8", True),
    ],
)
def test_the_last_number_of_a_completion(text: str, answer: str, right: bool):
    assert gives(text, answer) is right


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
    more = [
        "(" * 30 + "5" + ")" * 30,
        r"\sqrt{" * 12 + "5" + "}" * 12,
        "-" * 60 + "5",
        "1" + "+1" * 31,
        "9" * 15 + "^9",
        "9^9^9",
    ]
    more += [
        "(" * 50_000,
        "9" * 100_000,
        "5 " * 5000,
        "5e999",
        r"\frac{1}{" * 2000,
        r"5\text{" + " a" * 50_000 + "}",
        "{" * 50_000 + "}" * 50_000,
        "e" * 10_000,
    ]
    slow = [{"completion": f"\\boxed{{{box}}}", "answer": "5", "right": None, "at_most_seconds": 1} for box in more]
    for case in read("boxed_slow.jsonl") + slow:
        begun = time.thread_time()
        verdict = is_same(boxed_answer(case["completion"]), case["answer"])
        assert time.thread_time() - begun < 3 * case["at_most_seconds"], case["completion"][:40]  # other tests share the core
        assert case["right"] in (None, verdict)
