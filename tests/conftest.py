"""Helpers of the tests: the commands of the READMEs are run as a user runs them, in a subprocess, without a hub."""

import importlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest
from forks import ROOT, Server, command_env, serving

GRPO_MATH = "recipes/grpo_math/train.py"

# The smallest run that goes through every part of the tiny recipe.
SHORT = "--max_steps 2 --num_train 64 --num_held_out 8 --per_device_train_batch_size 16 --save_steps 1".split()

Python = Callable[..., subprocess.CompletedProcess]


def run_command(command: list[str], timeout: float = 300, cwd: Path = ROOT, **env: str) -> subprocess.CompletedProcess[str]:
    """Runs a command in the repository's root; its output and its errors are kept apart."""
    quiet = {"stdin": subprocess.DEVNULL, "capture_output": True, "text": True, "check": False}
    return subprocess.run(command, cwd=cwd, env=command_env(**env), timeout=timeout, **quiet)


def accelerate(script: str, *arguments: str, config: str = "zero3", num_processes: int = 1, port: int = 0) -> list[str]:
    """Returns the launch command of the READMEs; port 0 lets runs go on side by side."""
    launch = ["accelerate", "launch", "--config_file", f"accelerate_configs/{config}.yaml"]
    launch += ["--num_processes", str(num_processes), "--main_process_port", str(port)]
    return [*launch, script, *arguments]


@pytest.fixture
def output_dir(tmp_path: Path) -> Path:
    return tmp_path / "run"


@contextmanager
def recipe_modules(recipe: str, names: list[str]) -> Iterator[dict[str, ModuleType]]:
    """Imports a recipe's files as its train.py does, as siblings; other recipes have files of the same names."""
    folder = ROOT / "recipes" / recipe
    sys.path.insert(0, str(folder))
    try:
        yield {name.rpartition(".")[2]: importlib.import_module(name) for name in names}
    finally:
        sys.path.remove(str(folder))
        own = {file.stem for file in folder.glob("*.py")} | {"lesson"}
        for name in [name for name in sys.modules if name.partition(".")[0] in own]:
            del sys.modules[name]


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A process that has imported the libraries: a fork of it is a run that starts at once."""
    with serving(tmp_path_factory.mktemp("output")) as server:
        yield server


def python_of(server: Server) -> Python:
    """Returns a function that runs a command as `python SCRIPT ARGUMENTS` would, and asserts its exit code."""

    def run(*command: str, code: int = 0) -> subprocess.CompletedProcess:
        started = server.start(*map(str, command), launched=False)
        (found,) = started.wait(timeout=900)
        assert found == code, started.text()
        return subprocess.CompletedProcess(command, code, started.output.read_text(), started.errors.read_text())

    return run


@pytest.fixture(scope="session")
def python(server: Server) -> Python:
    """Returns a function that runs a command as `python SCRIPT ARGUMENTS` would."""
    return python_of(server)
