"""The supervised recipes on one and two GPUs: tokens a second and memory of their configurations at full size.

    python benchmarks/sft_gpu.py --output_dir /tmp/bench --results benchmarks/results/sft_gpu.json

Runs the recipes' own launch command for 20 steps with each configuration and gathers what the runs left in metrics.jsonl. The
models have the shapes of Llama-3.2-3B and Qwen3-0.6B and random weights, the data are generated, so no hub is needed: a step
costs what a real one costs, and nothing is said about accuracy.
"""

import argparse
import datetime
import json
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from common.record import versions
from common.tiny import tiny_tokenizer

import torch
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedConfig, Qwen3Config

ROOT = Path(__file__).parent.parent
SKIPPED_STEPS = 4  # the first ones allocate and warm up
SHORT = "--max_steps 20 --eval_strategy no --load_best_model_at_end false --early_stopping_patience 0 --save_strategy no"
SHORT += " --num_held_out 2 --max_new_tokens 4 --eval_steps 1000"
SHAPES = {
    "sft_instruct": (
        "llama",
        LlamaConfig,
        {"vocab_size": 128256, "hidden_size": 3072, "intermediate_size": 8192, "num_attention_heads": 24},
    ),
    "trl_function_calling": (
        "qwen3",
        Qwen3Config,
        {"vocab_size": 151936, "hidden_size": 1024, "intermediate_size": 3072, "num_attention_heads": 16},
    ),
}
CALLING, INSTRUCT = "trl_function_calling", "sft_instruct"

# What the full-size configurations are compared with, one by one, under ZeRO-2 on one GPU: flags that differ from them.
VARIANTS = {
    "sdpa": "--attn_implementation sdpa",
    "padding": "--packing false --attn_implementation sdpa --per_device_train_batch_size 8 --gradient_accumulation_steps 1",
    "no_recompute": "--activation_checkpointing false",
    "liger": "--use_liger_kernel true",
}


def runs(recipe: str, variants: bool) -> list[tuple[str, str, str, str]]:
    """Returns the runs of a recipe: its name, its configuration, accelerate's configuration, a variant."""
    compared = [(recipe, "config", "zero2", variant) for variant in VARIANTS if variants]
    first, *others = ((recipe, config, stage, "") for config in ("config", "lora") for stage in ("zero2", "zero3"))
    return [first, *compared, *others]


# Each stage holds lanes that go side by side on GPUs of their own; the runs of a lane go one after the other.
# A run gets one process for each GPU of its lane.
STAGES = {
    "one_gpu": [([0], runs(CALLING, variants=True)), ([1], runs(INSTRUCT, variants=True))],
    "two_gpus": [([0, 1], [*runs(CALLING, variants=False), *runs(INSTRUCT, variants=False)])],
}


def make_rows(recipe: str, count: int) -> list[dict]:
    """Returns conversations with tools, or question/answer pairs of the same texts; both of about 350 tokens."""
    sys.path.insert(0, str(ROOT / "recipes" / CALLING))
    from synthetic import generate_conversations

    conversations = generate_conversations(count, seed=0)
    if recipe == CALLING:
        return [{"messages": row["messages"], "tools": row["tools"]} for row in conversations]
    return [{"question": row["messages"][0]["content"], "answer": json.dumps(row["tools"])} for row in conversations]


def make_model(recipe: str, folder: Path) -> None:
    """Saves a model of the recipe's full size with random weights, its data, and a small tokenizer of its family."""
    family, config_class, sizes = SHAPES[recipe]
    rows = make_rows(recipe, 3000)
    tokenizer = tiny_tokenizer([json.dumps(row) for row in rows[:1000]], family, vocab_size=4096)
    config: PreTrainedConfig = config_class(
        num_hidden_layers=28,
        num_key_value_heads=8,
        head_dim=128,
        max_position_embeddings=32768,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **sizes,
    )
    torch.manual_seed(0)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def launch(recipe: str, config: str, stage: str, variant: str, gpus: list[int], args: argparse.Namespace) -> dict:
    """Runs a recipe on some of the GPUs and returns what it measured."""
    name = "_".join([recipe, config, stage, str(len(gpus)), *([variant] if variant else [])])
    folder, model = args.output_dir / name, args.output_dir / recipe
    arguments = ["--config", f"{config}.yaml", *SHORT.split(), "--model_name_or_path", str(model), "--output_dir", str(folder)]
    arguments += ["--dataset_name", str(model / "rows.jsonl"), *(["--chat_dataset_name", ""] if recipe == CALLING else [])]
    arguments += VARIANTS[variant].split() if variant else []
    command = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", f"accelerate_configs/{stage}.yaml"]
    command += ["--num_processes", str(len(gpus)), "--main_process_port", "0", f"recipes/{recipe}/train.py", *arguments]
    entry = {"recipe": recipe, "configuration": f"{config}.yaml", "stage": stage, "gpus": len(gpus), "variant": variant}
    env = os.environ | {"CUDA_VISIBLE_DEVICES": ",".join(map(str, gpus))}
    log_path = folder.with_suffix(".log")
    with open(log_path, "w") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=log, stderr=log)
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
    first, last = steps[SKIPPED_STEPS - 1], steps[-1]
    tokens, seconds = last["num_tokens"] - first["num_tokens"], last["seconds"] - first["seconds"]
    return entry | {
        "tokens/s": round(tokens / seconds),
        "tokens/s/GPU": round(tokens / seconds / len(gpus)),
        "tokens a step": round(tokens / (len(steps) - SKIPPED_STEPS)),
        "median loss": round(sorted(row["loss"] for row in steps)[len(steps) // 2], 2),
        "peak GPU memory GiB": rows[-1]["peak_memory_gib"],
        "warnings in the log": sum("warn" in line.lower() for line in log_path.read_text().splitlines()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output_dir", type=Path, required=True, help="a new folder for the runs")
    parser.add_argument("--results", type=Path, required=True, help="the JSON file to write")
    parser.add_argument("--stages", nargs="+", default=list(STAGES), choices=list(STAGES))
    parser.add_argument("--variants", nargs="*", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--timeout", type=float, default=200, help="seconds for each run")
    parser.add_argument("--stop_after", type=float, default=3600, help="seconds after which no run is begun")
    args = parser.parse_args()
    started = time.monotonic()
    args.output_dir.mkdir(parents=True)
    for recipe in {recipe for stage in args.stages for _, lane in STAGES[stage] for recipe, *_ in lane}:
        make_model(recipe, args.output_dir / recipe)
    record = {"date": datetime.date.today().isoformat(), "command": " ".join(["python", *sys.argv]), **versions(), "runs": []}
    writing = threading.Lock()

    def run_lane(gpus: list[int], lane: list[tuple[str, str, str, str]]) -> None:
        for run in lane:
            if run[-1] and run[-1] not in args.variants:
                continue
            if time.monotonic() - started > args.stop_after:
                print(f"{' '.join(run)}: not begun, {args.stop_after:.0f} s are over", flush=True)
                continue
            entry = launch(*run, gpus, args)
            with writing:
                record["runs"].append(entry)
                print("RESULT", json.dumps(entry), f"at {time.monotonic() - started:.0f} s", flush=True)
                args.results.write_text(json.dumps(record, indent=1) + "\n")

    for name in args.stages:
        lanes = [(gpus, lane) for gpus, lane in STAGES[name] if max(gpus) < torch.cuda.device_count()]
        with ThreadPoolExecutor(len(lanes) or 1) as pool:
            list(pool.map(lambda lane: run_lane(*lane), lanes))


if __name__ == "__main__":
    main()
