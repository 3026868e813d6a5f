"""What was measured, brought into the metrics, the card and the report of the whole run."""

import json
from pathlib import Path
from typing import Any

from common.data.notes import LEFT_OUT, LINES
from common.data.runs import COMPLETE, RECORD, read_rows
from common.errors import is_main_process, say
from common.measure.statistics import mean
from common.report.card import write_card
from common.report.page import Curve, write_report
from common.run.batch import describe_batch
from common.run.disk import naming_disk_faults
from common.run.record import launcher, versions

from agents import Agent
from budget import sampled_tokens
from combine import Measured
from data import Problem
from in_training import samples
from members import Setup
from tables import agreement_table, comparisons, kinds_table, results_table


def _phase_rows(folder: Path, split: str, offset: int) -> list[dict[str, Any]]:
    """Returns the rows of a phase, those of its evaluations under another name; the last row is the run's totals."""
    rows = read_rows(folder / "metrics.jsonl")[:-1]
    return [row | {"step": row["step"] + offset} | ({"split": split} if "split" in row else {}) for row in rows]


def _rollouts(folder: Path, phases: list[str]) -> list[dict[str, Any]]:
    """Returns the kept groups of the phases, one after the other."""
    rows, offset = [], 0
    for name in phases:
        rows += [row | {"step": row["step"] + offset} for row in read_rows(folder / name / "rollouts.jsonl")]
        offset += max((row["step"] for row in read_rows(folder / name / "metrics.jsonl")), default=0)
    return rows


def _totals(folder: Path, step: int) -> dict[str, Any]:
    """Returns the last row of the run: the time of all its parts, and the most memory that one of them took."""
    parts = [read_rows(path)[-1] for path in folder.glob("*/metrics.jsonl")]
    measured = [
        json.loads(path.read_text(encoding="utf-8"))["seconds"] for path in folder.glob("*.json") if path.name != RECORD
    ]
    seconds = sum(part["seconds"] for part in parts) + sum(measured)
    return {"step": step, "seconds": round(seconds, 2), "peak_memory_gib": max(part["peak_memory_gib"] for part in parts)}


def _rows(folder: Path, phases: list[str], problems: list[Problem], before: Measured, after: Measured) -> list[dict[str, Any]]:
    """Returns the rows of the whole run: the team's curves between the two measurements, then those of the other phases."""
    rows: list[dict[str, Any]] = []
    for name in phases:
        rows += _phase_rows(folder / name, "held_out", offset=max((row["step"] for row in rows), default=0))
    last = max(row["step"] for row in rows)
    rows = [row for row in rows if "split" not in row or row["step"] not in (0, last)]
    for step, (outcomes, _) in ((0, before), (last, after)):
        in_order = {"vote": outcomes["vote"]} | outcomes  # what stands first heads the report, and `recipes runs` shows it
        metrics = {name: mean(outcome.values) for name, outcome in in_order.items()}
        rows.append({"step": step, "split": "held_out", "count": len(problems), "metrics": metrics})
    rows.sort(key=lambda row: row["step"])
    for name in ("aggregator", "single"):
        if (folder / name).exists():
            rows += [row for row in _phase_rows(folder / name, f"{name}_in_training", 0) if "split" in row]
    return rows


def _facts(setup: Setup, phases: list[str], totals: dict[str, Any], compared: dict[str, str]) -> dict[str, str]:
    """Returns what is said of the whole run: its launch, its time, its tokens, how the team compares, and the versions."""
    parts = {"team": phases} | {name: [name] for name in ("aggregator", "single") if (setup.folder / name).exists()}
    sampled = {name: sampled_tokens(setup.folder, folders, setup.training_args) for name, folders in parts.items()}
    return {
        "ran on": launcher(setup.training_args),
        "batch": describe_batch(setup.training_args),
        "time": f"{totals['seconds']:.0f} s of training and evaluation",
        "sampled in training": ", ".join(f"{name} {tokens:,.0f} tokens" for name, tokens in sampled.items()),
        **compared,
        **versions(),
    }


def _curves(team: list[Agent], singles: list[Agent]) -> list[Curve]:
    names = [agent.name for agent in team]
    return [
        Curve("Each agent alone, and the vote", {name: f"held_out:{name}" for name in ["vote", *names]}, percent=True),
        Curve("One agent trained alone", {agent.name: "single_in_training:accuracy" for agent in singles[1:]}, percent=True),
        Curve("The aggregator", {"right": "aggregator_in_training:accuracy"}, percent=True),
        Curve("In training", {"share right": "rewards/correct/mean", "disagreement": "disagreement"}, percent=True),
    ]


def finish(
    setup: Setup,
    team: list[Agent],
    singles: list[Agent],
    problems: list[Problem],
    phases: list[str],
    before: Measured,
    after: Measured,
) -> None:
    """Writes the metrics, the card and the report of the whole run, and prints the table.

    Args:
        setup: Gives the folder and the settings.
        team: The agents.
        singles: The agents that the team is compared with, before training and after; empty for none.
        problems: The held-out problems.
        phases: The folders of the team's training, in order.
        before: What was measured before training.
        after: And after, with the aggregator and the single agent.
    """
    if not is_main_process():
        return
    folder = setup.folder
    rows = _rows(folder, phases, problems, before, after)
    last = max(row["step"] for row in rows if row.get("split") == "held_out")
    shown = [
        {"step": step, "split": "held_out", **sample}
        for step, (_, said) in ((0, before), (last, after))
        for sample in samples(problems, said)
    ]
    totals = _totals(folder, last)
    compared = comparisons(before[0], after[0], singles)
    facts = _facts(setup, phases, totals, compared)
    tables = [results_table(before[0], after[0], singles)]
    if any(problem.kind for problem in problems):
        tables.append(kinds_table(problems, after[0], singles[1:]))
    tables.append(agreement_table(after[1]))
    text = {"title": "A team on math", "summary": "Agents in several roles, each paid for what it adds to their vote."}
    rollouts = _rollouts(folder, phases)
    with naming_disk_faults(folder):
        for name, content in (("metrics.jsonl", [*rows, totals]), ("samples.jsonl", shown), ("rollouts.jsonl", rollouts)):
            (folder / name).write_text("".join(json.dumps(row) + "\n" for row in content), encoding="utf-8")
        write_card(folder, **text, settings=setup.training_args.run_values, rows=rows, facts=facts)
        found = {"notes": list(LINES), "left_out": LEFT_OUT}
        report = write_report(folder, **text, curves=_curves(team, singles), facts=facts, tables=tables, **found)
        (folder / COMPLETE).touch()
    say("\n" + tables[0].as_text())
    for label, value in compared.items():
        say(f"{label}: {value}")
    say(f"The agents are in {folder}, the report is {report}")
