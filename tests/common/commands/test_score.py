"""`recipes score`: a recipe's verdicts for completions made anywhere, as JSON or as a table."""

import ast
import json
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from common.commands import places
from common.commands.main import main

import pytest
from conftest import ROOT, command_env

CASES = ROOT.parent / "shared" / "cases"
needs_cases = pytest.mark.skipif(not CASES.exists(), reason=f"needs the cases in {CASES}")
TOOL = {"function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}}
CALL = {"function": {"name": "weather", "arguments": {"city": "Oslo"}}}
ASKED = [{"role": "user", "content": "Weather in Oslo?"}, {"role": "assistant", "content": "", "tool_calls": [CALL]}]
WRITTEN = '<tool_call>\n{"name": "weather", "arguments": {"city": "Oslo"}}\n</tool_call>'
# Rows that are right, by the first column that a recipe asks for.
ROWS = {
    "reference": {"completion": "the city of Oslo", "reference": "City of Oslo"},
    "answer": {"completion": r"\boxed{18 dollars}", "answer": "6*3=18\n#### 18"},
    "text": {"completion": "TOTAL 9.00", "text": "TOTAL 9.00", "fields": {"total": "9.00"}},
    "messages": {"completion": WRITTEN, "messages": ASKED, "tools": [TOOL]},
    "final": {"completion": "Es sind 1.234,5.", "final": "1234.5", "reasoning_language": "German"},
}


def first_column(folder: Path) -> str:
    """Returns the first column that a recipe asks for, without importing it."""
    scorer = next(file for file in (folder / "metrics.py", folder / "rewards.py") if file.is_file())
    for node in ast.parse(scorer.read_text()).body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict) and node.targets[0].id == "REFERENCE":
            return node.value.keys[0].value
    raise AssertionError(f"{scorer} has no REFERENCE")


COLUMNS = {folder.name: first_column(folder) for folder in places.recipe_folders()}


def asking_for(column: str) -> list[str]:
    """Returns the recipes whose first column is this one."""
    return [name for name, first in COLUMNS.items() if first == column]


Score = Callable[..., tuple[int, str, str]]


