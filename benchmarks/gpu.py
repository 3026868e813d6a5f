"""What the GPU benchmarks share: their command line, and many runs on the GPUs that there are, side by side."""

import argparse
import datetime
import json
import math
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from common.run.record import versions

import torch
from transformers import PreTrainedConfig, PreTrainedTokenizerBase, ProcessorMixin

from launching import Run, end_runs, launch
from readings import read_supervised

# The first steps do not count: readings.py.
SHORT = "--max_steps 12 --eval_strategy no --load_best_model_at_end false --early_stopping_patience 0 --save_strategy no"
SHORT += " --num_held_out 2 --max_new_tokens 4 --eval_steps 1000"


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


def parse(description: str, files: dict[str, str]) -> argparse.Namespace:
    """Returns the command line of a benchmark: see `benchmark`."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    # The runs begin in the repository's root.
    parser.add_argument("--output_dir", type=lambda path: Path(path).resolve(), required=True, help="a new folder for the runs")
    parser.add_argument("--results", type=Path, required=True, help="the JSON file to write")
    parser.add_argument("--only", nargs="*", default=[""], help="patterns of folders' names: zero3_2, config_zero2_1$")
    parser.add_argument("--timeout", type=float, default=200, help="seconds for each run")
    parser.add_argument("--stop_after", type=float, default=3600, help="seconds after which no run is begun")
    parser.add_argument("--end_after", type=float, default=math.inf, help="seconds after which every run is stopped")
    for name, meaning in files.items():
        parser.add_argument(f"--{name}", type=Path, required=True, help=meaning)
    return parser.parse_args()


def _in_turn(
    runs: list[Run], args: argparse.Namespace, gpus: Gpus, flags: dict[str, list[str]], started: float
) -> Iterator[Run]:
    """Yields each run once the GPUs that it takes are free, or all of them if its model is still to be saved.

    Args:
        runs: All of them.
        args: Names those that are asked for, and says when no more are begun.
        gpus: The GPUs.
        flags: By the recipes whose models are saved.
        started: When the benchmark was.
    """
    for run in (run for run in runs if any(re.search(part, run.name) for part in args.only)):
        if run.num_gpus > gpus.count:
            print(f"{run.name}: left out, there are {gpus.count} GPUs", flush=True)
            continue
        gpus.wait_for(gpus.count if _needs_model(run, flags) else run.num_gpus)
        if time.monotonic() - started > min(args.stop_after, args.end_after):
            print(f"{run.name}: not begun, {time.monotonic() - started:.0f} s are over", flush=True)
            continue
        yield run


def _needs_model(run: Run, flags: dict[str, list[str]]) -> bool:
    return run.config != "tiny" and run.recipe not in flags


def _make(model: Callable[..., list[str]], folder: Path, paths: dict[str, Path], started: float) -> list[str]:
    """Saves a recipe's model into a folder named like it; returns the flags that name the model and its data."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "lesson"]:
        del sys.modules[name]  # each recipe's lesson has this name, and that of the recipe before was imported
    flags = [*model(folder, **paths), "--model_name_or_path", str(folder)]
    print(f"{folder.name}: its model is saved at {time.monotonic() - started:.0f} s", flush=True)
    return flags


def _keep(entry: dict, record: dict, results: Path, started: float) -> None:
    """Adds what a run measured to the record, and writes it anew."""
    record["runs"].append(entry)
    print("RESULT", json.dumps(entry), f"at {time.monotonic() - started:.0f} s", flush=True)
    results.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


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
        runs: Each begins as soon as its GPUs are free; one with the configuration `tiny` builds its model and goes to its end.
        variants: By name the flags that differ from the configuration.
        models: For each recipe what saves its model, given a folder and the paths of `files`; returns the flags of its data.
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
    gpus, writing, measuring = Gpus(), threading.Lock(), []

    def measure(run: Run, taken: list[str]) -> None:
        own = [] if run.config == "tiny" else flags[run.recipe]
        left = args.end_after - (time.monotonic() - started)
        limited = argparse.Namespace(output_dir=args.output_dir, timeout=min(args.timeout, left))
        try:
            entry = launch(run, [*own, *({"": ""} | variants)[run.variant].split()], taken, limited, read)
            with writing:
                _keep(entry, record, args.results, started)
        finally:
            gpus.give_back(taken)

    with ThreadPoolExecutor(gpus.count) as pool:
        for run in _in_turn(runs, args, gpus, flags, started):
            if _needs_model(run, flags):
                flags[run.recipe] = [*short.split(), *_make(models[run.recipe], args.output_dir / run.recipe, paths, started)]
            measuring.append(pool.submit(measure, run, gpus.take(run.num_gpus)))
    for each in measuring:
        each.result()  # raises what went wrong beside the run itself
    return args, record["runs"]
