"""Helpers of the tests: the commands of the READMEs are run as a user runs them, in a subprocess, without a hub."""

import importlib
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import common  # noqa: F401 - before any test imports torch: see there

import pytest
import torch
from forks import BIN, ROOT, Server, command_env, serving

# The files whose tests take longest come first, so that no process of `-n 2` waits at the end for one of them.
LONGEST_FIRST = ("tests/e2e/", "tests/reliability/", "tests/test_")

# What a run without a GPU computes in by itself, as the header of its config.yaml says it: see common/run/launch.py.
CPU_PRECISION = "bf16" if torch.backends.cpu.get_cpu_capability().startswith("AVX512") else "fp32"

GRPO_MATH = "recipes/grpo_math/train.py"

# The smallest run that goes through every part of the tiny recipe.
SHORT = "--max_steps 2 --num_train 64 --num_held_out 8 --per_device_train_batch_size 16 --save_steps 1".split()

Python = Callable[..., subprocess.CompletedProcess]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: not item.nodeid.startswith(LONGEST_FIRST))


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


@pytest.fixture
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept of data does not outlive a test."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout of the repository in which nothing has run yet, with the environment that `make install` makes."""
    made = shutil.ignore_patterns(*(line.strip("/") for line in (ROOT / ".gitignore").read_text().split()), ".git")
    root = shutil.copytree(ROOT, tmp_path / "checkout", ignore=made)
    (root / ".venv").symlink_to(BIN.parent)
    monkeypatch.setenv("PYTHONPATH", str(root))  # not the `common` that is installed
    return root


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


def varlen_attn_reference(query, key, value, boundaries, _boundaries, longest, _longest, *, scale, window_size):
    """Computes what the GPU's kernel does, one document after the other."""
    import torch

    back, ahead = window_size
    assert ahead == 0
    assert longest == boundaries.diff().max()
    documents = []
    for start, stop in pairwise(boundaries.tolist()):
        distance = torch.arange(stop - start)[:, None] - torch.arange(stop - start)
        seen = (distance >= 0) & ((distance <= back) | (back < 0))
        states = [states[start:stop].transpose(0, 1)[None] for states in (query, key, value)]
        attended = torch.nn.functional.scaled_dot_product_attention(*states, attn_mask=seen, scale=scale)
        documents.append(attended[0].transpose(0, 1))
    return torch.cat(documents)


@pytest.fixture
def varlen(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Makes `varlen` usable without a GPU: all of it but torch's kernel. Returns the lengths of the rows that it is given."""
    from common.models.attention import choose_attention

    import torch
    from transformers import LlamaConfig

    rows = []

    def kernel(query, *args, **kwargs):
        rows.append(len(query))
        return varlen_attn_reference(query, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr("common.models.attention.compute_capability", lambda: (8, 0))
        assert choose_attention("varlen", torch.bfloat16, LlamaConfig()) == "varlen"
    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", kernel)
    return rows
