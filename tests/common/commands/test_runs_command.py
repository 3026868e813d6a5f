"""`recipes runs`: what the files of runs tell."""

import json
import subprocess
from pathlib import Path

from common.run.lock import LOCK

import pytest
from conftest import ROOT, command_env
from filelock import FileLock
from recorded_runs import Recipes, command_of, make_run, measure, write_rows


@pytest.fixture
def recipes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Recipes:
    """Returns a function that runs the command in an empty folder: exit code, output, errors."""
    monkeypatch.chdir(tmp_path)
    return command_of(capsys)


def make_checkpoint(run: Path, step: int, is_whole: bool = True, max_steps: int = 4) -> None:
    checkpoint = run / f"checkpoint-{step}"
    checkpoint.mkdir()
    (checkpoint / "trainer_state.json").write_text(json.dumps({"global_step": step, "max_steps": max_steps}))
    if is_whole:
        (checkpoint / "complete").touch()


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
    (run / "complete").touch()  # it ended by itself, at its budget or where it no longer got better
    assert " 2/2 " in recipes("runs")[1]
    write_rows(run / "metrics.jsonl", [{"step": 9}, {"step": 2}])  # of a team its totals, after a part that counts anew
    assert " 2/2 " in recipes("runs")[1]


def test_a_setting_is_not_taken_for_steps_that_were_done(recipes: Recipes):
    (make_run("outputs/run") / "metrics.jsonl").unlink()
    assert recipes("runs")[1].split()[-6:] == ["synthetic", "-", "-", "interrupted,", "begins", "anew"]


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
    assert recipes("runs") == (0, "No run is in outputs yet.\n", "")  # nor is that folder there, which the first one makes
    code, out, error = recipes("runs", "output")
    assert (code, out) == (2, "")
    assert error.startswith("error: output: there is no such folder; pass the one that your runs are in")
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
