"""ocr_vision_language on lines of real receipts: what a tiny reader gets wrong, begun from one base or another.

    python benchmarks/real_ocr.py --dataset_name my_lines --output_dir /tmp/real_ocr --results benchmarks/results/real_ocr.json

Each base learns to read drawn lines and then goes on with `real.yaml`, which measures it on the lines of the split `test`
before it trains and after. All bases go side by side. `--base NAME "FLAGS" "FLAGS OF real.yaml"`, once or several times, takes
the place of the two below. Of the lines reported on some stand in the training rows too, as TOTAL does; `unseen` are others.
"""

import argparse
import datetime
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from common.data.runs import read_rows
from common.report.numbers import format_value
from common.run.record import versions

from learn import LAUNCHER, ROOT, measured

# A name, the flags with which it learns drawn lines, and those with which it learns real ones: each at the learning rate of its
# size, as many steps on as many lines.
BASES = [
    ("capitals", "--config tiny.yaml", "--learning_rate 2e-3"),
    ("thermal", "--config thermal.yaml", ""),
]
COLUMNS = {
    "CER before": "before.held_out.character_error_rate",
    "CER after": "after.held_out.character_error_rate",
    "unseen, CER before": "before.held_out.character_error_rate_unseen",
    "unseen, CER after": "after.held_out.character_error_rate_unseen",
    "read exactly after": "after.held_out.exact_match",
}


def train(folder: Path, flags: list[str]) -> tuple[int, int]:
    """Runs train.py.

    Args:
        folder: Where the run and, beside it, its log are left.
        flags: Its flags.

    Returns:
        How many steps it took, and how many seconds, its evaluations included.
    """
    script = "recipes/ocr_vision_language/train.py"
    command = [*LAUNCHER, "--config_file", "accelerate_configs/zero2.yaml", script, *flags, "--output_dir", str(folder)]
    with open(folder.with_suffix(".log"), "w", encoding="utf-8") as log:
        code = subprocess.run(command, cwd=ROOT, stdout=log, stderr=log, check=False).returncode
    if code:
        raise SystemExit(f"{' '.join(command)} ended with {code}:\n{folder.with_suffix('.log').read_text()[-3000:]}")
    last = read_rows(folder / "metrics.jsonl")[-1]
    print(f"{folder.name}: {last['step']} steps, {last['seconds']:.0f} s", flush=True)
    return last["step"], round(last["seconds"])


def measure(base: tuple[str, str, str], args: argparse.Namespace) -> dict[str, int | str | dict]:
    """Trains a base on drawn lines, then on real ones, and returns a row of the table, with its metrics as measured."""
    name, drawn, real = base
    drawn_steps, drawn_seconds = train(args.output_dir / name, [*drawn.split(), *args.drawn_flags.split()])
    flags = ["--config", "real.yaml", "--dataset_name", str(args.dataset_name.resolve())]
    flags += ["--model_name_or_path", str(args.output_dir / name), *real.split(), *args.real_flags.split()]
    steps, seconds = train(args.output_dir / f"{name}_real", flags)
    metrics = measured(args.output_dir / f"{name}_real" / "metrics.jsonl")
    row = {"base": name, "drawn steps": drawn_steps, "drawn seconds": drawn_seconds}
    row |= {"real steps": steps, "real seconds": seconds}
    cells = {column: format_value(metrics[key]) for column, key in COLUMNS.items()}
    return row | cells | {"flags": [drawn, real], "metrics": {key: metrics[key] for key in COLUMNS.values()}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset_name", type=Path, required=True, help="a folder of lines with splits `train` and `test`")
    parser.add_argument("--output_dir", type=Path, required=True, help="a new folder for the runs")
    parser.add_argument("--results", type=Path, required=True, help="the JSON file to write")
    parser.add_argument("--base", nargs=3, action="append", help="name, flags on drawn lines, flags on real ones")
    parser.add_argument("--drawn_flags", default="", help="more flags of every base's run on drawn lines, in one word")
    parser.add_argument("--real_flags", default="", help="more flags of every base's run on real lines, in one word")
    args = parser.parse_args()
    args.output_dir = args.output_dir.resolve()
    args.output_dir.mkdir(parents=True)
    record = {"date": datetime.date.today().isoformat(), "command": " ".join(["python", *sys.argv]), **versions(), "runs": []}
    bases = [tuple(base) for base in args.base or BASES]
    with ThreadPoolExecutor(len(bases)) as pool:
        # Written as soon as each has ended, in the order of the bases.
        for row in pool.map(partial(measure, args=args), bases):
            cells = {name: value for name, value in row.items() if name not in ("flags", "metrics")}
            if not record["runs"]:
                print("| " + " | ".join(cells) + " |\n|" + "---|" * len(cells), flush=True)
            print("| " + " | ".join(map(str, cells.values())) + " |", flush=True)
            record["runs"].append(row)
            args.results.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
