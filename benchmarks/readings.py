"""What a run of a GPU benchmark has left: its speed, its memory, and where the time of a step went."""

import re
from pathlib import Path

from common.data.runs import read_rows

import yaml

from launching import Run

SKIPPED_STEPS = 4  # the first ones allocate and warm up


def rows_a_step(run: Run, folder: Path) -> int:
    """Returns how many rows, or completions, all the processes of a run take for an update."""
    settings = yaml.safe_load((folder / "config.yaml").read_text())
    return settings["per_device_train_batch_size"] * settings["gradient_accumulation_steps"] * run.num_gpus


def read_meter(folder: Path) -> dict:
    """Returns what the meter wrote of the steps that count; nothing of a script that has none, such as TRL's."""
    steps = [row for row in read_rows(folder / "metrics.jsonl") if "train_seconds" in row][SKIPPED_STEPS:]
    if not steps:
        return {}
    seconds = sum(row["train_seconds"] for row in steps)
    tokens = sum(row["tokens_per_second"] * row["train_seconds"] for row in steps)
    entry = {"meter: tokens/s": round(tokens / seconds)}
    entry["data wait s"] = sum(row["data_wait"] for row in steps) / len(steps)
    if "mfu" in steps[0]:
        entry["MFU"] = round(sum(row["mfu"] * row["train_seconds"] for row in steps) / seconds, 4)
    return entry


def read_supervised(run: Run, folder: Path, row_name: str | None = None) -> dict:
    """Returns the speed and memory of a supervised run, and what the meter wrote of the steps that count.

    Args:
        run: The run.
        folder: What it left.
        row_name: What a row of the data is, in the plural, where rows are never packed: their number a second is told too.
    """
    rows = read_rows(folder / "metrics.jsonl")
    steps = [row for row in rows if "loss" in row and "num_tokens" in row]
    first, last, counted = steps[SKIPPED_STEPS - 1], steps[-1], len(steps) - SKIPPED_STEPS
    tokens, seconds = last["num_tokens"] - first["num_tokens"], last["seconds"] - first["seconds"]
    settings = yaml.safe_load((folder / "config.yaml").read_text())
    entry = {"rows a device at once": settings["per_device_train_batch_size"]}
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
        "peak GPU memory GiB": max(row["peak_memory_gib"] for row in rows if "peak_memory_gib" in row),
        **read_meter(folder),
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
