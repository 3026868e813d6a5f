"""What was measured: kept in files, compared, and brought into the tables and the report of the whole run."""

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from common.data.notes import LINES
from common.data.runs import COMPLETE, RECORD, read_rows
from common.errors import is_main_process, say
from common.generate.completions import Completion
from common.report.card import write_card
from common.report.numbers import format_metric
from common.report.page import Curve, Table, write_report
from common.run.batch import describe_batch
from common.run.disk import naming_disk_faults
from common.run.files import write_whole
from common.run.record import launcher, versions

from agents import Agent
from arguments import TeamArguments
from budget import sampled_tokens
from combine import Outcome, agreement, answers_of
from data import Problem
from evaluate import Measured, Said, interval, samples
from members import Setup

LABELS = {
    "vote": "majority vote",
    "confidence_vote": "vote weighted by confidence",
    "mean_logits": "mean of the logits, token by token",
    "aggregator": "aggregator",
    "single_agent": "trained alone: {single}",
    "self_consistency": "self-consistency of {single}",
}


def once(path: Path, measure: Callable[[], Measured]) -> Measured:
    """Measures, and keeps the result in a file: a run that is continued reads it instead.

    Args:
        path: The file; with a suffix .json.
        measure: Measures; called on every process.
    """
    if path.exists():
        content = json.loads(path.read_text(encoding="utf-8"))
        outcomes = {name: Outcome(**outcome) for name, outcome in content["outcomes"].items()}
        return outcomes, [{name: Completion(**done) for name, done in row.items()} for row in content["said"]]
    started = time.monotonic()
    outcomes, said = measure()
    if is_main_process():
        content = {
            "seconds": round(time.monotonic() - started, 2),
            "outcomes": {name: asdict(outcome) for name, outcome in outcomes.items()},
            "said": [{name: asdict(done) for name, done in row.items()} for row in said],
        }
        with naming_disk_faults(path.parent):
            write_whole(path, json.dumps(content) + "\n")
    return outcomes, said


def difference(one: Outcome, other: Outcome) -> dict[str, float]:
    """Returns the difference of two ways of answering the same problems, with its 95 % interval.

    It is that of the differences problem by problem, which is narrower than the intervals of the two by themselves suggest.
    """
    values = [a - b for a, b in zip(one.values, other.values, strict=True)]
    average = sum(values) / len(values)
    half = 1.959964 * math.sqrt(sum((value - average) ** 2 for value in values) / max(1, len(values) - 1) / len(values))
    return {"value": average, "low": average - half, "high": average + half}


def _results_table(untrained: dict[str, Outcome], trained: dict[str, Outcome], single: str) -> Table:
    rows = []
    for name in trained:
        cells = []
        for outcomes in (untrained, trained):
            outcome = outcomes.get(name)
            cells += [format_metric(interval(outcome.values)), f"{outcome.tokens:.0f}"] if outcome else ["", ""]
        rows.append([LABELS.get(name, "{name}, alone").format(single=single, name=name), *cells])
    return Table(
        "Alone and together",
        ["", "untrained", "tokens a problem", "trained", "tokens a problem"],
        rows,
        "In brackets: 95 % intervals. A tie of votes counts as the chance to draw the right one. Tokens: all that were sampled "
        "for an answer, by all agents together.",
    )


def _kinds_table(problems: list[Problem], trained: dict[str, Outcome], single: str) -> Table:
    kinds = sorted({problem.kind for problem in problems})
    rows = []
    for name, outcome in trained.items():
        cells = []
        for kind in kinds:
            values = [value for value, problem in zip(outcome.values, problems, strict=True) if problem.kind == kind]
            cells.append(f"{100 * sum(values) / len(values):.0f} %")
        rows.append([LABELS.get(name, "{name}, alone").format(single=single, name=name), *cells])
    return Table("Who solves what, trained", ["", *kinds], rows, "The share of right answers among problems of each kind.")


