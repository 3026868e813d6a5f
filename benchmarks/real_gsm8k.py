"""GSM8K with a real model, end to end: as it was pretrained, after supervised training on worked solutions, after GRPO.

    python benchmarks/real_gsm8k.py --gsm8k train.jsonl --output_dir /tmp/gsm8k --results benchmarks/results/real_gsm8k.json

Holds 1,319 problems out of every stage, those whose questions have the smallest hashes (as many as GSM8K's test has, which is
on the hub), and for each seed gives the two commands of docs/gsm8k.md; prints a table of what the runs left. The same command
after an interruption goes on where it was, and other seeds join those of the file of results. Needs `make real-model`, and an
idle GPU if the seconds are to mean something.
"""

import argparse
import datetime
import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

from common.data.questions import take
from common.data.runs import COMPLETE, read_rows
from common.measure.statistics import paired_difference
from common.report.numbers import format_gain, format_metric
from common.run.record import versions

from other_numbers import with_versions
from real_calls import launch, read_printed

HELD_OUT = 1319


def split(gsm8k: Path, folder: Path, versions: int) -> list[str]:
    """Writes the held-out problems, and those to train on with versions of theirs; returns the flags that name the files."""
    rows = [json.loads(line) for line in gsm8k.read_text(encoding="utf-8").splitlines()]
    test, train = take(rows, lambda row: row["question"], HELD_OUT)
    flags = []
    for name, part in {"dataset_name": with_versions(train, versions), "test_dataset_name": test}.items():
        path = folder / f"{name}.jsonl"
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in part), encoding="utf-8")
        flags += [f"--{name}", str(path)]
    return flags


def train(recipe: str, flags: list[str], folder: Path) -> int:
    """Trains with a recipe's real.yaml, or goes on with it; returns its seconds of training and evaluation."""
    if not (folder / COMPLETE).exists():
        flags = ["--config", "real.yaml", *flags, "--output_dir", str(folder)]
        launch(f"recipes/{recipe}/train.py", flags, folder.with_suffix(".log"))
    return round(max(row["seconds"] for row in read_rows(folder / "metrics.jsonl")))


def measure_base(flags: list[str], folder: Path) -> str:
    """Returns the accuracy of the model as it was pretrained, asked once."""
    log = folder / "base.log"
    printed = read_printed(log.read_text()) if log.exists() else {}
    if not printed:
        printed = read_printed(launch("recipes/grpo_math/evaluate.py", ["--config", "real.yaml", *flags], log))
    return printed["held_out"]["accuracy"]


def share_right(answered: Sequence[str]) -> list[float]:
    """Returns for each problem in what share of the runs it was right; of each run `right` of a row of metrics.jsonl."""
    return [statistics.fmean(map(int, problem)) for problem in zip(*answered, strict=True)]


def samples(folder: Path, most: int = 2) -> list[dict[str, str]]:
    """Returns what a run said to problems before and after: of each change of the verdict as many as `most`."""
    rows = [row for row in read_rows(folder / "samples.jsonl") if row["split"] == "held_out"]
    last = max(row["step"] for row in rows)
    before, after = ({row["question"]: row for row in rows if row["step"] == step} for step in (0, last))
    chosen: dict[str, list[dict[str, str]]] = {}
    for question in sorted(before.keys() & after.keys()):
        first, then = before[question], after[question]
        change = " to ".join("right" if row["correct"] else "wrong" for row in (first, then))
        said = {"change": change, "before": first["completion"], "after": then["completion"]}
        chosen.setdefault(change, []).append({"question": question, "answer": first["answer"], **said})
    return [sample for change in sorted(chosen) for sample in chosen[change][:most]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gsm8k", type=Path, required=True, help="GSM8K's train.jsonl")
    parser.add_argument("--output_dir", type=Path, required=True, help="a folder for the runs")
    parser.add_argument("--results", type=Path, required=True, help="the JSON file to write")
    parser.add_argument("--model", default="pretrained/SmolLM2-135M-Instruct", help="the model of `make real-model`")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--versions", type=int, default=0, help="of each problem to train on, with other numbers")
    parser.add_argument("--supervised_flags", default="", help="more flags of the supervised runs, in one word")
    parser.add_argument("--grpo_flags", default="", help="more flags of the GRPO runs and the evaluation, in one word")
    args = parser.parse_args()
    folder = args.output_dir.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    data = split(args.gsm8k, folder, args.versions)
    now = {"date": datetime.date.today().isoformat(), "command": " ".join(["python", *sys.argv]), **versions()}
    earlier = json.loads(args.results.read_text(encoding="utf-8")) if args.results.exists() else {"runs": [], "right": {}}
    record = {**earlier, **now, "runs": [run for run in earlier["runs"] if run["seed"] not in args.seeds]}
    record["as it was pretrained"] = measure_base(["--model_name_or_path", args.model, *data, *args.grpo_flags.split()], folder)
    print(f"as it was pretrained: {record['as it was pretrained']}", flush=True)
    for seed in args.seeds:
        supervised, rewarded = folder / f"supervised_{seed}", folder / f"grpo_{seed}"
        common = [*data, "--seed", str(seed)]
        flags = ["--model_name_or_path", args.model, *common, *args.supervised_flags.split()]
        first = train("sft_instruct", flags, supervised)
        flags = ["--model_name_or_path", str(supervised), *common, *args.grpo_flags.split()]
        second = train("grpo_math", flags, rewarded)
        before, *between, after = (row for row in read_rows(rewarded / "metrics.jsonl") if row.get("split") == "held_out")
        record["right"][str(seed)] = [before["right"], after["right"]]
        values = {
            "seed": seed,
            "after supervised training": format_metric(before["metrics"]["accuracy"]),
            **{f"after {row['step']} steps of GRPO": format_metric(row["metrics"]["accuracy"]) for row in (*between, after)},
            "gained by GRPO": format_gain(after["gained"]),
            "seconds": f"{first} + {second}",
        }
        if seed == args.seeds[0]:
            print("| " + " | ".join(values) + " |\n|" + "---|" * len(values), flush=True)
        print("| " + " | ".join(map(str, values.values())) + " |", flush=True)
        record["runs"].append(values)
        answered_before, answered_after = map(share_right, zip(*record["right"].values(), strict=True))
        record["gained by GRPO, mean of the seeds"] = format_gain(paired_difference(answered_after, answered_before))
        record["samples of the last seed"] = samples(rewarded)
        args.results.write_text(json.dumps(record, indent=1) + "\n")
    print(f"gained by GRPO, mean of the seeds: {record['gained by GRPO, mean of the seeds']}")


if __name__ == "__main__":
    main()
