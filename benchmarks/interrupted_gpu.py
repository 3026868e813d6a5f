"""Runs on GPUs that are killed and continued, beside one that is not: the loss of every step, and the final weights.

    python benchmarks/interrupted_gpu.py --output_dir /tmp/interrupted --results benchmarks/results/NAME.json

Gives a recipe's own launch command for four runs: the first goes to its end, one is killed (SIGKILL to the launcher and to all
it started), one is ended as a scheduler does it (SIGTERM to the launcher), and these two are continued by the same command.
With `--stops whole rank` only the process of rank 1 is killed, and the launcher ends the others. On GPUs some kernels add in
another order each time, so that even two runs that nobody touched may differ: a second whole run says by how much. The model
has the shape of Qwen2.5-0.5B and random weights; the data are those of the recipe's lesson.
"""

import argparse
import datetime
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from common.data.runs import read_rows
from common.models.tiny import tiny_tokenizer
from common.run.record import versions

import psutil
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, LlamaConfig, Qwen2Config

from gpu import save_random_model
from launching import ROOT

STEPS, SAVE_STEPS = 12, 4
COMMON = (
    f"--max_steps {STEPS} --save_steps {SAVE_STEPS} --save_total_limit 2 --num_held_out 8 --logging_steps 1 --eval_steps 1000"
)
FLAGS = {
    "sft_instruct": "--num_train 400 --per_device_train_batch_size 2 --gradient_accumulation_steps 2 --max_length 128 "
    "--eval_strategy no --load_best_model_at_end false --early_stopping_patience 0 --max_new_tokens 4",
    "grpo_math": "--num_train 400 --per_device_train_batch_size 8 --gradient_accumulation_steps 2 --num_generations 4 "
    "--max_completion_length 24 --learning_rate 1e-6",
}
SIZES = {"vocab_size": 151936, "hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24}
SMALL = {"vocab_size": 1024, "hidden_size": 112, "intermediate_size": 256, "num_hidden_layers": 2}


def make_model(recipe: str, folder: Path, sizes: dict[str, int]) -> None:
    """Saves a model with random weights and a small tokenizer with the chat format of its family."""
    family, config_class = {"sft_instruct": ("llama", LlamaConfig), "grpo_math": ("qwen3", Qwen2Config)}[recipe]
    words = " ".join((ROOT / "recipes" / recipe / "README.md").read_text().split())
    tokenizer = tiny_tokenizer([words], family, vocab_size=1024)
    ids = {"bos_token_id": None, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    config = config_class(num_attention_heads=14, num_key_value_heads=2, max_position_embeddings=4096, **sizes, **ids)
    save_random_model(AutoModelForCausalLM, config, tokenizer, folder)


def stop(launcher: psutil.Process, how: str) -> list[psutil.Process]:
    """Stops what a launcher started, or a part of it; returns all of it."""
    family = launcher.children(recursive=True)
    if how == "rank":
        next(one for one in launcher.children() if one.environ().get("RANK") == "1").kill()
    elif how == "SIGKILL":
        for one in [*family, launcher]:
            with suppress(psutil.NoSuchProcess):
                one.kill()
    else:
        launcher.terminate()
    return family


def launch(command: list[str], log: Path, timeout: float, stop_at: Path | None = None, how: str = "", wait: float = 0) -> int:
    """Gives a command; perhaps stops it some seconds after a file has appeared. Returns its exit code."""
    with open(log, "a", encoding="utf-8") as file:
        process = subprocess.Popen(command, cwd=ROOT, stdout=file, stderr=file, start_new_session=True)
    deadline = time.monotonic() + timeout
    while process.poll() is None and time.monotonic() < deadline:
        if stop_at is not None and stop_at.exists():
            time.sleep(wait)
            psutil.wait_procs(stop(psutil.Process(process.pid), how), timeout=120)
            return process.wait(timeout=120)
        time.sleep(0.1)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        raise TimeoutError(f"{' '.join(command)} took more than {timeout:.0f} s: see {log}")
    return process.returncode


def losses(folder: Path) -> dict[int, float]:
    """Returns step -> loss of a run."""
    return {row["step"]: row["loss"] for row in read_rows(folder / "metrics.jsonl") if "loss" in row}


def compare(folder: Path, whole: Path) -> dict[str, float | int]:
    """Returns how far a run's losses and weights are from those of another."""
    mine, other = losses(folder), losses(whole)
    weights, others = load_file(folder / "model.safetensors"), load_file(whole / "model.safetensors")
    return {
        "steps": len(mine),
        "largest difference of a loss": max(abs(mine[step] - other[step]) for step in other),
        "tensors that differ": sum(not weights[name].equal(others[name]) for name in others),
        "tensors": len(others),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output_dir", type=lambda path: Path(path).resolve(), required=True, help="a new folder for the runs")
    parser.add_argument("--results", type=Path, required=True, help="the JSON file to write")
    parser.add_argument("--recipe", choices=list(FLAGS), default="sft_instruct")
    parser.add_argument("--stage", default="zero3", help="name of one of accelerate's configurations")
    parser.add_argument("--num_processes", type=int, default=2)
    parser.add_argument("--timeout", type=float, default=200, help="seconds for each run")
    stops = ["whole", "SIGKILL", "SIGTERM", "again"]
    parser.add_argument("--stops", nargs="+", default=stops, choices=[*stops, "rank"], help="how the runs end, `whole` first")
    parser.add_argument("--small", action="store_true", help="a model of two small layers, to rehearse without a GPU")
    args = parser.parse_args()
    args.output_dir.mkdir(parents=True)
    model = args.output_dir / "model"
    make_model(args.recipe, model, SMALL if args.small else SIZES)

    def command(folder: Path) -> list[str]:
        launcher = [sys.executable, "-m", "accelerate.commands.launch", "--main_process_port", "0"]
        launcher += ["--config_file", f"accelerate_configs/{args.stage}.yaml", "--num_processes", str(args.num_processes)]
        settings = ["--config", "config.yaml", "--dataset_name", "synthetic", "--model_name_or_path", str(model)]
        flags = [*COMMON.split(), *FLAGS[args.recipe].split(), "--output_dir", str(folder)]
        return [*launcher, f"recipes/{args.recipe}/train.py", *settings, *flags]

    rng = random.Random(0)
    record = {"date": datetime.date.today().isoformat(), "command": " ".join(["python", *sys.argv]), **versions(), "runs": []}
    whole = args.output_dir / "whole"
    for name in args.stops:
        folder, log = args.output_dir / name, args.output_dir / f"{name}.log"
        entry: dict = {"recipe": args.recipe, "stage": args.stage, "processes": args.num_processes, "stopped by": name}
        entry["small"] = args.small
        if name not in ("whole", "again"):
            stop_at, wait = folder / f"checkpoint-{SAVE_STEPS}" / "complete", rng.random()
            started = time.monotonic()
            entry["exit code when stopped"] = launch(command(folder), log, args.timeout, stop_at, name, wait)
            entry["stopped after, s"] = round(time.monotonic() - started, 1)
            entry["steps when stopped"] = max(losses(folder), default=0)
        code = launch(command(folder), log, args.timeout)
        entry["exit code"] = code
        for checkpoint in folder.glob("checkpoint-*"):  # 9 GB each
            shutil.rmtree(checkpoint)
        if code == 0 and name != "whole":
            entry |= compare(folder, whole)
        elif code != 0:
            lines = log.read_text().splitlines()
            entry["log"] = [line[:300] for line in lines if "rror" in line or "Continuing" in line or "saved step" in line][:30]
        record["runs"].append(entry)
        print("RESULT", json.dumps(entry), flush=True)
        args.results.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