def _agreement_table(said: Said) -> Table:
    matrix = agreement([answers_of(completions) for completions in said])
    rows = [[name, *(f"{100 * share:.0f} %" for share in shares.values())] for name, shares in matrix.items()]
    note = "The share of problems on which two agents give the same answer; with itself, on which it gives any."
    return Table("Who agrees with whom, trained", ["", *matrix], rows, note)


def comparisons(trained: dict[str, Outcome]) -> dict[str, str]:
    """Returns lines that compare the trained team's vote with what one agent achieves."""
    against = {name: trained[name] for name in ("single_agent", "self_consistency") if name in trained}
    return {
        f"vote minus {name.replace('_', ' ')}": f"{format_metric(difference(trained['vote'], other))} points"
        for name, other in against.items()
    }


def _phase_rows(folder: Path, split: str, offset: int) -> list[dict[str, Any]]:
    """Returns the rows of a phase, those of its evaluations under another name; the last row is the run's totals."""
    rows = read_rows(folder / "metrics.jsonl")[:-1]
    return [row | {"step": row["step"] + offset} | ({"split": split} if "split" in row else {}) for row in rows]


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
        metrics = {name: interval(outcome.values) for name, outcome in outcomes.items()}
        rows.append({"step": step, "split": "held_out", "count": len(problems), "metrics": metrics})
    rows.sort(key=lambda row: row["step"])
    for name in ("aggregator", "single"):
        if (folder / name).exists():
            rows += [row for row in _phase_rows(folder / name, f"{name}_in_training", 0) if "split" in row]
    return rows


def finish(
    setup: Setup,
    args: TeamArguments,
    team: list[Agent],
    problems: list[Problem],
    phases: list[str],
    before: Measured,
    after: Measured,
    budget: float,
) -> None:
    """Writes the metrics, the card and the report of the whole run, and prints the table.

    Args:
        setup: Gives the folder and the settings.
        args: Name the single agent.
        team: The agents.
        problems: The held-out problems.
        phases: The folders of the team's training, in order.
        before: What was measured before training.
        after: And after, with the aggregator and the single agent.
        budget: Tokens that the team sampled in training.
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
    compared = comparisons(after[0])
    sampled = {"team": budget}
    for name in ("aggregator", "single"):
        if (folder / name).exists():
            sampled[name] = sampled_tokens(folder / name, setup.training_args)
    facts = {
        "ran on": launcher(setup.training_args),
        "batch": describe_batch(setup.training_args),
        "time": f"{totals['seconds']:.0f} s of training and evaluation",
        "sampled in training": ", ".join(f"{name} {tokens:,.0f} tokens" for name, tokens in sampled.items()),
        **compared,
        **versions(),
    }
    names = [agent.name for agent in team]
    curves = [
        Curve("Each agent alone, and the vote", {name: f"held_out:{name}" for name in ["vote", *names]}, percent=True),
        Curve("One agent trained alone", {args.single_agent: "single_in_training:accuracy"}, percent=True),
        Curve("The aggregator", {"right": "aggregator_in_training:accuracy"}, percent=True),
        Curve("In training", {"share right": "rewards/correct/mean", "disagreement": "disagreement"}, percent=True),
    ]
    tables = [_results_table(before[0], after[0], args.single_agent)]
    if any(problem.kind for problem in problems):
        tables.append(_kinds_table(problems, after[0], args.single_agent))
    tables.append(_agreement_table(after[1]))
    text = {"title": "A team on math", "summary": "Agents in several roles, each paid for what it adds to their vote."}
    data = {"data": "; ".join(LINES)} if LINES else {}
    with naming_disk_faults(folder):
        for name, content in (("metrics.jsonl", [*rows, totals]), ("samples.jsonl", shown)):
            (folder / name).write_text("".join(json.dumps(row) + "\n" for row in content), encoding="utf-8")
        write_card(folder, **text, settings=setup.training_args.run_values, rows=rows, facts=facts)
        report = write_report(folder, **text, curves=curves, facts=facts | data, tables=tables)
        (folder / COMPLETE).touch()
    say("\n" + tables[0].as_text())
    for label, value in compared.items():
        say(f"{label}: {value}")
    say(f"The agents are in {folder}, the report is {report}")
