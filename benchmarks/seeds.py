"""The tiny run of a recipe with several seeds: does it always learn, and how long does it take?

    python benchmarks/seeds.py trl_function_calling --output_dir /tmp/seeds --results benchmarks/results/NAME.json

Gives the recipe's own launch command, one run after the other, and prints a table of what the runs left in metrics.jsonl: the
launches and the columns are in the recipe's lesson/expected.yaml.
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

from learn import expected_of, measured

ROOT = Path(__file__).parent.parent


def cpu_seconds() -> float:
    """Returns what all ended child processes have used."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measure(recipe: str, seed: int, folder: Path, stage: str, num_processes: int, flags: str = "") -> dict[str, int | str]:
    """Runs a recipe once and returns a row of the table."""
    arguments = f"--config_file accelerate_configs/{stage}.yaml --num_processes {num_processes} --main_process_port 0".split()
    arguments += [f"recipes/{recipe}/train.py", "--seed", str(seed), "--output_dir", str(folder), *flags.split()]
    used = cpu_seconds()
    with open(folder.with_suffix(".log"), "w", encoding="utf-8") as log:
        command = [sys.executable, "-m", "accelerate.commands.launch", *arguments]
        subprocess.run(command, cwd=ROOT, stdout=log, stderr=log, check=True)
    used = cpu_seconds() - used
    values: dict[str, int | str] = {"seed": seed, "stage": stage, "processes": num_processes}
    metrics = measured(folder / "metrics.jsonl")
    for column, name in expected_of(recipe)["columns"].items():
        values[column] = format_value(metrics[name])
    seconds = read_rows(folder / "metrics.jsonl")[-1]["seconds"]
    return values | {"seconds": round(seconds), "CPU seconds": round(used)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", help="its folder's name under recipes/")
    parser.add_argument("--output_dir", type=Path, required=True, help="a new folder for the runs")
    parser.add_argument("--results", type=Path, required=True, help="the JSON file to write")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    args = parser.parse_args()
    args.output_dir.mkdir(parents=True)
    record = {"date": datetime.date.today().isoformat(), "cores": len(os.sched_getaffinity(0)), **versions(), "runs": []}
    for launch in expected_of(args.recipe)["launches"]:
        stage, num_processes, *flags = launch.split(maxsplit=2)
        for seed in args.seeds:
            folder = args.output_dir.resolve() / f"{seed}_{stage}_{num_processes}"
            values = measure(args.recipe, seed, folder, stage, int(num_processes), *flags)
            if not record["runs"]:
                print("| " + " | ".join(values) + " |\n|" + "---|" * len(values), flush=True)
            print("| " + " | ".join(map(str, values.values())) + " |", flush=True)
            record["runs"].append(values)
            args.results.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
