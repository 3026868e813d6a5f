"""Where the time of one step of a training goes: matrix work, attention, optimizer, copies, waiting. On a GPU or a CPU.

    python benchmarks/profile_step.py recipes/sft_instruct/train.py --num_held_out 20
    accelerate launch --config_file accelerate_configs/zero2.yaml benchmarks/profile_step.py recipes/sft_instruct/train.py \
        --config lora.yaml --num_held_out 20

Starts the recipe with the flags behind its name, lets some steps pass, times the next ones as they are, profiles one, prints a
table and ends. The profiler slows the program and not the GPU: how long a GPU waits is the time of a step as it is without the
time of its kernels. Nothing is kept but what `--results FILE`, before the recipe's name, asks for; of several processes the
first one is shown.
"""

import argparse
import json
import re
import runpy
import sys
import time
from collections import Counter
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import common.run.loop
from common.errors import is_main_process, say
from common.run.record import versions

import torch
from torch.autograd import DeviceType
from torch.autograd.profiler_util import FunctionEvent
from torch.profiler import ProfilerActivity, profile, record_function
from transformers import Trainer, TrainerCallback

WARM_UP, TIMED = 4, 4  # steps; the first ones allocate and compile
OPTIMIZER, ROLLOUT = "optimizer step", "rollout"  # ranges around what the program calls so
# The part that a kernel, or on a CPU an operator, belongs to by its name; the first that fits.
NAMES = {
    "communication": r"nccl|gloo|all_?gather|all_?reduce|reduce_scatter",
    "attention": r"flash|fmha|attention|attn",
    "matrix work": r"gemm|nvjet|cutlass|xmma|grouped_mm|aten::(addmm|mm|bmm|baddbmm|linear|_grouped_mm)",
    "copies": r"memcpy|memset|copy|cat_?array|aten::(cat|clone|contiguous|_to_copy|fill_|zero_)",
}


def part_of(name: str, ancestors: list[str]) -> str:
    """Returns the part of a step that a kernel or an operator belongs to.

    Args:
        name: Its name.
        ancestors: The names of the ranges and operators that called it.
    """
    if re.search(NAMES["communication"], name, re.IGNORECASE):
        return "communication"  # that of a rollout or an update, too
    for part in (ROLLOUT, OPTIMIZER):
        if any(part in ancestor or (part == OPTIMIZER and "Optimizer.step" in ancestor) for ancestor in ancestors):
            return part
    if any("scaled_dot_product" in ancestor for ancestor in ancestors):
        return "attention"
    return next((part for part, pattern in NAMES.items() if re.search(pattern, name, re.IGNORECASE)), "all else")


def _ancestors(event: FunctionEvent) -> list[str]:
    found, parent = [event.name], event.cpu_parent
    while parent is not None:
        found.append(parent.name)
        parent = parent.cpu_parent
    return found


def _unlaunched(events: list[FunctionEvent], launched: Counter[tuple[str, float]]) -> list[tuple[str, float, list[str]]]:
    """Returns the kernels that no operator launched, those of CUDA graphs: name, microseconds, the range that they ran in.

    Args:
        events: What the profiler saw.
        launched: Name and microseconds of those that an operator launched, and how many there were of each; is emptied.
    """
    spans = [event for event in events if event.device_type == DeviceType.CPU and event.name in (ROLLOUT, OPTIMIZER)]
    found = []
    for event in events:
        if event.device_type != DeviceType.CUDA or event.is_user_annotation:
            continue
        key = event.name, event.time_range.elapsed_us()
        if launched[key] > 0:
            launched[key] -= 1
        else:
            began = event.time_range.start
            around = [span.name for span in spans if span.time_range.start <= began <= span.time_range.end]
            found.append((*key, around))
    return found


def kernels_of(events: list[FunctionEvent], on_gpu: bool) -> list[tuple[str, float, str]]:
    """Returns the name, the seconds and the part of a step of each kernel or operator.

    Args:
        events: What the profiler saw.
        on_gpu: Whether kernels count, or else the operators themselves.
    """
    if on_gpu:
        kernels = [(kernel.name, kernel.duration, _ancestors(event)) for event in events for kernel in event.kernels]
        kernels += _unlaunched(events, Counter((name, duration) for name, duration, _ in kernels))
    else:
        shown = (event for event in events if event.self_cpu_time_total > 0 and not event.is_user_annotation)
        kernels = [(event.name, event.self_cpu_time_total, _ancestors(event)) for event in shown if "::" in event.name]
    return [(name, duration / 1e6, part_of(name, ancestors)) for name, duration, ancestors in kernels]


def parts_of(kernels: list[tuple[str, float, str]]) -> dict[str, float]:
    """Returns the seconds of each part of a step, the longest first."""
    seconds: Counter[str] = Counter()
    for _, duration, part in kernels:
        seconds[part] += duration
    return dict(seconds.most_common())


