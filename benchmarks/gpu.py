"""What the GPU benchmarks share: a recipe's launch command on some of the GPUs, and the record of what its run left."""

import argparse
import datetime
import json
import math
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from common.data.runs import read_rows
from common.run.record import versions

import psutil
import torch
import yaml
from transformers import PreTrainedConfig, PreTrainedTokenizerBase, ProcessorMixin

ROOT = Path(__file__).parent.parent
SKIPPED_STEPS = 4  # the first ones allocate and warm up
SHORT = "--max_steps 20 --eval_strategy no --load_best_model_at_end false --early_stopping_patience 0 --save_strategy no"
SHORT += " --num_held_out 2 --max_new_tokens 4 --eval_steps 1000"
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
        read: See `benchmark`.
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
    with open(log_path, "w") as log:
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
            return entry | measured | {"stopped by the time limit, s": args.timeout, "log": log_path.read_text()[-1500:]}
        finally:
            launched.discard(process.pid)
    if process.returncode != 0:
        return entry | {"exit code": process.returncode, "log": log_path.read_text()[-3000:]}
    warnings = sum("warn" in line.lower() for line in log_path.read_text().splitlines())
    try:
        measured = read(run, folder)
    except Exception as error:  # a run that cannot be read is not the end of the others
        measured = {"not read": repr(error)}
    return entry | measured | {"warnings in the log": warnings}


def end_run(launcher: int) -> None:
    """Ends a launcher and what it launched, which is in a session of its own and would keep the GPU's memory."""
    process = psutil.Process(launcher)
    for each in [*process.children(recursive=True), process]:
        with suppress(psutil.NoSuchProcess):
            each.kill()


def end_runs(number: int, frame: object) -> None:
    """Ends the runs that go on, and the benchmark with them: a handler of SIGTERM, as `timeout` sends it."""
    for launcher in launched:
        end_run(launcher)
    os._exit(128 + number)


def rows_a_step(run: Run, folder: Path) -> int:
    """Returns how many rows, or completions, all the processes of a run take for an update."""
    settings = yaml.safe_load((folder / "config.yaml").read_text())
    return settings["per_device_train_batch_size"] * settings["gradient_accumulation_steps"] * run.num_gpus


def read_supervised(run: Run, folder: Path, row_name: str | None = None) -> dict:
    """Returns the speed and memory of a supervised run.

    Args:
        run: The run.
        folder: What it left.
        row_name: What a row of the data is, in the plural, where rows are never packed: their number a second is told too.
    """
    rows = read_rows(folder / "metrics.jsonl")
    steps = [row for row in rows if "loss" in row and "num_tokens" in row]
    first, last, counted = steps[SKIPPED_STEPS - 1], steps[-1], len(steps) - SKIPPED_STEPS
    tokens, seconds = last["num_tokens"] - first["num_tokens"], last["seconds"] - first["seconds"]
    entry = {}
    if row_name:
        update = rows_a_step(run, folder)
        speed = update * counted / seconds
        entry |= {f"{row_name}/s": round(speed, 2), f"{row_name}/s/GPU": round(speed / run.num_gpus, 2)}
        entry[f"{row_name} a step"] = update
    return entry | {
        "tokens/s": round(tokens / seconds),
        "tokens/s/GPU": round(tokens / seconds / run.num_gpus),
        "tokens a step": round(tokens / counted),
        "median loss": round(sorted(row["loss"] for row in steps)[len(steps) // 2], 2),
        "peak GPU memory GiB": rows[-1]["peak_memory_gib"],
    }


def read_profile(folder: Path) -> dict:
    """Returns what profile_step.py printed of a step.

    Args:
        folder: Of the run that it profiled; beside it stands the log.
    """
    text = folder.with_suffix(".log").read_text()
    parts = re.findall(r"^\| ([^|*]+) \| [\d.]+ \| ([\d.]+)% \|$", text, re.MULTILINE)
    step = re.findall(r"^\| \*\*a step\*\* \| ([\d.]+) \| ([\d,]+) ", text, re.MULTILINE)
    entry = {"parts of a step, %": {name: float(share) for name, share in parts}}
    return entry | {"step ms": float(step[0][0]), "kernels": int(step[0][1].replace(",", ""))}


def save_random_model(
    auto_class: type, config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase | ProcessorMixin, folder: Path
) -> None:
    """Saves a model with random weights in bfloat16, made on the GPU if there is one, and its tokenizer.

    Args:
        auto_class: Of transformers; makes the model.
        config: The model's shape.
        tokenizer: Its tokenizer or processor.
        folder: Where to.
    """
    torch.manual_seed(0)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = auto_class.from_config(config, dtype=torch.bfloat16)
    model.save_pretrained(folder, max_shard_size="5GB")
    tokenizer.save_pretrained(folder)
    del model
    torch.cuda.empty_cache()  # the runs need the room


class Gpus:
    """The GPUs that no run has: one thread takes them, any gives them back."""

    def __init__(self):
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(torch.cuda.device_count()))))
        self.free = visible.split(",")
        self.count = len(self.free)
        self.changed = threading.Condition()

    def wait_for(self, count: int) -> None:
        """Returns when at least so many are free."""
        with self.changed:
            self.changed.wait_for(lambda: len(self.free) >= count)

    def take(self, count: int) -> list[str]:
        """Returns so many of the free ones, neighbours where there are."""
        with self.changed:
            taken, self.free = self.free[:count], self.free[count:]
        return taken

    def give_back(self, gpus: list[str]) -> None:
        """Frees them."""
        with self.changed:
            self.free = sorted([*self.free, *gpus])
            self.changed.notify()


