"""Do the recipes still learn? Each tiny run once, to its end, against what its lesson/expected.yaml says of it.

    python benchmarks/learn.py                                             # all recipes, two at a time: `make learn`
    python benchmarks/learn.py sft_instruct --flags --learning_rate 0      # must fail
    python benchmarks/learn.py --shuffled                                  # with answers dealt out anew: must not be learned

Gives the launch command of each recipe's README as on a machine without a GPU and without a hub, prints a table of what was
measured, and ends with 1 if a run stopped or did not reach its limits.
"""

import argparse
import json
import operator
import os
import re
import shlex
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
COMPARE = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
# Any free port, so that two runs can go on side by side.
LAUNCHER = [sys.executable, "-m", "accelerate.commands.launch", "--main_process_port", "0"]
TIMEOUT = 1800  # seconds a run; on two cores none takes a quarter of it


def expected_of(recipe: str) -> dict[str, Any]:
    """Returns what a recipe's lesson/expected.yaml holds: limits `before`, `after` and `shuffled`, `launches` and `columns`."""
    return yaml.safe_load((ROOT / "recipes" / recipe / "lesson" / "expected.yaml").read_text())


def measured(metrics: Path) -> dict[str, dict[str, Any]]:
    """Returns what a run measured first and last.

    Args:
        metrics: Its metrics.jsonl.

    Returns:
        By `before.SPLIT.METRIC` and `after.SPLIT.METRIC` the metric, with `value` and perhaps `low` and `high`.
    """
    found = {}
    for row in map(json.loads, metrics.read_text(encoding="utf-8").splitlines()):
        for name, metric in row["metrics"].items() if "split" in row else ():
            found.setdefault(f"before.{row['split']}.{name}", metric)
            found[f"after.{row['split']}.{name}"] = metric
    return found


def holds(value: float, limit: str) -> bool:
    """Returns whether a value keeps a limit such as `>= 0.8`."""
    comparison, bound = limit.split()
    return COMPARE[comparison](value, float(bound))


def launch_command(recipe: str) -> list[str]:
    """Returns the words of the first command in a recipe's README that trains it."""
    blocks = re.findall(r"```bash\n(.*?)```", (ROOT / "recipes" / recipe / "README.md").read_text(), re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    return shlex.split(next(line for line in lines if f" recipes/{recipe}/train.py" in line), comments=True)


def learn(recipe: str, output_dir: Path, flags: list[str], is_shuffled: bool = False) -> list[tuple[str, str, str, bool]]:
    """Runs a recipe once.

    Args:
        recipe: Its name.
        output_dir: Where the run and, beside it, its log are left.
        flags: More flags for train.py.
        is_shuffled: Trains on answers dealt out anew (shuffled_labels.py), against the limits for that.

    Returns:
        For each limit what is measured, the limit, the value, and whether it holds; a single row if the run stopped.
    """
    folder, log = output_dir / recipe, output_dir / f"{recipe}.log"
    env = {name: value for name, value in os.environ.items() if not name.startswith(("ACCELERATE_", "WANDB_"))}
    env |= {"CUDA_VISIBLE_DEVICES": "", "DS_ACCELERATOR": "cpu", "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    print(f"{recipe}: started, {log}", flush=True)
    started = time.monotonic()
    with open(log, "w", encoding="utf-8") as output:
        words = launch_command(recipe)[2:]
        if is_shuffled:
            words.insert(words.index(f"recipes/{recipe}/train.py"), "benchmarks/shuffled_labels.py")
        command = [*LAUNCHER, *words, "--output_dir", str(folder), *flags]
        try:
            code = subprocess.run(command, cwd=ROOT, env=env, stdout=output, stderr=output, timeout=TIMEOUT).returncode
        except subprocess.TimeoutExpired:
            code = f"none after {TIMEOUT} s"
    if code != 0:
        print(log.read_text()[-4000:], flush=True)
        return [("exit code", "0", str(code), False)]
    print(f"{recipe}: ended after {time.monotonic() - started:.0f} s", flush=True)
    values, expected, rows = measured(folder / "metrics.jsonl"), expected_of(recipe), []
    for part in ("before", "shuffled" if is_shuffled else "after"):
        when = "before" if part == "before" else "after"
        for name, limit in expected[part].items():
            value = values.get(f"{when}.{name}", {"value": float("nan")})["value"]  # nan, "not measured", keeps no limit
            rows.append((f"{when} {name}", limit, f"{value:.3f}", holds(value, limit)))
    return rows


def main() -> None:
    names = sorted(file.parent.parent.name for file in (ROOT / "recipes").glob("*/lesson/expected.yaml"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="*", default=names, help=f"which of {', '.join(names)}; all if none is named")
    parser.add_argument("--output_dir", type=Path, default=Path("outputs/learn"), help="a new folder for the runs")
    parser.add_argument(
        "--shuffled", action="store_true", help="train on answers dealt out anew: nothing must be learned of them"
    )
    parser.add_argument("--parallel", type=int, default=2, help="runs at a time")
    parser.add_argument("--flags", nargs=argparse.REMAINDER, default=[], help="all that follows is given to train.py")
    args = parser.parse_args()
    if unknown := sorted(set(args.recipes) - set(names)):
        parser.error(f"no recipe {unknown[0]} with a lesson/expected.yaml; there is: {', '.join(names)}")
    if args.output_dir.exists():
        parser.error(
            f"{args.output_dir} is there already, and a finished run is not trained again; remove it, or choose another"
        )
    args.output_dir.mkdir(parents=True)
    with ThreadPoolExecutor(args.parallel) as pool:
        results = list(
            pool.map(lambda recipe: learn(recipe, args.output_dir.resolve(), args.flags, args.shuffled), args.recipes)
        )
    rows = [(recipe, *row) for recipe, result in zip(args.recipes, results, strict=True) for row in result]
    print("\n| recipe | measured | limit | value | |\n|---|---|---|---|---|")
    for *cells, good in rows:
        print("| " + " | ".join(cells) + f" | {'holds' if good else 'DOES NOT HOLD'} |")
    raise SystemExit(0 if all(row[-1] for row in rows) else 1)


if __name__ == "__main__":
    main()