@pytest.fixture
def score(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Score]:
    """Returns a function that runs the command in the repository's root: exit code, output, errors."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def forget() -> None:
        own = {file.stem for file in places.RECIPES.glob("*/*.py")}
        for name in [name for name in sys.modules if name in own]:
            del sys.modules[name]

    def score(*arguments: object) -> tuple[int, str, str]:
        before = list(sys.path)
        with pytest.raises(SystemExit) as ended:
            main(["score", *map(str, arguments)])
        sys.path[:] = before
        forget()
        return ended.value.code, *capsys.readouterr()

    yield score
    forget()


def write(path: Path, *rows: dict) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.mark.parametrize("recipe", COLUMNS)
def test_every_recipe_scores_a_file(score: Score, tmp_path: Path, recipe: str):
    right = ROWS[COLUMNS[recipe]]
    file = write(tmp_path / "said.jsonl", right, right | {"completion": "nothing"})
    code, out, _ = score(recipe, file, "--json")
    found = json.loads(out)
    assert code == 0
    assert list(found) == ["verdicts", "metrics"]
    assert [set(verdict) for verdict in found["verdicts"]] == [{"right", "score"}] * 2
    assert [verdict["right"] for verdict in found["verdicts"]] == [True, False]
    assert found["verdicts"][0]["score"] == 1.0 > found["verdicts"][1]["score"]
    for metric in found["metrics"].values():
        assert metric["low"] <= metric["value"] <= metric["high"]
    # The same as a table, and what a row has to hold.
    code, out, _ = score(recipe, file)
    assert code == 0
    assert out.splitlines()[:2] == [f"{file}, line 1: right  1", out.splitlines()[1]]
    assert "95 % interval [" in out
    code, out, _ = score(recipe, "--help")
    assert code == 0
    for column in right:
        assert f"\n  {column} " in out


def test_calls_that_an_api_has_read(score: Score, tmp_path: Path):
    """As a message, its `tool_calls` alone, or name and arguments; the arguments as an object or as its JSON."""
    (recipe,) = asking_for("messages")
    row, written = ROWS["messages"], {"function": {"name": "weather", "arguments": '{"city": "Oslo"}'}, "id": "1"}
    said = [{"role": "assistant", "content": None, "tool_calls": [written]}, [written], [CALL], [CALL["function"]]]
    said += [[written, written], {"role": "assistant", "content": "Rain.", "tool_calls": None}, [{"function": {"name": "f"}}]]
    file = write(tmp_path / "said.jsonl", *[row | {"completion": completion} for completion in said])
    found = json.loads(score(recipe, file, "--json")[1])["verdicts"]
    assert [verdict["right"] for verdict in found] == [True] * 4 + [False] * 3


@pytest.mark.parametrize("column", ["messages", "conversations"])
def test_a_reference_in_sharegpts_form(score: Score, tmp_path: Path, column: str):
    (recipe,) = asking_for("messages")
    call = {"from": "function_call", "value": json.dumps({"name": "weather", "arguments": {"city": "Oslo"}})}
    turns, row = [{"from": "human", "value": "Weather in Oslo?"}, call], ROWS["messages"]
    said = {"completion": WRITTEN, column: turns, "tools": json.dumps(row["tools"])}
    found = json.loads(score(recipe, write(tmp_path / "said.jsonl", said), "--json")[1])["verdicts"]
    assert [verdict["right"] for verdict in found] == [True]


@needs_cases
@pytest.mark.parametrize(
    ("column", "name", "columns"),
    [
        ("reference", "short_answers", {}),
        ("answer", "boxed_answers", {}),
        ("answer", "boxed_slow", {}),
        ("final", "final_answers", {"completion": "final", "final": "reference", "reasoning_language": "language"}),
    ],
)
def test_cases_from_the_field(score: Score, tmp_path: Path, column: str, name: str, columns: dict[str, str]):
    cases = [json.loads(line) for line in (CASES / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]
    file = write(tmp_path / "cases.jsonl", *[case | {new: case[old] for new, old in columns.items()} for case in cases])
    assert asking_for(column)
    for recipe in asking_for(column):
        found = [verdict["right"] for verdict in json.loads(score(recipe, file, "--json")[1])["verdicts"]]
        assert [case for case, right in zip(cases, found, strict=True) if case["right"] not in (None, right)] == []


@pytest.mark.parametrize("recipe", asking_for("answer"))
@pytest.mark.parametrize("answer", ["$\\frac{\\sqrt{3}}{2}$", "Long. \\boxed{\\frac{\\sqrt{3}}{2}}"])
def test_an_answer_is_read_as_in_training(score: Score, tmp_path: Path, recipe: str, answer: str):
    row = {"completion": "So \\boxed{\\frac{\\sqrt{3}}{2}}", "answer": answer}
    _, out, error = score(recipe, write(tmp_path / "said.jsonl", row), "--json")
    assert error == ""
    assert json.loads(out)["verdicts"] == [{"right": True, "score": 1.0}]


@needs_cases
def test_references_from_the_field(score: Score, tmp_path: Path):
    for case in [json.loads(line) for line in (CASES / "gold_answers.jsonl").read_text(encoding="utf-8").splitlines()]:
        row = {"completion": f"\\boxed{{{case['number']}}}", "answer": case["answer"]}
        code, out, error = score("grpo_math", write(tmp_path / "gold.jsonl", row), "--json")
        if case["number"] is None:
            assert (code, out) == (2, ""), case
            assert error.startswith(f"error: {tmp_path / 'gold.jsonl'}, line 1: "), error
        else:
            assert json.loads(out)["verdicts"] == [{"right": True, "score": 1.0}], case


@pytest.mark.parametrize(
    ("column", "row", "line"),
    [
        ("reference", {"completion": "a"}, "no `reference` (found: completion); add the column"),
        (
            "reference",
            {"completion": "a", "reference": " "},
            "`reference` is empty; fill it in or remove the row",
        ),
        ("reference", {"reference": "a"}, "`completion` must be a text, not None; write what was answered"),
        ("reference", {"completion": 5, "reference": "5"}, "`completion` must be a text, not 5; write what was answered"),
        ("answer", {"completion": "5", "answer": "#### 3,5"}, "no final answer in column `answer`; end it with `#### `"),
        (
            "text",
            {"completion": "5", "text": "5", "fields": [1]},
            "`fields` is a list; write an object of texts",
        ),
        ("messages", {"completion": "5", "messages": "5]"}, "`messages` is a text that is not JSON; write a list"),
        ("messages", {"completion": "5", "messages": []}, "no `messages`"),
        (
            "final",
            {"completion": "5", "final": "5", "reasoning_language": "Frenhc"},
            "unknown language `Frenhc`; did you mean `French`?",
        ),
    ],
)
def test_a_bad_row_is_refused_by_file_and_row(score: Score, tmp_path: Path, column: str, row: dict, line: str):
    file = write(tmp_path / "said.jsonl", ROWS[column], row)
    code, out, error = score(asking_for(column)[0], file, "--json")
    assert (code, out) == (2, "")
    assert error.startswith(f"error: {file}, line 2: {line}"), error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ("", "Missing argument 'RECIPE'; `recipes score --help` says what it takes"),
        ("grpo_math", "Missing argument 'FILE'; `recipes score --help` says what it takes"),
        ("grpo_mat FILE", "there is no recipe `grpo_mat`; did you mean `grpo_math`?"),
        ("grpo_math nowhere.jsonl", "nowhere.jsonl: there is no such file; pass rows of `completion`"),
        ("grpo_math README.md", "README.md: unknown file type; use one of .jsonl"),
    ],
)
def test_mistakes_end_in_a_line(score: Score, arguments: str, line: str):
    code, out, error = score(*arguments.split())
    assert (code, out) == (2, "")
    assert error.startswith(f"error: {line}"), error
    assert error.count("\n") == 1


def test_a_completion_may_be_a_message_of_an_api(score: Score, tmp_path: Path):
    said = {"role": "assistant", "content": None}
    call = {"id": "1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}
    broken = {"function": {"name": "weather", "arguments": '{"city": "Os'}}
    rows = [ROWS["messages"] | {"completion": said | {"tool_calls": calls}} for calls in ([call], [broken], [])]
    _, out, _ = score(asking_for("messages")[0], write(tmp_path / "said.jsonl", *rows), "--json")
    assert [verdict["right"] for verdict in json.loads(out)["verdicts"]] == [True, False, False]


def test_a_thousand_rows_within_seconds_and_no_trainer(tmp_path: Path):
    rows = [
        {"completion": f"so it is \\boxed{{{number}{word}}}", "answer": str(number)}
        for number in range(500)
        for word in ("", "+1")
    ]
    file = write(tmp_path / "said.jsonl", *rows)
    env = command_env(PYTHONPROFILEIMPORTTIME="1")  # writes each import on standard error
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(["recipes", "score", "grpo_math", file, "--json"], cwd=ROOT, env=env, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr
    assert sum(verdict["right"] for verdict in json.loads(done.stdout)["verdicts"]) == 500
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert imported.isdisjoint({"transformers", "trl", "peft", "deepspeed", "accelerate", "datasets"})
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 15  # not the clock: others may be at work
