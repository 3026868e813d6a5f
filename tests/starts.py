"""Starts of recipes as forks of a process that has imported the libraries once: up to where the model would load.

A start takes 20 seconds of imports; a fork has its own environment, output and exit code, and takes none.
"""

import atexit
import multiprocessing
import os
import re
import runpy
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import forkserver
from pathlib import Path
from unittest.mock import patch

from conftest import ROOT, command_env

PRELOAD = [
    "common.generate.completions",
    "common.models.load",
    "common.report.page",
    "common.run.config",
    "common.run.loop",
    "common.run.record",
    "deepspeed",
    "lingua",
    "math_verify",
    "peft",
    "pytest",
    "qwen_vl_utils",
    "rapidfuzz",
    "trl.models",
    "trl.trainer.grpo_trainer",
    "trl.trainer.sft_trainer",
]
LOADER_REACHED = "the model loader is reached"


@dataclass
class Finished:
    returncode: int
    stdout: str
    stderr: str


Run = Callable[..., Finished]


# --- What runs in the forks -----------------------------------------------------------------------------------------------


def stop_at_the_loader(*args, **kwargs):
    raise SystemExit(LOADER_REACHED)


def run_script(script: str, arguments: list[str]) -> None:
    """Runs a script as `python SCRIPT ARGUMENTS` would."""
    sys.argv = [script, *arguments]
    runpy.run_path(script, run_name="__main__")


def run_to_the_loader(script: str, arguments: list[str]) -> None:
    import common.models.load

    common.models.load.load_model = stop_at_the_loader
    run_script(script, arguments)


def in_fork(
    function: Callable[[str, list[str]], None], script: str, arguments: list[str], env: dict[str, str], output: Path
) -> None:
    for descriptor, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(output / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
    os.chdir(ROOT)
    os.environ |= env
    sys.path.insert(0, str((ROOT / script).parent))
    atexit._clear()  # of the server
    try:
        function(script, arguments)
    finally:
        atexit._run_exitfuncs()


# --- Starting -------------------------------------------------------------------------------------------------------------


@contextmanager
def starting(folder: Path) -> Iterator[Run]:
    """Gives a function that runs a script in a fork; `folder` is for its output and what the libraries keep."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    env = command_env() | {"PYTHONPATH": str(ROOT), "HF_DATASETS_CACHE": str(folder / "cache")}
    with patch.dict(os.environ, env, clear=True):
        forkserver.ensure_running()

    def run(
        script: str, *arguments: str, function: Callable[[str, list[str]], None] = run_to_the_loader, **env: str
    ) -> Finished:
        process = context.Process(target=in_fork, args=(function, script, list(arguments), env, folder))
        process.start()
        process.join(60)
        assert process.exitcode is not None, "the command hangs"
        return Finished(process.exitcode, (folder / "stdout").read_text(), (folder / "stderr").read_text())

    yield run
    forkserver._forkserver._stop()


def assert_one_line(finished: Finished, line: str) -> None:
    """The line is all that stands on standard error, and the exit code is 2; `...` is for any text."""
    pattern = ".*".join(re.escape(text) for text in f"error: {line}\n".split("..."))
    assert re.fullmatch(pattern, finished.stderr), finished.stderr
    assert finished.returncode == 2
