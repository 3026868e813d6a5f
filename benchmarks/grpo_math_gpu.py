"""grpo_math on one and two GPUs: the tiny run's accuracy, and time and memory of the full-size configurations.

    python benchmarks/grpo_math_gpu.py --gsm8k train.jsonl --output_dir /tmp/bench --results benchmarks/results/NAME.json

Runs the recipe's own launch command with each configuration and gathers what the runs left in metrics.jsonl. The full-size
model has the shape of Qwen2.5-1.5B and random weights, so it needs no hub: its steps cost what real ones cost when every
completion is as long as the limit, and its answers are noise. Accuracy is only read off the tiny runs.
"""

import argparse
import datetime
import json
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

from common.record import versions
from common.tiny import tiny_tokenizer

import torch
from transformers import AutoModelForCausalLM, Qwen2Config

ROOT = Path(__file__).parent.parent
TINY = ["--config", "tiny.yaml"]
FULL = "--max_steps 3 --num_train 512 --num_held_out 32 --per_device_eval_batch_size 32 --eval_steps 1000".split()
FULL += ["--save_strategy", "no"]  # a checkpoint of 20 GB at the end is not what is measured

# Each stage holds lanes that go side by side, each on GPUs of its own choice; the runs of a lane go one after the other.
# A run: name, accelerate configuration, arguments. It gets one process for each GPU of its lane.
STAGES = {
    "full": [
        [([0], [("full zero2", "zero2", FULL)]), ([1], [("full zero3", "zero3", FULL)])],
        [([0, 1], [("full zero2", "zero2", FULL)])],
        [([0, 1], [("full zero3", "zero3", FULL)])],
    ],
    "tiny": [
        [([0], [("tiny zero2", "zero2", TINY)]), ([1], [("tiny zero3", "zero3", TINY)])],
        [([0, 1], [("tiny zero2", "zero2", TINY), ("tiny zero3", "zero3", TINY)])],
    ],
    "lora": [[([0], [("lora_8gb zero2", "zero2", ["--config", "lora_8gb.yaml", *FULL])])]],
    # Where GPU time is short: the tiny runs beside the full-size ones, whose step times they disturb a little.
    "crowded": [
        [([0], [("full zero3", "zero3", FULL)]), ([1], [("tiny zero2", "zero2", TINY), ("tiny zero3", "zero3", TINY)])],
        [
            ([0, 1], [("full zero3", "zero3", FULL)]),
            ([0, 1], [("tiny zero2", "zero2", TINY), ("tiny zero3", "zero3", TINY)]),
        ],
    ],
}


def make_full_size_model(folder: Path, gsm8k: Path, tiny: bool = False) -> None:
    """Saves a model of Qwen2.5-1.5B's shape with random weights, and a small tokenizer with Qwen's chat format.

    With `tiny` it is of the same kind and small, to rehearse a benchmark without a GPU.
    """
    tokenizer = tiny_tokenizer(gsm8k.read_text().splitlines()[:2000], vocab_size=8192)
    config = Qwen2Config(
        vocab_size=8192 if tiny else 151936,
        hidden_size=96 if tiny else 1536,
        intermediate_size=256 if tiny else 8960,
        num_hidden_layers=2 if tiny else 28,
        num_attention_heads=12,
        num_key_value_heads=2,
        max_position_embeddings=32768,
        tie_word_embeddings=True,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    torch.manual_seed(0)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def launch(name: str, config: str, arguments: list[str], gpus: list[int], args: argparse.Namespace) -> dict:
    """Runs the recipe on some of the GPUs and returns what it measured."""
    folder = args.output_dir / f"{name.replace(' ', '_')}_{len(gpus)}"
    command = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", f"accelerate_configs/{config}.yaml"]
    command += ["--num_processes", str(len(gpus)), "--main_process_port", "0", "recipes/grpo_math/train.py", *arguments]
    if "tiny" not in name:
        command += ["--model_name_or_path", str(args.output_dir / "model"), "--dataset_name", str(args.gsm8k.resolve())]
    env = os.environ | {"CUDA_VISIBLE_DEVICES": ",".join(map(str, gpus))}
    with open(folder.with_suffix(".log"), "w") as log:
        process = subprocess.Popen([*command, "--output_dir", str(folder)], cwd=ROOT, env=env, stdout=log, stderr=log)
        try:
            process.wait(timeout=args.timeout)
        except subprocess.TimeoutExpired:
            process.terminate()
            process.wait()
            return {"run": name, "gpus": len(gpus), "stopped by the time limit, s": args.timeout}
    return result(name, len(gpus), folder, process.returncode)


def result(name: str, num_processes: int, folder: Path, returncode: int | None) -> dict:
    """Reads a finished run's metrics."""
    entry = {"run": name, "gpus": num_processes, "exit code": returncode}
    if returncode != 0:
        entry["log"] = folder.with_suffix(".log").read_text()[-3000:]
        return entry
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    steps = [row for row in rows if "step_time" in row]
    # The first step compiles and allocates: it is shown apart, or it would hide what the others cost.
    entry["first step s"], entry["median later step s"] = (
        round(steps[0]["step_time"], 2),
        round(median(row["step_time"] for row in steps[1:]), 2),
    )
    entry["completion tokens a step"] = round(median(row["completions/mean_length"] for row in steps[1:]))
    entry["seconds in all"], entry["peak GPU memory GiB"] = rows[-1]["seconds"], rows[-1]["peak_memory_gib"]
    for row in rows:
        if row.get("split") == "held_out" and name.startswith("tiny"):
            entry.setdefault("accuracy by step", {})[row["step"]] = row["metrics"]["accuracy"]["value"]
    return entry


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gsm8k", type=Path, required=True, help="GSM8K's train.jsonl")
    parser.add_argument("--output_dir", type=Path, required=True, help="a new folder for the runs")
    parser.add_argument("--results", type=Path, required=True, help="the JSON file to write")
    parser.add_argument("--stages", nargs="+", default=["full", "tiny", "lora"], choices=list(STAGES))
    parser.add_argument("--timeout", type=float, default=240, help="seconds for each run")
    args = parser.parse_args()
    args.output_dir.mkdir(parents=True)
    if set(args.stages) != {"tiny"}:
        make_full_size_model(args.output_dir / "model", args.gsm8k)
    record = {"date": datetime.date.today().isoformat(), "command": " ".join(["python", *sys.argv]), **versions(), "runs": []}
    writing = threading.Lock()

    def run_lane(gpus: list[int], runs: list[tuple[str, str, list[str]]]) -> None:
        for name, config, arguments in runs:
            entry = launch(name, config, arguments, gpus, args)
            with writing:
                record["runs"].append(entry)
                print("RESULT", json.dumps(entry), flush=True)
                args.results.write_text(json.dumps(record, indent=1) + "\n")

    for lanes in (stage for name in args.stages for stage in STAGES[name]):
        lanes = [(gpus, runs) for gpus, runs in lanes if max(gpus) < torch.cuda.device_count()]
        with ThreadPoolExecutor(len(lanes) or 1) as pool:
            list(pool.map(lambda lane: run_lane(*lane), lanes))


if __name__ == "__main__":
    main()
