"""The tiny run of a recipe with several seeds: does it always learn, and how long does it take?

    python benchmarks/seeds.py trl_function_calling --output_dir /tmp/seeds --results benchmarks/results/NAME.json

Gives the recipe's own launch command, one run after the other, and prints a table of what the runs left in metrics.jsonl.
CPU seconds are those of the whole command, imports included: on a busy machine they say more than the time on the clock.
"""

import argparse
import datetime
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

from common.data.runs import read_rows
from common.report.numbers import format_value
from common.run.record import versions

ROOT = Path(__file__).parent.parent
# For each recipe: the ZeRO stages and numbers of processes to run, perhaps with flags, and the columns: before or after, set,
# metric.
RECIPES = {
    "grpo_math": (
        [("zero3", 1), ("zero3", 2)],
        {
            "before": (0, "held_out", "accuracy"),
            "after": (-1, "held_out", "accuracy"),
            "unseen numbers after": (-1, "unseen_numbers", "accuracy"),
            "thinks before": (0, "held_out", "thinking_share"),
            "thinks after": (-1, "held_out", "thinking_share"),
        },
    ),
    "sft_instruct": (
        [("zero2", 1), ("zero3", 1)],
        {
            "before": (0, "held_out", "exact_match"),
            "after": (-1, "held_out", "exact_match"),
            "token F1 after": (-1, "held_out", "token_f1"),
            "unseen facts after": (-1, "unseen_facts", "exact_match"),
        },
    ),
    "multi_agent_grpo": (
        [("zero3", 1)],
        {
            "vote before": (0, "held_out", "vote"),
            "vote after": (-1, "held_out", "vote"),
            "confidence": (-1, "held_out", "confidence_vote"),
            "mean of logits": (-1, "held_out", "mean_logits"),
            "aggregator": (-1, "held_out", "aggregator"),
            "best agent of the team": (-1, "held_out", "backwards"),
            "one trained alone": (-1, "held_out", "single_agent"),
            "its self-consistency": (-1, "held_out", "self_consistency"),
        },
    ),
    "ocr_vision_language": (
        [
            ("zero2", 1),
            ("zero3", 1),
            ("zero2", 2, "--learning_rate 3e-3"),  # half the updates, each of twice the rows
            ("zero3", 2, "--learning_rate 3e-3"),
        ],
        {
            "CER before": (0, "held_out", "character_error_rate"),
            "CER after": (-1, "held_out", "character_error_rate"),
            "read exactly after": (-1, "held_out", "exact_match"),
            "unseen font CER before": (0, "unseen_font", "character_error_rate"),
            "unseen font CER after": (-1, "unseen_font", "character_error_rate"),
        },
    ),
    "gpt_oss_multilingual": (
        [("zero2", 1), ("zero3", 1)],
        {
            "thinks as asked before": (0, "held_out", "thinking_language"),
            "thinks as asked after": (-1, "held_out", "thinking_language"),
            "answers before": (0, "held_out", "answer"),
            "answers after": (-1, "held_out", "answer"),
            "harmony format after": (-1, "held_out", "harmony_format"),
            "thinks in Korean after": (-1, "other_languages", "thinking_language"),
        },
    ),
    "trl_function_calling": (
        [("zero2", 1), ("zero3", 1)],
        {
            "exact call before": (0, "held_out", "exact_call"),
            "exact call after": (-1, "held_out", "exact_call"),
            "several calls after": (-1, "held_out", "parallel_call"),
            "no tool fits after": (-1, "held_out", "irrelevance"),
            "asks back after": (-1, "held_out", "asks_back"),
            "final answer after": (-1, "held_out", "final_answer"),
            "unseen tools after": (-1, "unseen_tools", "exact_call"),
            "chat loss before": (0, "plain_chat", "loss"),
            "chat loss after": (-1, "plain_chat", "loss"),
        },
    ),
}


def cpu_seconds() -> float:
    """Returns what all ended child processes have used."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measure(recipe: str, seed: int, folder: Path, stage: str, num_processes: int, flags: str = "") -> dict[str, int | str]:
    """Runs a recipe once and returns a row of the table."""
    arguments = f"--config_file accelerate_configs/{stage}.yaml --num_processes {num_processes} --main_process_port 0 "
    arguments += f"recipes/{recipe}/train.py --seed {seed} --output_dir {folder} {flags}"
    used = cpu_seconds()
    with open(folder.with_suffix(".log"), "w") as log:
        command = [sys.executable, "-m", "accelerate.commands.launch", *arguments.split()]
        subprocess.run(command, cwd=ROOT, stdout=log, stderr=log, check=True)
    used = cpu_seconds() - used
    rows = read_rows(folder / "metrics.jsonl")
    evaluations = [row for row in rows if "split" in row]
    values: dict[str, int | str] = {"seed": seed, "stage": stage, "processes": num_processes}
    for column, (position, split, metric) in RECIPES[recipe][1].items():
        values[column] = format_value([row for row in evaluations if row["split"] == split][position]["metrics"][metric])
    return values | {"seconds": round(rows[-1]["seconds"]), "CPU seconds": round(used)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", choices=list(RECIPES))
    parser.add_argument("--output_dir", type=Path, required=True, help="a new folder for the runs")
    parser.add_argument("--results", type=Path, required=True, help="the JSON file to write")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    args = parser.parse_args()
    args.output_dir.mkdir(parents=True)
    record = {"date": datetime.date.today().isoformat(), "cores": len(os.sched_getaffinity(0)), **versions(), "runs": []}
    for launch in RECIPES[args.recipe][0]:
        for seed in args.seeds:
            values = measure(args.recipe, seed, args.output_dir / f"{seed}_{launch[0]}_{launch[1]}", *launch)
            if not record["runs"]:
                print("| " + " | ".join(values) + " |\n|" + "---|" * len(values), flush=True)
            print("| " + " | ".join(map(str, values.values())) + " |", flush=True)
            record["runs"].append(values)
            args.results.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
