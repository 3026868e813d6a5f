"""Helpers of the tests: the commands of the READMEs are run as a user runs them, in a subprocess, without a hub."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent
GRPO_MATH = "recipes/grpo_math/train.py"

# The smallest run that goes through every part of the tiny recipe.
SHORT = "--max_steps 2 --num_train 64 --num_held_out 8 --per_device_train_batch_size 16 --save_steps 1".split()


def command_env(**extra: str) -> dict[str, str]:
    """Returns the environment of a machine without a GPU and without a hub, whatever the machine of the tests has."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("ACCELERATE_", "WANDB_"))}
    # One thread each: runs go on side by side here, and threads that share a core spend their time waiting for each other.
    env |= {"CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PATH": f"{BIN}:{env['PATH']}"}
    return env | extra


def run_command(command: list[str], timeout: float = 300, **env: str) -> subprocess.CompletedProcess[str]:
    """Runs a command in the repository's root; its output and its errors are kept apart."""
    return subprocess.run(
        command, cwd=ROOT, env=command_env(**env), timeout=timeout, capture_output=True, text=True, check=False
    )


def accelerate(script: str, *arguments: str, config: str = "zero3", num_processes: int = 1, port: int = 0) -> list[str]:
    """Returns the launch command of the READMEs; port 0 lets runs go on side by side."""
    launch = ["accelerate", "launch", "--config_file", f"accelerate_configs/{config}.yaml"]
    launch += ["--num_processes", str(num_processes), "--main_process_port", str(port)]
    return [*launch, script, *arguments]


@pytest.fixture
def output_dir(tmp_path: Path) -> Path:
    return tmp_path / "run"
