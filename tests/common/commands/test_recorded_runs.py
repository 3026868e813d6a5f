"""`recipes runs` and `recipes compare`: what the files of runs tell."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

from common.commands.main import main
from common.run.lock import LOCK

import pytest
from conftest import ROOT, command_env
from filelock import FileLock

Recipes = Callable[..., tuple[int, str, str]]
SETTINGS = {"model_name_or_path": "Qwen/Qwen3", "dataset_name": "synthetic", "num_held_out": 8, "max_steps": 4}


@pytest.fixture
def recipes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Recipes:
    """Returns a function that runs the command in an empty folder: exit code, output, errors."""
    monkeypatch.chdir(tmp_path)

    def recipes(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        return ended.value.code, *capsys.readouterr()

    return recipes


def write_rows(file: Path, rows: list[dict]) -> None:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def make_run(folder: str | Path, time: int = 0, recipe: str = "grpo_math", **settings: object) -> Path:
    """Makes the folder of a run that has begun and trained two steps of four."""
    run = Path(folder)
    run.mkdir(parents=True)
    record = {"recipe": recipe, "script": "train.py", "world_size": 1, "settings": SETTINGS | settings, "inputs": {}}
    (run / "run.json").write_text(json.dumps(record))
    write_rows(run / "metrics.jsonl", [{"step": step, "seconds": step, "loss": 0.5} for step in (1, 2)])
    for file in run.iterdir():
        os.utime(file, (time, time))
    return run


def make_checkpoint(run: Path, step: int, is_whole: bool = True, max_steps: int = 4) -> None:
    checkpoint = run / f"checkpoint-{step}"
    checkpoint.mkdir()
    (checkpoint / "trainer_state.json").write_text(json.dumps({"global_step": step, "max_steps": max_steps}))
    if is_whole:
        (checkpoint / "complete").touch()


def measure(run: Path, right: str, step: int = 4, kept: int = 8, *, recorded: bool = True, metric: str = "accuracy") -> None:
    """Adds the first evaluation of a run, with nothing right, and a later one, and the answers to its first problems."""
    rows, samples = [], []
    for at, found in ((0, "0" * len(right)), (step, right)):
        value = {"value": found.count("1") / len(found), "low": 0.0, "high": 1.0}
        row = {"step": at, "seconds": at, "split": "held_out", "count": len(found), "metrics": {metric: value}}
        rows.append(row | ({"right": found} if recorded else {}))
        samples += [
            {"step": at, "split": "held_out", "question": f"Question {number}?", "answer": str(number)}
            | {
                "completion": f"{run.name} says\n\x1b[31m{number if found[number] == '1' else 'no'}",
                "correct": found[number] == "1",
            }
            for number in range(kept)
        ]
    write_rows(run / "metrics.jsonl", rows)
    write_rows(run / "samples.jsonl", samples)


# --- runs -----------------------------------------------------------------------------------------------------------------


def test_runs_are_listed_the_newest_first(recipes: Recipes):
    measure(make_run("outputs/grpo_math/tiny"), "11110000")
    (Path("outputs/grpo_math/tiny") / "complete").touch()
    make_run("outputs/old", time=1)
    code, out, error = recipes("runs")
    assert (code, error) == (0, "")
    header, newest, oldest = out.splitlines()
    assert header.split() == ["run", "recipe", "model", "data", "step", "last", "scores", "state"]
    assert newest.split("  ") == [cell for cell in newest.split("  ") if cell]  # as wide as they have to be
    shown = "outputs/grpo_math/tiny  grpo_math  Qwen/Qwen3  synthetic  4/4   held_out accuracy 50.0%  complete"
    assert newest == shown
    assert oldest.split() == "outputs/old grpo_math Qwen/Qwen3 synthetic 2/4 - interrupted, begins anew".split()

    found = json.loads(recipes("runs", "outputs/grpo_math", "--json")[1])
    assert found == [
        {
            "folder": "outputs/grpo_math/tiny",
            "recipe": "grpo_math",
            "model": "Qwen/Qwen3",
            "data": "synthetic",
            "step": 4,
            "max_steps": 4,
            "scores": {"held_out": {"metric": "accuracy", "value": 0.5, "low": 0.0, "high": 1.0}},
            "state": "complete",
            "parts": [],
        }
    ]


def state(recipes: Recipes) -> str:
    (found,) = json.loads(recipes("runs", "--json")[1])
    return found["state"]


def test_the_state_is_what_the_files_tell(recipes: Recipes):
    run = make_run("outputs/run")
    assert state(recipes) == "interrupted, begins anew"
    make_checkpoint(run, 2)
    make_checkpoint(run, 3, is_whole=False)
    assert state(recipes) == "interrupted, continues from step 2"
    (run / "diverged-step-3.jsonl").touch()
    assert state(recipes) == "failed: diverged at step 3"
    (run / LOCK).touch()  # of a run that was killed
    assert state(recipes) == "failed: diverged at step 3"
    with FileLock(run / LOCK):
        assert state(recipes) == "training"
    (run / "complete").touch()
    assert state(recipes) == "complete"
    write_rows(run / "metrics.jsonl", [{"step": 1}, {"step": 2}])
    text = (run / "metrics.jsonl").read_text()
    (run / "metrics.jsonl").write_text(f'{{"st\n{text}{{"step": 3')  # half a last line is what a killed run leaves
    assert state(recipes) == "complete; metrics.jsonl, line 1 is damaged"
    (run / "run.json").write_text("{")
    assert state(recipes) == "run.json cannot be read"


def test_another_users_rows_do_not_hide_ones_own(recipes: Recipes, monkeypatch: pytest.MonkeyPatch):
    make_run("outputs/run")

    def refuse(path: Path) -> bytes:  # what root is spared
        raise PermissionError(path)

    monkeypatch.setattr(Path, "read_bytes", refuse)
    assert state(recipes) == "interrupted, begins anew; you may not read metrics.jsonl"


def test_steps_of_epochs_are_those_of_a_checkpoint(recipes: Recipes):
    run = make_run("outputs/run", max_steps=-1)
    assert json.loads(recipes("runs", "--json")[1])[0]["max_steps"] is None
    make_checkpoint(run, 2, max_steps=30)
    assert " 2/30 " in recipes("runs")[1]


def test_the_parts_of_a_team_stand_below_it(recipes: Recipes):
    team = make_run("outputs/team", recipe="multi_agent_grpo")
    (team / "metrics.jsonl").unlink()  # written at its end
    (make_run("outputs/team/team", time=1) / "complete").touch()
    make_checkpoint(make_run("outputs/team/aggregator", time=2), 2)
    code, out, _ = recipes("runs")
    assert code == 0
    assert [line.split("  ")[0].strip() or line.split()[0] for line in out.splitlines()[1:]] == [
        "outputs/team",
        "team",
        "aggregator",
    ]
    assert [line.startswith("  ") for line in out.splitlines()[1:]] == [False, True, True]
    states = ["interrupted, continues in aggregator", "complete", "interrupted, continues from step 2"]
    assert [line.endswith(f"  {state}") for line, state in zip(out.splitlines()[1:], states, strict=True)] == [True] * 3
    with FileLock(team / LOCK):
        (found,) = json.loads(recipes("runs", "--json")[1])
    assert [found["state"], *(part["state"] for part in found["parts"])] == ["training", "complete", "training"]


def test_no_run_is_said(recipes: Recipes, tmp_path: Path):
    code, out, error = recipes("runs")
    assert (code, out) == (2, "")
    assert error.startswith("error: outputs: there is no such folder; pass the one that your runs are in")
    assert recipes("runs", str(tmp_path)) == (0, f"No run is in {tmp_path} yet.\n", "")
    assert recipes("runs", str(tmp_path), "--json") == (0, "[]\n", "")


def test_runs_imports_no_model_library(tmp_path: Path):
    make_run(tmp_path / "run")
    env = command_env(PYTHONPROFILEIMPORTTIME="1")  # writes each import on standard error
    listed = subprocess.run(["recipes", "runs", tmp_path], cwd=ROOT, env=env, capture_output=True, text=True)
    assert listed.returncode == 0, listed.stderr
    assert f"\n{tmp_path / 'run'}  grpo_math" in listed.stdout
    imported = {line.rpartition("|")[2].strip() for line in listed.stderr.splitlines()}
    assert imported.isdisjoint({"transformers", "trl", "peft", "deepspeed", "accelerate", "matplotlib"})


# --- compare --------------------------------------------------------------------------------------------------------------


def against_first(recipes: Recipes, *runs: str) -> dict | None:
    """Returns how the last run does against the first one on the problems that are held out."""
    code, out, error = recipes("compare", *runs, "--json")
    assert (code, error) == (0, "")
    return json.loads(out)["against_first"][-1]["pairs"]["held_out"]


def test_runs_are_held_against_the_first(recipes: Recipes):
    measure(make_run("a", learning_rate=1e-5), "11110000", kept=4)
    measure(make_run("b", learning_rate=3e-5, beta=0.1), "01110011", kept=4)
    code, out, error = recipes("compare", "a", "b")
    assert (code, error) == (0, "")
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert lines[:3] == [
        "setting that differs a b",
        "learning_rate 1e-05 3e-05",
        "1 more that not all of them have (--json lists them)",
    ]
    assert "held_out, step 4 4" in lines
    assert "held_out, accuracy 50.0% [0.0%, 100.0%] 62.5% [0.0%, 100.0%]" in lines
    (line,) = [line for line in lines if line.startswith("b against a, held_out: +12.5 points [")]
    assert line.endswith("] on the same 8 problems (2 that it alone gets right, 1 that it alone gets wrong)")
    # The same problem side by side, without what a terminal would obey.
    assert lines[lines.index(line) + 1 :] == ["Question 0? (0)", "right a: a says [31m0", "wrong b: b says [31mno"]
    assert "\x1b" not in out

    pair = against_first(recipes, "a", "b")
    assert (pair["problems"], pair["all"], pair["only_first_right"], pair["only_other_right"]) == (8, True, 1, 2)
    assert pair["difference"]["value"] == 0.125
    assert -0.5 < pair["difference"]["low"] < 0.125 < pair["difference"]["high"] < 0.75  # narrower than the shares' own
    assert [example["right"] for example in pair["examples"]] == ["a"]
    settings = json.loads(recipes("compare", "a", "b", "--json")[1])["settings"]
    assert settings == {"learning_rate": [1e-5, 3e-5], "beta": [None, 0.1]}


@pytest.mark.parametrize(
    ("settings", "measured"),
    [
        ({"test_dataset_name": "other.jsonl"}, {}),  # the first problems may be the same by chance
        ({}, {"recorded": False}),
        ({}, {"kept": 3}),
    ],
)
def test_problems_that_may_be_others_do_not_count(recipes: Recipes, settings: dict, measured: dict):
    measure(make_run("a"), "11110000", kept=4)
    measure(make_run("b", **settings), "01110011", **{"kept": 4} | measured)
    pair = against_first(recipes, "a", "b")
    assert (pair["problems"], pair["all"], pair["only_first_right"]) == (measured.get("kept", 4), False, 1)
    assert "problems that both kept" in recipes("compare", "a", "b")[1]


def test_what_is_measured_otherwise_is_not_compared(recipes: Recipes):
    measure(make_run("a"), "11110000")
    measure(make_run("b", recipe="sft_instruct"), "11110000", metric="exact_match")
    assert against_first(recipes, "a", "b") is None
    out = recipes("compare", "a", "b")[1]
    assert "\nb against a, held_out: no problem in common that both measure alike\n" in out


def test_examples_are_three_at_most_and_of_the_last_evaluation(recipes: Recipes):
    measure(make_run("a"), "11111000")
    measure(make_run("b"), "00000000")
    measure(make_run("c"), "11111000")
    code, out, _ = recipes("compare", "a", "b", "c")
    assert code == 0
    assert out.startswith("No setting differs.\n")
    assert out.count("  Question ") == 3
    assert "c against a, held_out: +0.0 points" in out
    (b, c) = json.loads(recipes("compare", "a", "b", "c/checkpoint-4", "--json")[1])["against_first"]
    assert (b["folder"], c["folder"]) == ("b", "c")
    assert b["pairs"]["held_out"]["difference"]["value"] == -0.625
    assert c["pairs"]["held_out"]["examples"] == []


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ("", "Missing argument 'RUN'; `recipes compare --help` says what it takes"),
        ("a", "pass two runs or more: `recipes compare RUN RUN`; `recipes runs` lists them"),
        ("a a", "a run stands there twice; pass runs that differ (`recipes runs` lists them)"),
        ("a nowhere", "nowhere is not a run of these recipes (there is no nowhere/run.json); pass the --output_dir of a run"),
        ("a new", "new has not been measured yet; compare it once its first evaluation is done"),
    ],
)
def test_mistakes_end_in_a_line(recipes: Recipes, arguments: str, line: str):
    measure(make_run("a"), "11110000")
    make_run("new")
    assert recipes("compare", *arguments.split()) == (2, "", f"error: {line}\n")


# --- compare --html -------------------------------------------------------------------------------------------------------


def test_a_page_shows_runs_side_by_side(recipes: Recipes):
    measure(make_run("a", learning_rate=1e-5), "11110000")
    measure(make_run("b", learning_rate=3e-5), "01110011")
    code, out, error = recipes("compare", "a", "b", "--html", "page.html")
    assert (code, error) == (0, "")
    assert out.endswith("\nThe page is page.html\n")
    page = Path("page.html").read_text(encoding="utf-8")
    assert '<th scope="row">learning_rate</th><td>1e-05</td><td>3e-05</td>' in page
    assert '<th scope="row">b, held out</th><td>+12.5 points [' in page
    data = json.loads(page.partition('id="data">')[2].partition("</script>")[0])
    assert data["problems"]["columns"] == ["a", "b"]
    assert [[answer["correct"] for answer in problem["answers"]] for problem in data["problems"]["problems"][:2]] == [
        [True, False],
        [True, True],
    ]
    assert data["filters"]["mended"] == "only b right"
    (curve,) = data["curves"]
    assert [(series["label"], series["points"][-1][:2]) for series in curve["series"]] == [("a", [4, 0.5]), ("b", [4, 0.625])]
    # With --json nothing else is printed; what is there is not written over.
    json.loads(recipes("compare", "a", "b", "--html", "other.html", "--json")[1])
    assert Path("other.html").exists()
    line = "error: --html page.html is there already; choose another name\n"
    assert recipes("compare", "a", "b", "--html", "page.html") == (2, "", line)
    assert recipes("compare", "a", "b", "--html", "no/page.html")[2].startswith(
        "error: --html no/page.html: there is no folder"
    )