def _longest(kernels: list[tuple[str, float, str]], shown: int) -> str:
    """Returns a table of the kernels or operators that took the most, by name."""
    seconds, counts = Counter(), Counter((part, name) for name, _, part in kernels)
    for name, duration, part in kernels:
        seconds[part, name] += duration
    rows = [
        f"{part} | {1000 * taken:.1f} | {counts[part, name]} | `{name[:100]}`"
        for (part, name), taken in seconds.most_common(shown)
    ]
    return "\n".join(f"| {row} |" for row in ("part of a step | ms | calls | name", "---|---|---|---", *rows))


def table(parts: dict[str, float], count: int, step: float, wait: float, on_gpu: bool) -> str:
    """Returns the table of a step.

    Args:
        parts: Seconds of each part.
        count: Number of kernels or operators.
        step: Seconds of the step.
        wait: Seconds of it in which the program waits for the loader.
        on_gpu: Whether the parts are of kernels.
    """
    rest = "the GPU waits for the program" if on_gpu else "the program itself"
    rows = parts | {"waiting for data": wait}
    rows |= {rest: max(0.0, step - sum(rows.values()))}
    lines = ["| part of a step | ms | share |", "|---|---|---|"]
    lines += [f"| {name} | {1000 * seconds:.1f} | {seconds / step:.1%} |" for name, seconds in rows.items()]
    what = "kernels" if on_gpu else "operators"
    return "\n".join([*lines, f"| **a step** | {1000 * step:.1f} | {count:,} {what} |"])


class Profile(TrainerCallback):
    """Times some steps, profiles one, prints what it took, and ends the program."""

    def __init__(self, trainer: Trainer, results: Path | None, shown: int):
        self.trainer, self.results, self.shown = trainer, results, shown
        self.on_gpu = trainer.args.device.type == "cuda"
        self.steps, self.begun, self.step, self.wait, self.profiler = 0, 0.0, 0.0, 0.0, None
        get_batch_samples = trainer.get_batch_samples

        def timed(*args: Any, **kwargs: Any) -> Any:
            self._enter()
            begun = time.perf_counter()
            found = get_batch_samples(*args, **kwargs)
            if self.profiler is None or not self.on_gpu:  # on a GPU the mean of the steps before is shown
                self.wait += time.perf_counter() - begun
            return found

        trainer.get_batch_samples = timed
        if hasattr(trainer.args, "num_generations"):
            trainer._generate = ranged(ROLLOUT, trainer._generate)

    def _enter(self) -> None:
        if self.steps == WARM_UP:
            self._synchronize()
            self.wait, self.begun = 0.0, time.perf_counter()
        if self.steps == WARM_UP + TIMED:
            self._synchronize()
            self.step, self.wait = (time.perf_counter() - self.begun) / TIMED, self.wait / TIMED if self.on_gpu else 0.0
            activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if self.on_gpu else [])]
            self.profiler = profile(activities=activities)
            self.profiler.start()
            self.begun = time.perf_counter()

    def _synchronize(self) -> None:
        if self.on_gpu:
            torch.cuda.synchronize()

    def on_step_begin(self, args, state, control, **kwargs):
        if self.steps == 0 and self.trainer.is_deepspeed_enabled:
            self.trainer.model_wrapped.step = ranged(OPTIMIZER, self.trainer.model_wrapped.step)

    def on_step_end(self, args, state, control, **kwargs):
        self.steps += 1
        if self.profiler is None:
            return
        self._synchronize()
        step = self.step if self.on_gpu else time.perf_counter() - self.begun  # a CPU's parts are those of the profiled step
        self.profiler.stop()
        kernels = kernels_of(list(self.profiler.events()), self.on_gpu)
        parts, count = parts_of(kernels), len(kernels)
        if is_main_process():
            say(table(parts, count, step, self.wait, self.on_gpu))
            if self.shown:
                say(_longest(kernels, self.shown))
            if self.results:
                record = {"command": " ".join(["python", *sys.orig_argv[1:]]), **versions(), "step_seconds": step}
                record |= {"parts": parts, "data_wait": self.wait, "kernels" if self.on_gpu else "operators": count}
                self.results.write_text(json.dumps(record, indent=1) + "\n")
        self.trainer.accelerator.end_training()
        raise SystemExit(0)


def ranged(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Returns a function whose calls the profiler sees under a name."""

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        with record_function(name):
            return function(*args, **kwargs)

    return call


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, help="a JSON file to write")
    parser.add_argument("--kernels", type=int, default=0, help="also show so many kernels, those that take the most")
    parser.add_argument("recipe", type=Path, help="the train.py of a recipe")
    parser.add_argument("flags", nargs=argparse.REMAINDER, help="its flags")
    args = parser.parse_args()
    run = common.run.loop.run

    def profiled(script: str, trainer: Trainer, *rest: Any, **more: Any) -> None:
        trainer.add_callback(Profile(trainer, args.results, args.kernels))
        run(script, trainer, *rest, **more)

    common.run.loop.run = profiled
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        steps = ["--max_steps", str(WARM_UP + TIMED + 1), "--save_strategy", "no", "--report_to", "none"]
        sys.argv = [str(args.recipe), *args.flags, *steps, "--output_dir", f"{folder}/run"]
        sys.path[0] = str(args.recipe.resolve().parent)
        runpy.run_path(str(args.recipe), run_name="__main__")


if __name__ == "__main__":
    main()
