"""The tiny run with three seeds on one and two processes: does it always learn, and how long does it take?

    python benchmarks/grpo_math_seeds.py --output_dir /tmp/seeds --results benchmarks/results/grpo_math_seeds.json

Gives the recipe's own launch command, one run after the other, and prints a table of what the runs left in metrics.jsonl.
"""

import argparse
import datetime
import json
import os
import subprocess
import sys
from pathlib import Path

from common.record import versions

ROOT = Path(__file__).parent.parent
COLUMNS = ["seed", "processes", "before", "after", "unseen numbers after", "thinks before", "thinks after", "seconds"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output_dir", type=Path, required=True, help="a new folder for the runs")
    parser.add_argument("--results", type=Path, required=True, help="the JSON file to write")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--num_processes", type=int, nargs="+", default=[1, 2])
    args = parser.parse_args()
    args.output_dir.mkdir(parents=True)
    record = {"date": datetime.date.today().isoformat(), "cores": len(os.sched_getaffinity(0)), **versions(), "runs": []}
    print("| " + " | ".join(COLUMNS) + " |\n|" + "---|" * len(COLUMNS), flush=True)
    for num_processes in args.num_processes:
        for seed in args.seeds:
            folder = args.output_dir / f"seed{seed}_{num_processes}"
            arguments = f"--config_file accelerate_configs/zero3.yaml --num_processes {num_processes} "
            arguments += f"recipes/grpo_math/train.py --seed {seed} --output_dir {folder}"
            command = [sys.executable, "-m", "accelerate.commands.launch", *arguments.split()]
            with open(folder.with_suffix(".log"), "w") as log:
                subprocess.run(command, cwd=ROOT, stdout=log, stderr=log, check=True)
            rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
            found = {(row["split"], row["step"]): row["metrics"] for row in rows if "split" in row}
            first, last = found["held_out", 0], found["held_out", rows[-1]["step"]]
            unseen = found["unseen_numbers", rows[-1]["step"]]
            shares = [first["accuracy"], last["accuracy"], unseen["accuracy"], first["thinking_share"], last["thinking_share"]]
            values = [seed, num_processes, *(f"{share['value']:.1%}" for share in shares), round(rows[-1]["seconds"])]
            record["runs"].append(dict(zip(COLUMNS, values, strict=True)))
            args.results.write_text(json.dumps(record, indent=1) + "\n")
            print("| " + " | ".join(map(str, values)) + " |", flush=True)


if __name__ == "__main__":
    main()
