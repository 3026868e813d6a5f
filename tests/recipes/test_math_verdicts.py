"""Both math recipes give the same verdict, the one of a referee, and read the same number in a solution."""

import json
from pathlib import Path

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
            assert capsys.readouterr().err.endswith(
                f"error: {path}, line 6: no final answer in column `answer`; end it with `#### ` and a number\n"
            )
