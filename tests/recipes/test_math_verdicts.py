"""Both math recipes give the same verdict, the one of a referee, and read the same number in a solution."""

import json
from pathlib import Path

from common.data import notes
from common.measure.problems import gold_answer, with_boxed_answer

import pytest
from conftest import recipe_modules

CASES = Path(__file__).parents[3] / "shared" / "cases" / "boxed_answers.jsonl"
SEEN = [
    (r"\boxed{1{,}234}", "1234", True),
    (r"\boxed{1,23}", "123", False),
    (r"\boxed{x=20, y=18}", "18", False),
    (r"\boxed{18 dollars}", "18", True),
    (r"\boxed{18 thousand}", "18", False),
    (r"\boxed{\frac{36}{2}}", "18", True),
]


@pytest.mark.parametrize("name", ["grpo_math", "multi_agent_grpo"])
def test_verdicts(name: str):
    cases = [json.loads(line) for line in CASES.read_text(encoding="utf-8").splitlines()] if CASES.exists() else []
    cases = [*SEEN, *((case["completion"], case["answer"], case["right"]) for case in cases)]
    texts, answers, _ = zip(*cases, strict=True)
    with recipe_modules(name, ["rewards"]) as modules:
        found = modules["rewards"].correct([[{"role": "assistant", "content": text}] for text in texts], list(answers))
    assert [case for case, value in zip(cases, found, strict=True) if value != float(case[2])] == []


# Answers of MATH, NuminaMath and OpenR1-Math, and what is the same number.
BOXES = {
    r"\$18.50": "18.5",
    r"\$32,\!348": "32348",
    r"60^\circ": "60",
    r"10\%": "10",
    r"12{,}345": "12345",
    r"1\,000\,000": "1000000",
    r"12\text{ cm}": "12",
    r"\frac{1}{2}\text{ hour}": "0.5",
    r"x=5": "5",
    r"\text{Evelyn}": "Evelyn",
    r"\text{(C)}": "(C)",
    r"\left( 3, \frac{\pi}{2} \right)": r"( 3, \frac{\pi}{2} )",
    r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}": r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}",
}


def test_a_solution_is_right_by_itself():
    """The box of a solution is read as that of a completion, and an answer alone as a box, where it is a number."""
    golds = [gold_answer(rf"So it is $\boxed{{{box}}}$.") for box in BOXES]
    alone = {box: gold_answer(box) for box in BOXES}
    with recipe_modules("grpo_math", ["rewards"]) as modules:
        is_correct = modules["rewards"].is_correct
        assert [box for box, gold in zip(BOXES, golds, strict=True) if not is_correct(rf"\boxed{{{box}}}", gold)] == []
        others = zip(BOXES.values(), golds, strict=True)
        assert [other for other, gold in others if not is_correct(rf"\boxed{{{other}}}", gold)] == []
        assert not any(is_correct(r"\boxed{7}", gold) for gold in golds)
        numbers = {box: other for box, other in BOXES.items() if other[0].isdigit()}
        assert [box for box, other in numbers.items() if not is_correct(rf"\boxed{{{other}}}", alone[box])] == []
    assert {box for box, gold in alone.items() if gold is None} == BOXES.keys() - numbers.keys()
    assert gold_answer(r"So $\boxed 2.5$.") == "2.5"
    for written in (r"So \fbox{12}.", r"So $\boxed 12$.", r"So \boxed {12}"):  # MATH has all of them
        assert gold_answer(written) == "12"
        assert with_boxed_answer(written, "solution").startswith(r"So ")
        assert r"\boxed{12}" in with_boxed_answer(written, "solution")


@pytest.mark.parametrize("name", ["grpo_math", "multi_agent_grpo"])
def test_answers_of_a_file(name: str, tmp_path: Path, capsys: pytest.CaptureFixture):
    answers = ["6*7=42\n#### 1,234", "#### -$5", "#### 1/2", "12", "so 3\n#### 3 apples"]
    path = tmp_path / "data.jsonl"
    with recipe_modules(name, ["arguments", "data"]) as modules:
        arguments = getattr(modules["arguments"], {"grpo_math": "MathArguments", "multi_agent_grpo": "TeamArguments"}[name])

        def load(*answers: str) -> dict[str, str]:
            rows = [{"question": f"Problem {number}", "answer": answer} for number, answer in enumerate(answers)]
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
            train, validation, held_out = modules["data"].load_data(arguments(dataset_name=str(path)), seed=0)
            return {problem.question: problem.answer for problem in [*train, *validation, *held_out["held_out"]]}

        assert [load(*answers)[f"Problem {number}"] for number in range(5)] == ["1234", "-5", "1/2", "12", "3"]
        for bad in ("#### 12,34", "#### 3,5", "no number here"):
            capsys.readouterr()
            with pytest.raises(SystemExit):
                load(*answers, bad)
            why = r"no final answer in column `answer`; end it with `#### ` and a number, or with `\boxed{...}`"
            assert capsys.readouterr().err.endswith(f"error: {path}, line 6: {why}\n")


DAPO = "Solve it. The last line of your response should be of the form Answer: $Answer (without quotes) where $Answer is"


@pytest.mark.parametrize(
    ("question", "is_told"),
    [
        (f"{DAPO} the answer.\n\nWhat is {{}} * 7?", True),
        ('What is {} * 7? Remember to put your answer on its own line after "Answer:".', True),
        (f"{DAPO} the answer. Put it into \\boxed{{{{}}}}, too. What is {{}} * 7?", False),
        ("What is {} * 7? Give the answer: a number.", False),
    ],
)
def test_questions_that_ask_for_another_form_than_the_rewarded_one(
    question: str, is_told: bool, tmp_path: Path, capsys: pytest.CaptureFixture
):
    notes.LINES.clear()  # a line is said once
    path = tmp_path / "data.jsonl"
    rows = [{"question": question.format(number), "answer": str(7 * number)} for number in range(20)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with recipe_modules("grpo_math", ["arguments", "data"]) as modules:
        modules["data"].load_data(modules["arguments"].MathArguments(dataset_name=str(path)), seed=0)
    assert ("and what is rewarded is a box, `\\boxed{...}`: leave that" in capsys.readouterr().out) is is_told
