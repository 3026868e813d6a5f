"""Starts of recipes as forks of a process that has imported the libraries once: up to where the model would load.

A start takes 20 seconds of imports; a fork has its own environment, output and exit code, and takes none.
"""

import atexit
import multiprocessing
import os
import re
import runpy
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext
from pathlib import Path
from unittest.mock import patch

from conftest import ROOT, command_env

PRELOAD = [
    "common.generate.completions",
    "common.models.load",
    "common.report.page",
    "common.run.config",
    "common.run.loop",
    "common.run.output_dir",
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
class Start:
    """A command to be run.

    Attributes:
        folder: For its output.
        script: The script, from the repository's root.
        arguments: What follows it.
        env: Variables of its environment.
    """

    folder: Path
    script: str
    arguments: list[str]
    env: dict[str, str] = field(default_factory=dict)

    def finished(self) -> "Finished":
        code, stdout, stderr = ((self.folder / name).read_text() for name in ("code", "stdout", "stderr"))
        return Finished(int(code), stdout, stderr)


@dataclass
class Finished:
    returncode: int
    stdout: str
    stderr: str


# --- What runs in the forks -----------------------------------------------------------------------------------------------


def stop_at_the_loader(*args, **kwargs):
    print(LOADER_REACHED, file=sys.stderr)
    raise SystemExit(1)


def run_script(script: str, arguments: list[str]) -> None:
    """Runs a script as `python SCRIPT ARGUMENTS` would."""
    sys.argv = [script, *arguments]
    runpy.run_path(script, run_name="__main__")


def run_to_the_loader(script: str, arguments: list[str]) -> None:
    import common.models.load

    common.models.load.load_model = stop_at_the_loader
    run_script(script, arguments)


def in_fork(function: Callable[[str, list[str]], None], starts: list[Start]) -> None:
    """Runs commands one after the other; what they import stays, so all are of one recipe."""
    os.chdir(ROOT)
    atexit._clear()  # of the server
    path, environ = list(sys.path), dict(os.environ)
    for start in starts:
        for descriptor, name in ((1, "stdout"), (2, "stderr")):
            os.dup2(os.open(start.folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
        os.environ.clear()
        os.environ |= environ | start.env
        sys.path[:] = [str((ROOT / start.script).parent), *path]
        code = 0
        try:
            function(start.script, start.arguments)
        except SystemExit as ended:
            code = ended.code or 0
        except BaseException:
            traceback.print_exc()
            code = 1
        sys.stdout.flush()
        (start.folder / "code").write_text(str(code))
    atexit._run_exitfuncs()


# --- Starting -------------------------------------------------------------------------------------------------------------


@cache
def server() -> ForkServerContext:
    """Starts the process that imports the libraries, once for all tests of this one; it ends with it."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    with patch.dict(os.environ, command_env() | {"PYTHONPATH": str(ROOT)}, clear=True):
        forkserver.ensure_running()
    return context


def start_all(starts: list[Start], function: Callable = run_to_the_loader) -> None:
    """Runs commands of one recipe in a fork, up to where the model would load."""
    process = server().Process(target=in_fork, args=(function, starts))
    process.start()
    process.join(30 + 30 * len(starts))
    hanging = next((start for start in starts if not (start.folder / "code").exists()), None)
    assert hanging is None, f"it hangs, or ended its process: {hanging}"


def start(folder: Path, script: str, *arguments: str, function: Callable = run_to_the_loader, **env: str) -> Finished:
    """Runs a command in a fork, up to where the model would load; `folder` is for its output."""
    (folder / "code").unlink(missing_ok=True)
    command = Start(folder, script, list(arguments), env)
    start_all([command], function)
    return command.finished()


def assert_one_line(finished: Finished, line: str) -> None:
    """The line is all that stands on standard error, and the exit code is 2; `...` is for any text."""
    pattern = ".*".join(re.escape(text) for text in f"error: {line}\n".split("..."))
    assert re.fullmatch(pattern, finished.stderr), finished.stderr
    assert finished.returncode == 2
