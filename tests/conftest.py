"""Helpers of the tests: the commands of the READMEs are run as a user runs them, in a subprocess, without a hub."""

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent
GRPO_MATH = "recipes/grpo_math/train.py"

# The smallest run that goes through every part of the tiny recipe.
SHORT = "--max_steps 2 --num_train 64 --num_held_out 8 --per_device_train_batch_size 16 --save_steps 1".split()

# Imports the libraries once, and runs each command in a fork of it: a process of its own, without the state of the others.
SERVER = """
import atexit, json, os, runpy, sys
import common.run.loop, deepspeed, peft, trl.models
from trl import SFTTrainer, get_peft_config
for line in sys.stdin:
    command, output = json.loads(line)
    pid = os.fork()
    if pid == 0:
        sys.stdin = open(os.devnull)
        for descriptor in (1, 2):
            os.dup2(os.open(f"{output}/{descriptor}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
        atexit._clear()  # of the server
        sys.argv, sys.path[0], code = command, os.path.dirname(command[0]), 1
        try:
            runpy.run_path(command[0], run_name="__main__")
            code = 0
        except SystemExit as ended:
            code = ended.code or 0
        finally:
            if code == 1:
                sys.excepthook(*sys.exc_info())
            atexit._run_exitfuncs()
            sys.stdout.flush()
            os._exit(code)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""
Python = Callable[..., subprocess.CompletedProcess]


def command_env(**extra: str) -> dict[str, str]:
    """Returns the environment of a machine without a GPU and without a hub, whatever the machine of the tests has."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("ACCELERATE_", "WANDB_"))}
    # One thread each: runs go on side by side here, and threads that share a core spend their time waiting for each other.
    env |= {"CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PATH": f"{BIN}:{env['PATH']}"}
    return env | extra


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


@contextmanager
def python_server(output: Path, root: Path = ROOT) -> Iterator[Python]:
    """Gives a function that runs a command as `python SCRIPT ARGUMENTS` would in `root`; `output` is a folder for its own."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    env = command_env(PYTHONPATH=str(root), TMPDIR=str(output))  # a fork leaves its temporary files: it ends at once
    with subprocess.Popen([sys.executable, "-c", SERVER], cwd=root, env=env, **pipes) as server:

        def run(*command: str, code: int = 0) -> subprocess.CompletedProcess:
            print(json.dumps([[str(word) for word in command], str(output)]), file=server.stdin, flush=True)
            found = int(server.stdout.readline())
            stdout, stderr = (output / "1").read_text(), (output / "2").read_text()
            assert found == code, stdout + stderr
            return subprocess.CompletedProcess(command, code, stdout, stderr)

        yield run
        server.stdin.close()


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Python]:
    """Returns a function that runs a command as `python SCRIPT ARGUMENTS` would."""
    with python_server(tmp_path_factory.mktemp("output")) as run:
        yield run
