"""A run of a GPU benchmark: a recipe's own launch command on some of the GPUs, in a session of its own that can be ended."""

import argparse
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

ROOT = Path(__file__).parent.parent
launched: set[int] = set()  # the launchers of the runs that go on


@dataclass(frozen=True)
class Run:
    """What is measured: a recipe, its configuration, accelerate's configuration, and perhaps a variant.

    Attributes:
        recipe: Its name.
        config: Name of one of its configurations.
        stage: Name of one of accelerate's configurations.
        num_gpus: Processes, one on each GPU.
        variant: Name of the flags that differ from the configuration.
        script: What to run instead of the recipe's train.py, with the same flags; perhaps with flags of its own before them.
    """

    recipe: str
    config: str
    stage: str
    num_gpus: int
    variant: str = ""
    script: str = ""

    @property
    def name(self) -> str:
        """Name of the run's folder, such as `sft_instruct_lora_zero3_2`."""
        parts = [self.recipe, self.config, self.stage, str(self.num_gpus), self.variant]
        return "_".join(part for part in parts if part)


def launch(run: Run, flags: list[str], gpus: list[str], args: argparse.Namespace, read: Callable[[Run, Path], dict]) -> dict:
    """Runs a recipe on some of the GPUs and returns what it measured.

    Args:
        run: What to run.
        flags: Those of the model, the data and the variant.
        gpus: A process runs on each of them.
        args: The benchmark's `output_dir` and `timeout`.
        read: Returns what a run measured, from the run and the folder that it left.
    """
    folder = args.output_dir / run.name
    command = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", f"accelerate_configs/{run.stage}.yaml"]
    command += ["--num_processes", str(len(gpus)), "--main_process_port", "0"]
    command += (run.script or f"recipes/{run.recipe}/train.py").split()
    command += ["--config", f"{run.config}.yaml", "--output_dir", str(folder), *flags]
    entry = {"recipe": run.recipe, "configuration": f"{run.config}.yaml", "stage": run.stage}
    entry |= {"gpus": run.num_gpus, "variant": run.variant}
    env = os.environ | {"CUDA_VISIBLE_DEVICES": ",".join(gpus)}
    log_path = folder.with_suffix(".log")
    with open(log_path, "w", encoding="utf-8") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=log, stderr=log, start_new_session=True)
        launched.add(process.pid)
        try:
            process.wait(timeout=args.timeout)
        except subprocess.TimeoutExpired:
            end_run(process.pid)
            process.wait()
            measured = {}
            with suppress(Exception):  # perhaps the steps were done and only the saving was not
                measured = read(run, folder)
            return entry | measured | {"stopped by the time limit, s": args.timeout, "log": _text(log_path)[-1500:]}
        finally:
            launched.discard(process.pid)
    if process.returncode != 0:
        return entry | {"exit code": process.returncode, "log": _text(log_path)[-3000:]}
    warnings = sum("warn" in line.lower() for line in _text(log_path).splitlines())
    try:
        measured = read(run, folder)
    except Exception as error:  # a run that cannot be read is not the end of the others
        measured = {"not read": repr(error)}
    return entry | measured | {"warnings in the log": warnings}


def _text(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")  # a killed process may leave half a letter


def end_run(launcher: int) -> None:
    """Ends a launcher and what it launched, which is in a session of its own and would keep the GPU's memory."""
    with suppress(psutil.NoSuchProcess):  # it has ended by itself
        process = psutil.Process(launcher)
        for each in [*process.children(recursive=True), process]:
            with suppress(psutil.NoSuchProcess):
                each.kill()


def end_runs(number: int, frame: object) -> None:
    """Ends the runs that go on, and the benchmark with them: a handler of SIGTERM, as `timeout` sends it."""
    for launcher in list(launched):  # the threads take out what ends
        end_run(launcher)
    os._exit(128 + number)
