"""The command `recipes` in this process, and the files of runs as it reads them."""

import json
import os
from collections.abc import Callable
from pathlib import Path

from common.commands.main import main

import pytest

Recipes = Callable[..., tuple[int, str, str]]
SETTINGS = {"model_name_or_path": "Qwen/Qwen3", "dataset_name": "synthetic", "num_held_out": 8, "max_steps": 4}


def command_of(capsys: pytest.CaptureFixture[str]) -> Recipes:
    """Returns a function that runs the command: exit code, output, errors."""

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


def make_record(run: Path, **more: object) -> Path:
    """Makes the folder of a run, with nothing in it but its record."""
    run.mkdir(exist_ok=True)
    (run / "run.json").write_text(json.dumps({"recipe": "mine", "world_size": 1, "settings": {}} | more))
    return run
