"""What the GPU benchmarks of the supervised recipes share: a recipe's launch command, and the record of what its run left."""

import argparse
import datetime
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from common.record import versions

import torch
import yaml

ROOT = Path(__file__).parent.parent
SKIPPED_STEPS = 4  # the first ones allocate and warm up
SHORT = "--max_steps 20 --eval_strategy no --load_best_model_at_end false --early_stopping_patience 0 --save_strategy no"
SHORT += " --num_held_out 2 --max_new_tokens 4 --eval_steps 1000"

Run = tuple[str, str, str, str]  # a recipe, its configuration, accelerate's configuration, a variant or ""


def launch(run: Run, flags: list[str], gpus: list[int], args: argparse.Namespace, row_name: str | None) -> dict:
    """Runs a recipe on some of the GPUs and returns what it measured.

    Args:
        run: What to run.
        flags: Those of the data and of the variant.
        gpus: A process runs on each of them.
        args: The benchmark's `output_dir`, where the model is, and `timeout`.
        row_name: See `benchmark`.
    """
    recipe, config, stage, variant = run
    name = "_".join([recipe, config, stage, str(len(gpus)), *([variant] if variant else [])])
    folder, model = args.output_dir / name, args.output_dir / recipe
    arguments = ["--config", f"{config}.yaml", *SHORT.split(), "--model_name_or_path", str(model), "--output_dir", str(folder)]
    command = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", f"accelerate_configs/{stage}.yaml"]
    command += ["--num_processes", str(len(gpus)), "--main_process_port", "0", f"recipes/{recipe}/train.py"]
    entry = {"recipe": recipe, "configuration": f"{config}.yaml", "stage": stage, "gpus": len(gpus), "variant": variant}
    env = os.environ | {"CUDA_VISIBLE_DEVICES": ",".join(map(str, gpus))}
    log_path = folder.with_suffix(".log")
    with open(log_path, "w") as log:
        process = subprocess.Popen([*command, *arguments, *flags], cwd=ROOT, env=env, stdout=log, stderr=log)
        try:
            process.wait(timeout=args.timeout)
        except subprocess.TimeoutExpired:
            process.terminate()
            process.wait()
            return entry | {"stopped by the time limit, s": args.timeout, "log": log_path.read_text()[-1500:]}
    if process.returncode != 0:
        return entry | {"exit code": process.returncode, "log": log_path.read_text()[-3000:]}
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    steps = [row for row in rows if "loss" in row and "num_tokens" in row]
    first, last, counted = steps[SKIPPED_STEPS - 1], steps[-1], len(steps) - SKIPPED_STEPS
    tokens, seconds = last["num_tokens"] - first["num_tokens"], last["seconds"] - first["seconds"]
    if row_name:
        settings = yaml.safe_load((folder / "config.yaml").read_text())
        update = settings["per_device_train_batch_size"] * settings["gradient_accumulation_steps"] * len(gpus)
        speed = update * counted / seconds
        entry |= {f"{row_name}/s": round(speed, 2), f"{row_name}/s/GPU": round(speed / len(gpus), 2)}
        entry[f"{row_name} a step"] = update
    return entry | {
        "tokens/s": round(tokens / seconds),
        "tokens/s/GPU": round(tokens / seconds / len(gpus)),
        "tokens a step": round(tokens / counted),
        "median loss": round(sorted(row["loss"] for row in steps)[len(steps) // 2], 2),
        "peak GPU memory GiB": rows[-1]["peak_memory_gib"],
        "warnings in the log": sum("warn" in line.lower() for line in log_path.read_text().splitlines()),
    }


def benchmark(
    description: str,
    stages: dict[str, list[tuple[list[int], list[Run]]]],
    variants: dict[str, str],
    models: dict[str, Callable[[Path], list[str]]],
    row_name: str | None = None,
) -> None:
    """Runs the command line of a benchmark; the record is written anew after each run.

    Args:
        description: The benchmark's docstring.
        stages: Each holds lanes that go side by side on GPUs of their own; the runs of a lane go one after the other. A run
            gets one process for each GPU of its lane.
        variants: By name the flags that differ from the configuration.
        models: For each recipe what saves its model into a folder, and returns the flags that name its data.
        row_name: What a row of the data is, in the plural, where rows are never packed: their number a second is recorded too.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output_dir", type=Path, required=True, help="a new folder for the runs")
    parser.add_argument("--results", type=Path, required=True, help="the JSON file to write")
    parser.add_argument("--stages", nargs="+", default=list(stages), choices=list(stages))
    parser.add_argument("--variants", nargs="*", default=list(variants), choices=list(variants))
    parser.add_argument("--timeout", type=float, default=200, help="seconds for each run")
    parser.add_argument("--stop_after", type=float, default=3600, help="seconds after which no run is begun")
    args = parser.parse_args()
    started = time.monotonic()
    args.output_dir.mkdir(parents=True)
    recipes = {recipe for stage in args.stages for _, lane in stages[stage] for recipe, *_ in lane}
    data_flags = {recipe: models[recipe](args.output_dir / recipe) for recipe in recipes}
    record = {"date": datetime.date.today().isoformat(), "command": " ".join(["python", *sys.argv]), **versions(), "runs": []}
    writing = threading.Lock()

    def run_lane(gpus: list[int], lane: list[Run]) -> None:
        for run in lane:
            recipe, variant = run[0], run[-1]
            if variant and variant not in args.variants:
                continue
            if time.monotonic() - started > args.stop_after:
                print(f"{' '.join(run)}: not begun, {args.stop_after:.0f} s are over", flush=True)
                continue
            flags = [*data_flags[recipe], *(variants[variant].split() if variant else [])]
            entry = launch(run, flags, gpus, args, row_name)
            with writing:
                record["runs"].append(entry)
                print("RESULT", json.dumps(entry), f"at {time.monotonic() - started:.0f} s", flush=True)
                args.results.write_text(json.dumps(record, indent=1) + "\n")

    for name in args.stages:
        lanes = [(gpus, lane) for gpus, lane in stages[name] if max(gpus) < torch.cuda.device_count()]
        with ThreadPoolExecutor(len(lanes) or 1) as pool:
            list(pool.map(lambda lane: run_lane(*lane), lanes))
