"""What more GPUs of a machine give: sft_instruct and grpo_math on 1, 2, 4 and 8, gpt-oss on 4, and a run that loses a process.

    python benchmarks/scaling_gpu.py --gsm8k train.jsonl --output_dir /tmp/scale --results benchmarks/results/scaling_gpu.json \
        --timeout 120 --end_after 530

Models and data are those of sft_gpu.py, grpo_gpu.py and gpt_oss_model.py: the recipes' shapes, random weights. The most GPUs
and one go first, because the ratio of the two is what is asked; the runs on one GPU go side by side. Then come those between,
where the time of a step goes, gpt-oss, and interrupted_gpu.py with one of its processes killed. `--only` picks some by name
(the last one's is `killed`); what no longer fits into `--end_after` seconds is left out or stopped. Tables are printed last.
"""

import re
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

from common.data.runs import read_rows

import torch

import gpt_oss_model
import grpo_gpu
import sft_gpu
from gpt_oss_model import GPT_OSS
from gpu import benchmark
from grpo_gpu import MATH
from launching import ROOT, Run
from micro_batch_gpu import SFT
from readings import SKIPPED_STEPS, read_profile, read_supervised

STAGES = ("zero2", "zero3")
STEPS = 9
PROFILE = f"benchmarks/profile_step.py recipes/{SFT}/train.py"
GRPO_STEPS = "--max_completion_length 256 --max_steps 10"
# 8 held-out rows: one for each process. GRPO's recipes have none of the other flags.
SUPERVISED = "--eval_strategy no --load_best_model_at_end false --num_held_out 8 --early_stopping_patience 0 --max_new_tokens 4"
VARIANTS = {
    "64": GRPO_STEPS,
    "": "",  # the configuration as it is
    "profile": "",
}
# An update of 16 x 2 rows of 2048 tokens takes less than 300 of the generated rows, and a sixth of them is kept apart. No run
# begins them anew: the last update of an epoch would be a short one.
ROWS_A_GPU = 350 * (STEPS + 1)
NEEDED = 260  # seconds that the runs of interrupted_gpu.py took on four H200


def both(size: int) -> list[Run]:
    """Returns the runs of the two recipes on so many GPUs."""
    variants = {SFT: "", MATH: "64"}
    return [Run(recipe, "config", stage, size, variant) for recipe, variant in variants.items() for stage in STAGES]


RUNS = [*both(8), *both(4), *both(1), *both(2)]
# Stage 1 sends gradients once an update, not once a micro-batch.
RUNS += [Run(recipe, "config", "zero1", 4, variant) for recipe, variant in ((MATH, "64"), (SFT, ""))]
RUNS += [Run(SFT, "config", stage, size, "profile", PROFILE) for size in (4, 2) for stage in STAGES]
RUNS += [Run(GPT_OSS, "config", "zero3", 4)]


def make_gpt_oss(folder: Path, gsm8k: Path) -> list[str]:
    """Saves gpt-oss's model and enough rows for four GPUs: see `gpt_oss_model.make_model`."""
    return [*SUPERVISED.split(), *gpt_oss_model.make_model(folder, count=280)]


def make_sft(folder: Path, gsm8k: Path) -> list[str]:
    """Saves sft_instruct's model and enough rows for all GPUs: see `sft_gpu.make_model`."""
    return [*SUPERVISED.split(), *sft_gpu.make_model(SFT, folder, count=ROWS_A_GPU * max(1, torch.cuda.device_count()))]


def read(run: Run, folder: Path) -> dict:
    """Returns what a run measured: speed a GPU, a step's time, peak memory; or of a profiled one the parts of its step."""
    if run.variant == "profile":
        return read_profile(folder)
    if run.recipe == MATH:
        entry = grpo_gpu.read(run, folder)
        speed = entry["completions a step"] / entry["median later step s"] / run.num_gpus
        return entry | {"completions/s/GPU": round(speed, 2), "step s": entry["median later step s"]}
    entry = read_supervised(run, folder)
    steps = [row["train_seconds"] for row in read_rows(folder / "metrics.jsonl") if "train_seconds" in row][SKIPPED_STEPS:]
    return entry | {"step s": round(sum(steps) / len(steps), 3), "longest step s": max(steps)}


def table(entries: list[dict], recipe: str, speed: str, columns: tuple[str, ...]) -> str:
    """Returns a recipe's runs as a table, with their speed a GPU as a share of that on one GPU, and under ZeRO-2.

    Args:
        entries: What the runs measured.
        recipe: Its name.
        speed: Name of the speed a GPU.
        columns: Names of what else is shown.
    """
    found = {(entry["stage"], entry["gpus"]): entry for entry in entries if entry["recipe"] == recipe and speed in entry}

    def share(key: tuple[str, int], of: tuple[str, int]) -> str:
        return f"{found[key][speed] / found[of][speed]:.1%}" if of in found and of != key else ""

    lines = ["| " + " | ".join(["stage", "GPUs", speed, *columns, "of one GPU", "of ZeRO-2"]) + " |"]
    lines.append("|---" * (len(columns) + 5) + "|")
    for stage, gpus in sorted(found):
        entry, key = found[stage, gpus], (stage, gpus)
        cells = [stage, gpus, entry[speed], *(entry.get(column, "") for column in columns)]
        cells += [share(key, (stage, 1)), share(key, ("zero2", gpus))]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join([f"{recipe}:", *lines])


def kill_one(output_dir: Path, results: Path, seconds: float) -> None:
    """Kills one process of a run on up to four GPUs, and continues it: `interrupted_gpu.py`, which prints what came of it."""
    if seconds < NEEDED:
        print(f"killed: not begun, {seconds:.0f} s are left", flush=True)
        return
    command = [sys.executable, "benchmarks/interrupted_gpu.py", "--stops", "whole", "rank"]
    command += ["--num_processes", str(min(4, torch.cuda.device_count())), "--timeout", str(seconds / 2)]
    command += ["--output_dir", str(output_dir.resolve() / "killed")]
    command += ["--results", str(results.resolve().with_suffix(".killed.json"))]
    try:
        subprocess.run(command, cwd=ROOT, timeout=seconds)
    except subprocess.TimeoutExpired:
        print(f"killed: stopped by the time limit, {seconds:.0f} s", flush=True)


def main() -> None:
    started = time.monotonic()
    models = {SFT: make_sft, MATH: partial(grpo_gpu.make_model, MATH), GPT_OSS: make_gpt_oss}
    args, entries = benchmark(__doc__, RUNS, VARIANTS, models, read, grpo_gpu.SHORT, {"gsm8k": "GSM8K's train.jsonl"})
    memory = "peak GPU memory GiB"
    print(table(entries, SFT, "tokens/s/GPU", ("MFU", "step s", memory)))
    print(table(entries, MATH, "completions/s/GPU", ("step s", "rollout s", memory)))
    print(table(entries, GPT_OSS, "tokens/s/GPU", ("step s", memory)), flush=True)
    if any(re.search(part, "killed") for part in args.only):
        kill_one(args.output_dir, args.results, args.end_after - (time.monotonic() - started))


if __name__ == "__main__":
    main()
