"""The profile of a step tells its parts, which are the whole step."""

import re
import sys
from pathlib import Path

import pytest
from conftest import ROOT, run_command

COMMON = "--num_held_out 2 --num_train 100".split()
SUPERVISED = "--eval_strategy no --load_best_model_at_end false --early_stopping_patience 0".split()
PARTS = {"sft_instruct": "attention", "grpo_math": "rollout"}


@pytest.mark.slow
@pytest.mark.parametrize("recipe", sorted(PARTS))
def test_the_parts_of_a_step(recipe: str, tmp_path: Path):
    command = [sys.executable, "benchmarks/profile_step.py", "--results", str(tmp_path / "step.json")]
    command += [f"recipes/{recipe}/train.py", *COMMON, *(SUPERVISED if recipe == "sft_instruct" else [])]
    finished = run_command(command, PYTHONPATH=str(ROOT))
    assert finished.returncode == 0, finished.stderr
    rows = dict(re.findall(r"^\| (.+?) \| ([\d.]+) \|", finished.stdout, re.MULTILINE))
    step = float(rows.pop("**a step**"))
    assert float(rows[PARTS[recipe]]) > 0
    assert float(rows["matrix work"]) > 0
    assert float(rows["optimizer step"]) > 0
    assert 0.9 * step < sum(map(float, rows.values())) < 1.1 * step
    assert (tmp_path / "step.json").exists()