def benchmark(
    description: str,
    runs: list[Run],
    variants: dict[str, str],
    models: dict[str, Callable[..., list[str]]],
    read: Callable[[Run, Path], dict] = read_supervised,
    short: str = SHORT,
    files: dict[str, str] | None = None,
) -> tuple[argparse.Namespace, list[dict]]:
    """Runs the command line of a benchmark; the record is written anew after each run.

    Args:
        description: The benchmark's docstring.
        runs: They begin in this order, each as soon as the GPUs that it takes are free, so side by side where there are enough.
            One with a configuration named `tiny` takes the model that is built on the spot, and goes to its end.
        variants: By name the flags that differ from the configuration.
        models: For each recipe what saves its model into a folder, and returns the flags that name its data. It is given the
            folder and, by name, the paths of `files`, before the recipe's first run, while nothing else runs.
        read: Returns what a run measured, from the run and the folder that it left.
        short: The flags that end every run after a few steps.
        files: By name what the command line must name, with its help.

    Returns:
        The command line, and what `launch` returned of each run, in the order of their ends.
    """
    args, started = parse(description, files or {}), time.monotonic()
    signal.signal(signal.SIGTERM, end_runs)
    args.output_dir.mkdir(parents=True)
    paths = {name: getattr(args, name).resolve() for name in files or {}}
    flags: dict[str, list[str]] = {}
    record = {"date": datetime.date.today().isoformat(), "command": " ".join(["python", *sys.argv]), **versions(), "runs": []}
    gpus, writing = Gpus(), threading.Lock()

    def measure(run: Run, taken: list[str]) -> None:
        own = [] if run.config == "tiny" else flags[run.recipe]
        limit = min(args.timeout, args.end_after - (time.monotonic() - started))
        limited = argparse.Namespace(output_dir=args.output_dir, timeout=limit)
        try:
            entry = launch(run, [*own, *variants.get(run.variant, "").split()], taken, limited, read)
            with writing:
                record["runs"].append(entry)
                print("RESULT", json.dumps(entry), f"at {time.monotonic() - started:.0f} s", flush=True)
                args.results.write_text(json.dumps(record, indent=1) + "\n")
        finally:
            gpus.give_back(taken)

    with ThreadPoolExecutor(gpus.count) as pool:
        for run in (run for run in runs if any(part in run.name for part in args.only)):
            if run.num_gpus > gpus.count:
                print(f"{run.name}: left out, there are {gpus.count} GPUs", flush=True)
                continue
            needs_model = run.config != "tiny" and run.recipe not in flags
            gpus.wait_for(gpus.count if needs_model else run.num_gpus)
            if time.monotonic() - started > min(args.stop_after, args.end_after):
                print(f"{run.name}: not begun, {time.monotonic() - started:.0f} s are over", flush=True)
                continue
            if needs_model:
                for name in [name for name in sys.modules if name.partition(".")[0] == "lesson"]:
                    del sys.modules[name]  # each recipe's lesson has this name, and that of the recipe before was imported
                model = args.output_dir / run.recipe
                flags[run.recipe] = [*short.split(), *models[run.recipe](model, **paths), "--model_name_or_path", str(model)]
                print(f"{run.recipe}: its model is saved at {time.monotonic() - started:.0f} s", flush=True)
            pool.submit(measure, run, gpus.take(run.num_gpus))
    return args, record["runs"]


def parse(description: str, files: dict[str, str]) -> argparse.Namespace:
    """Returns the command line of a benchmark: see `benchmark`."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output_dir", type=Path, required=True, help="a new folder for the runs")
    parser.add_argument("--results", type=Path, required=True, help="the JSON file to write")
    parser.add_argument("--only", nargs="*", default=[""], help="runs whose folder's name holds one of these: lora_zero3_2 ...")
    parser.add_argument("--timeout", type=float, default=200, help="seconds for each run")
    parser.add_argument("--stop_after", type=float, default=3600, help="seconds after which no run is begun")
    parser.add_argument("--end_after", type=float, default=math.inf, help="seconds after which every run is stopped")
    for name, meaning in files.items():
        parser.add_argument(f"--{name}", type=Path, required=True, help=meaning)
    return parser.parse_args()
