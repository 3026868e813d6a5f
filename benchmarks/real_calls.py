"""A real model learns to call tools that it has not seen: the questions of BFCL before and after, and what is forgotten.

    python benchmarks/real_calls.py --bfcl path/to/bfcl --glaive glaive_toolcall_en_demo.json --chat alpaca_en_demo.json \
        --output_dir /tmp/calls --results benchmarks/results/real_calls.json

Writes the generated conversations, asks the pretrained model BFCL's questions, then for each seed trains it with real.yaml by
the recipe's own command and asks them again; prints a table. Needs `make real-model`.
"""

import argparse
import datetime
import json
import re
import subprocess
import sys
import time
from pathlib import Path

from common.data.runs import read_rows
from common.report.numbers import format_value
from common.run.record import versions

from learn import LAUNCHER, ROOT

RECIPE = "recipes/trl_function_calling"
COLUMNS = {
    "simple": ("simple_python", "exact_call"),
    "simple: right function": ("simple_python", "function_name"),
    "parallel": ("parallel", "exact_call"),
    "parallel: right functions": ("parallel", "function_name"),
    "irrelevance": ("irrelevance", "irrelevance"),
    "simple: anything called": ("simple_python", "relevance"),
}


def launch(script: str, flags: list[str], log_path: Path) -> str:
    """Runs a recipe's script by its launch command; returns what it printed, which is kept in a file as well."""
    command = [*LAUNCHER, "--config_file", "accelerate_configs/zero2.yaml", "--num_processes", "1", script, *flags]
    with open(log_path, "w", encoding="utf-8") as log:
        subprocess.run(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, check=True)
    return log_path.read_text(encoding="utf-8")


def read_printed(text: str) -> dict[str, dict[str, str]]:
    """Returns what evaluate.py printed: by category and metric, the value and its interval."""
    found: dict[str, dict[str, str]] = {}
    for line in text.splitlines():
        if heading := re.fullmatch(r"(\w+): (\d+) problems", line):
            category = found.setdefault(heading[1], {"questions": heading[2]})
        elif found and (metric := re.fullmatch(r"  (\w+) +(\S+)(?: +95 % interval (\[.+\]))?", line)):
            category[metric[1]] = f"{metric[2]} {metric[3] or ''}".strip()
    return found


def row_of(name: str, measured: dict[str, dict[str, str]], chat_loss: str, seconds: str) -> list[str]:
    """Returns a line of the table."""
    values = [measured[category][metric] for category, metric in COLUMNS.values() if category in measured]
    return [name, *values, chat_loss, seconds]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bfcl", type=Path, required=True, help="the folder with BFCL's files")
    parser.add_argument("--glaive", type=Path, required=True, help="real conversations with tools to train on")
    parser.add_argument("--chat", type=Path, required=True, help="plain chat")
    parser.add_argument("--output_dir", type=lambda path: Path(path).resolve(), required=True, help="a new folder for the runs")
    parser.add_argument("--results", type=Path, required=True, help="the JSON file to write")
    parser.add_argument("--model", default=str(ROOT / "pretrained" / "SmolLM2-135M-Instruct"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--count", type=int, default=12_000, help="generated conversations")
    parser.add_argument("--flags", default="", help="of train.py and evaluate.py")
    args = parser.parse_args()
    args.output_dir.mkdir(parents=True)
    generated = args.output_dir / "many_tools.jsonl"
    writer = [sys.executable, f"{RECIPE}/lesson/many_tools.py", "--output_file", str(generated), "--count", str(args.count)]
    subprocess.run(writer, cwd=ROOT, check=True)

    bfcl = ["--dataset_name", str(args.bfcl.resolve()), *args.flags.split()]
    data = [f"{generated.resolve()}:20", f"{args.glaive.resolve()}:1"]  # as in real.yaml
    trained = ["--config", "real.yaml", "--model_name_or_path", args.model, "--dataset_name", *data]
    trained += ["--chat_dataset_name", str(args.chat.resolve()), *args.flags.split()]
    record = {"date": datetime.date.today().isoformat(), "command": " ".join(["python", *sys.argv]), **versions(), "models": []}

    def add(name: str, measured: dict[str, dict[str, str]], chat_loss: str, seconds: str) -> None:
        row = row_of(name, measured, chat_loss, seconds)
        if not record["models"]:
            columns = [column for column, (category, _) in COLUMNS.items() if category in measured]
            print("| model | " + " | ".join(columns) + " | chat loss | seconds |\n|" + "---|" * (len(columns) + 3), flush=True)
        print("| " + " | ".join(row) + " |", flush=True)
        record["models"].append({"model": name, **measured, "chat loss": chat_loss, "seconds of training": seconds})
        args.results.write_text(json.dumps(record, indent=1) + "\n")

    before = ["--config", "real.yaml", "--model_name_or_path", args.model, *bfcl]
    measured = read_printed(launch(f"{RECIPE}/evaluate.py", before, args.output_dir / "before.log"))
    for seed in args.seeds:
        folder = args.output_dir / f"seed_{seed}"
        started = time.monotonic()
        launch(f"{RECIPE}/train.py", [*trained, "--seed", str(seed), "--output_dir", str(folder)], folder.with_suffix(".log"))
        seconds = f"{time.monotonic() - started:.0f}"
        rows = read_rows(folder / "metrics.jsonl")
        losses = [format_value(row["metrics"]["loss"]) for row in rows if row.get("split") == "plain_chat"]
        if seed == args.seeds[0]:
            add("as it was pretrained", measured, losses[0], "")
        asked = ["--model_name_or_path", str(folder), *bfcl]
        after = read_printed(launch(f"{RECIPE}/evaluate.py", asked, args.output_dir / f"after_{seed}.log"))
        add(f"trained, seed {seed}", after, losses[-1], seconds)


if __name__ == "__main__":
    main()
