"""multi_agent_grpo on one and two GPUs: time, tokens a second and memory of the full-size team.

    python benchmarks/multi_agent_gpu.py --gsm8k train.jsonl --output_dir /tmp/bench --results benchmarks/results/NAME.json

Runs the recipe's own launch command for three steps of the team, without the aggregator and the baseline, whose steps cost what
those of grpo_math cost. The model has the shape of Qwen2.5-1.5B and random weights (see grpo_math_gpu.py): every completion is
as long as the limit. `--shape tiny` rehearses all of it without a GPU.
"""

import argparse
import datetime
import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median

from common.record import versions

import torch
import yaml

from grpo_math_gpu import make_full_size_model

ROOT = Path(__file__).parent.parent
SHORT = "--max_steps 3 --num_train 64 --num_held_out 4 --aggregator_steps 0 --eval_steps 1000 --save_strategy no".split()
SHORT += ["--single_agent", ""]
TINY = "--dtype float32 --max_completion_length 16 --per_device_train_batch_size 32 --gradient_accumulation_steps 1".split()
ADAPTERS = ["--config", "lora_8gb.yaml", "--adapter_per_agent", "true", "--max_steps", "2"]

# A run: name, accelerate configuration, GPUs, arguments.
RUNS = [
    ("full zero2", "zero2", 1, []),
    ("full zero3", "zero3", 1, []),
    ("full zero2", "zero2", 2, []),
    ("full zero3", "zero3", 2, []),
    ("lora_8gb zero2", "zero2", 1, ["--config", "lora_8gb.yaml"]),
    ("lora_8gb zero2, adapter_per_agent", "zero2", 1, ADAPTERS),
]


def measure(name: str, config: str, num_processes: int, arguments: list[str], args: argparse.Namespace) -> dict:
    """Runs the recipe and returns what it measured."""
    folder = args.output_dir / f"{name.replace(' ', '_').replace(',', '')}_{num_processes}"
    command = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", f"accelerate_configs/{config}.yaml"]
    command += ["--num_processes", str(num_processes), "--main_process_port", "0", "recipes/multi_agent_grpo/train.py"]
    command += [*([] if "--config" in arguments else ["--config", "config.yaml"]), *SHORT, *arguments]
    command += ["--model_name_or_path", str(args.output_dir / "model"), "--dataset_name", str(args.gsm8k.resolve())]
    command += TINY if args.shape == "tiny" else []
    env = os.environ | {"CUDA_VISIBLE_DEVICES": ",".join(map(str, range(num_processes)))}
    entry = {"run": name, "gpus": num_processes}
    with open(folder.with_suffix(".log"), "w") as log:
        process = subprocess.Popen([*command, "--output_dir", str(folder)], cwd=ROOT, env=env, stdout=log, stderr=log)
        try:
            process.wait(timeout=args.timeout)
        except subprocess.TimeoutExpired:
            process.terminate()
            process.wait()
            return entry | {"stopped by the time limit, s": args.timeout}
    if process.returncode != 0:
        return entry | {"exit code": process.returncode, "log": folder.with_suffix(".log").read_text()[-3000:]}
    # In turns the last agent's is the dearest: it trains beside all the other adapters.
    part = folder / ("backwards" if "adapter_per_agent" in name else "team")
    rows = [json.loads(line) for line in (part / "metrics.jsonl").read_text().splitlines()]
    settings = yaml.safe_load((part / "config.yaml").read_text())
    steps = [row for row in rows if "step_time" in row]
    later = median(row["step_time"] for row in steps[1:])
    update = settings["per_device_train_batch_size"] * settings["gradient_accumulation_steps"] * num_processes
    tokens = (steps[-1]["num_tokens"] - steps[0]["num_tokens"]) / (len(steps) - 1)
    return entry | {
        "completions a step": update,
        "completion tokens, mean": round(median(row["completions/mean_length"] for row in steps)),
        "first step s": round(steps[0]["step_time"], 2),
        "median later step s": round(later, 2),
        "tokens/s, prompts included": round(tokens / later),
        "sampled tokens/s": round(update * median(row["completions/mean_length"] for row in steps) / later),
        "peak memory GiB, of the GPU if there is one": rows[-1]["peak_memory_gib"],
        "warnings in the log": sum("warn" in line.lower() for line in folder.with_suffix(".log").read_text().splitlines()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gsm8k", type=Path, required=True, help="GSM8K's train.jsonl")
    parser.add_argument("--output_dir", type=Path, required=True, help="a new folder for the runs")
    parser.add_argument("--results", type=Path, required=True, help="the JSON file to write")
    parser.add_argument("--shape", choices=["full", "tiny"], default="full", help="`tiny` rehearses without a GPU")
    parser.add_argument("--runs", type=int, nargs="+", default=list(range(len(RUNS))), help="which of the runs, from 0")
    parser.add_argument("--timeout", type=float, default=300, help="seconds for each run")
    args = parser.parse_args()
    args.output_dir.mkdir(parents=True)
    make_full_size_model(args.output_dir / "model", args.gsm8k, tiny=args.shape == "tiny")
    record = {"date": datetime.date.today().isoformat(), "command": " ".join(["python", *sys.argv]), **versions(), "runs": []}
    for name, config, num_processes, arguments in (RUNS[number] for number in args.runs):
        if args.shape == "full" and num_processes > torch.cuda.device_count():
            continue
        entry = measure(name, config, num_processes, arguments, args)
        record["runs"].append(entry)
        print("RESULT", json.dumps(entry), flush=True)
        args.results.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
