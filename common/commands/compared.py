"""Two runs on the same problems: what each was measured on, and the difference between them with its interval."""

from collections import Counter
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

from common.commands import places
from common.data.runs import last_evaluations, read_record, read_rows
from common.errors import fail
from common.measure.statistics import paired_difference

EXAMPLES = 3  # problems shown that one run gets right and the other wrong
# What decides which problems are held out, besides the seed of synthetic ones, which shows in the problems themselves.
HELD_OUT_BY = [
    "dataset_name",
    "dataset_config",
    "validation_dataset_name",
    "test_dataset_name",
    "columns",
    "group_by",
    "num_held_out",
]

Problems = dict[tuple[str | int, ...], dict[str, Any]]


@dataclass(frozen=True)
class Run:
    """A run that is compared.

    Attributes:
        name: Its folder, as one would type it.
        record: What stands in run.json.
        evaluations: The last one of each held-out set.
        problems: Of each held-out set those whose answers were kept then, each by its name.
        rows: All of metrics.jsonl.
    """

    name: str
    record: dict[str, Any]
    rows: list[dict[str, Any]]
    evaluations: dict[str, dict[str, Any]]
    problems: dict[str, Problems]


def _kept(samples: list[dict[str, Any]]) -> Problems:
    """Returns the problems of the last evaluation among the samples of one held-out set.

    A problem is known by its `id`, question and answer, and which time that is asked.
    """
    last = list(takewhile(lambda sample: sample["step"] == samples[-1]["step"], reversed(samples)))
    asked, problems = Counter(), {}
    for sample in reversed(last):
        name = tuple(str(sample.get(key)) for key in ("id", "question", "answer"))
        asked[name] += 1
        problems[*name, asked[name]] = sample
    return problems


def read_run(folder: Path) -> Run:
    """Reads a run; a part of one, too."""
    run, record = read_record(folder)
    samples: dict[str, list[dict[str, Any]]] = {}
    for sample in read_rows(run / "samples.jsonl"):
        samples.setdefault(sample["split"], []).append(sample)
    rows = read_rows(run / "metrics.jsonl")
    evaluations = last_evaluations(rows)
    if not evaluations:
        fail(f"{folder} has not been measured yet; compare it once its first evaluation is done")
    return Run(places.shown(run), record, rows, evaluations, {split: _kept(found) for split, found in samples.items()})


def _holds_out(run: Run) -> tuple[list[Any], dict[str, str]]:
    """Returns what decides which problems a run holds out."""
    files = {name: line for name, line in run.record.get("inputs", {}).items() if "dataset_name " in name}
    return [run.record["settings"].get(name) for name in HELD_OUT_BY], files


def _headline(run: Run, split: str) -> str:
    """Returns the name of a held-out set's first metric, for which a problem counts as right."""
    return next(iter(run.evaluations[split]["metrics"]))


def unlike(first: Run, other: Run, split: str) -> list[str]:
    """Returns in what two runs measure a held-out set otherwise, each as a sentence; nothing where they measure it alike."""
    found = []
    headlines = [_headline(run, split) for run in (first, other)]
    if headlines[0] != headlines[1]:
        found.append(f"the first metrics differ ({' and '.join(headlines)}), and with them what counts as right.")
    counts = [run.evaluations[split]["count"] for run in (first, other)]
    names = [run.problems.get(split, {}) for run in (first, other)]
    if counts[0] != counts[1] or any(one != another for one, another in zip(*names, strict=False)):
        found.append("the held-out problems, what is asked or what is right differ, so the metrics do not compare.")
    elif _holds_out(first) != _holds_out(other):
        found.append("other problems may be held out: settings or files that choose them differ.")
    return found


def _right(run: Run, split: str) -> list[bool]:
    """Returns for each problem of a held-out set whether it is right; empty where only the kept ones are known."""
    return [is_right == "1" for is_right in run.evaluations[split].get("right", "")]


def paired(first: Run, other: Run, split: str) -> dict[str, Any] | None:
    """Returns how a run does against the first one on a held-out set's problems, or None if nothing can be held together.

    That takes problems in common, and the same first metric: it says what counts as right. All problems count where both runs
    hold out the same and recorded each one; else those whose answers both kept.
    """
    kept = [run.problems.get(split, {}) for run in (first, other)]
    same = [name for name in kept[0] if name in kept[1]]
    right = [_right(run, split) for run in (first, other)]
    alike = bool(same) and list(kept[0]) == list(kept[1]) and _holds_out(first) == _holds_out(other)
    is_whole = alike and len(right[0]) == len(right[1]) > 0
    if not is_whole:
        right = [[bool(problems[name]["correct"]) for name in same] for problems in kept]
    if not right[0] or _headline(first, split) != _headline(other, split):
        return None
    differing = [name for name in same if bool(kept[0][name]["correct"]) != bool(kept[1][name]["correct"])]
    return {
        "problems": len(right[0]),
        "all": is_whole,
        "difference": paired_difference(*([int(is_right) for is_right in one] for one in reversed(right))),
        "only_first_right": sum(a and not b for a, b in zip(*right, strict=True)),
        "only_other_right": sum(b and not a for a, b in zip(*right, strict=True)),
        "examples": [
            {
                "question": kept[0][name]["question"],
                "answer": kept[0][name]["answer"],
                "right": (first if kept[0][name]["correct"] else other).name,
                "completions": {
                    run.name: problems[name]["completion"] for run, problems in zip((first, other), kept, strict=True)
                },
            }
            for name in differing[:EXAMPLES]
        ],
    }
