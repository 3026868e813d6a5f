"""The page a run leaves behind, and shows while it goes on: measures before and after, curves, and all kept answers."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from common.data.runs import read_rows
from common.report.curves import Curve, drawable, others, present
from common.report.health import health_of
from common.report.html import render, replace
from common.report.numbers import format_value
from common.report.rollouts import rollouts_of
from common.report.samples import chosen, fitting, outcome, outcomes, problems_of
from common.report.table import Table

__all__ = ["Curve", "write_report"]

SHADES = 8  # of a matrix's cells


def _by_split(rows: list[dict]) -> dict[str, list[dict]]:
    """Returns the evaluations of each split, each step once.

    The last one is that of the weights that are kept, which may be of an earlier step than the one before it.
    """
    splits: dict[str, dict[int, dict]] = {}
    for row in rows:
        if "split" in row:
            by_step = splits.setdefault(row["split"], {})
            by_step.pop(row["step"], None)
            by_step[row["step"]] = row
    return {split: list(by_step.values()) for split, by_step in splits.items()}


def _before_and_after(splits: dict[str, list[dict]]) -> list[dict]:
    """Returns the first and the last evaluation of each split; `after` is None while there is only one."""
    return [{"before": found[0], "after": found[-1] if len(found) > 1 else None} for found in splits.values()]


def _every_evaluation(splits: dict[str, list[dict]]) -> list[Table]:
    tables = []
    for split, found in splits.items():
        names = list(found[-1]["metrics"])
        lines = [[str(row["step"]), *_values(row, names)] for row in found]
        tables.append(Table(split.replace("_", " "), ["step", *(name.replace("_", " ") for name in names)], lines))
    return tables if any(len(found) > 2 for found in splits.values()) else []


def _values(row: dict, names: list[str]) -> list[str]:
    return [format_value(row["metrics"][name]) if name in row["metrics"] else "-" for name in names]


def _matrices(evaluations: list[dict]) -> list[dict[str, Any]]:
    """Returns each matrix that an evaluation has, as it was before and as it is: cells of a text and a shade."""
    found = []
    for evaluation in evaluations:
        rows = [row for row in (evaluation["before"], evaluation["after"]) if row and "matrices" in row]
        for index, matrix in enumerate(rows[-1]["matrices"] if rows else []):
            pairs = [(row, row["matrices"][index]) for row in rows if index < len(row["matrices"])]
            # Shares of a whole, such as those of 32 experts, are far below 1: the darkest is the largest of them.
            most = max((value for _, one in pairs for line in one["values"] for value in line if value), default=1.0)
            steps = [(f"step {row['step']}", {"columns": one["columns"], "rows": _cells(one, most)}) for row, one in pairs]
            title = f"{matrix['title']}, {rows[-1]['split'].replace('_', ' ')}"
            sides = {side: matrix[side] for side in ("row_title", "column_title")}
            found.append({"title": title, "steps": steps, **sides})
    return found


def _cells(matrix: dict[str, Any], most: float) -> list[tuple[str, list[tuple[str, int]]]]:
    shaded = [
        [("-" if value is None else f"{value:.0%}", round((value or 0) / most * SHADES)) for value in row]
        for row in matrix["values"]
    ]
    return list(zip(matrix["rows"], shaded, strict=True))


def _chosen(problems: list[dict]) -> list[dict]:
    return [problem | {"outcome": outcome(problem)} for problem in chosen(problems)]


def _recorded(output_dir: Path, rows: list[dict], curves: list[Curve]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns what a run has recorded so far: what the page's script shows of it, and what its template shows."""
    rollouts = read_rows(output_dir / "rollouts.jsonl")
    steps, problems = problems_of(read_rows(output_dir / "samples.jsonl"))
    config = output_dir / "config.yaml"
    splits = _by_split(rows)
    evaluations = _before_and_after(splits)
    in_script = {
        "curves": [drawable(curve, rows) for curve in curves],
        "more": [drawable(curve, rows) for curve in others(rows, curves)],
        "span": max((row["step"] for row in rows), default=0),
        "problems": fitting([f"step {step}" for step in steps], problems),
        "rollouts": rollouts_of(rollouts),
    }
    in_text = {
        "evaluations": evaluations,
        "every_evaluation": _every_evaluation(splits),
        "health": health_of(rows, rollouts),
        "matrices": _matrices(evaluations),
        "steps": steps,
        "samples": _chosen(problems),
        "outcomes": outcomes(problems),
        "kept_note": in_script["problems"]["left_out"],
        "config": config.read_text(encoding="utf-8") if config.is_file() else "",
    }
    return in_script, in_text


def write_report(
    output_dir: Path,
    *,
    title: str,
    summary: str,
    curves: list[Curve],
    facts: Mapping[str, str],
    tables: Sequence[Table] = (),
    notes: Sequence[str] = (),
    left_out: Mapping[str, str] | None = None,
    state: str = "complete",
    every: float = 0.0,
) -> Path:
    """Writes the self-contained page `report.html` from what a run has recorded so far, and of a complete one `curves.png`.

    Args:
        output_dir: The run's folder, with `metrics.jsonl`, `samples.jsonl` (see `samples.problems_of`), `rollouts.jsonl`,
            `config.yaml`; a missing one is left out.
        title: The heading of the page.
        summary: One sentence on what was trained and how.
        curves: The plots, in order; series and plots without any data are left out. What else was logged follows them.
        facts: Label -> value lines, such as the batch arithmetic, the memory and the launcher command.
        tables: Tables of the recipe's own, shown above the curves.
        notes: What was found in the data, a line each.
        left_out: Why a row was left out, by where it stands.
        state: "training", "complete" or "interrupted"; a page of a run that trains loads itself anew.
        every: While it trains: after how many seconds the page is written again, about.

    Returns:
        The path of `report.html`.
    """
    rows = read_rows(output_dir / "metrics.jsonl")
    curves = present(rows, curves)
    if curves and state == "complete":
        from common.report.plot import plot  # matplotlib takes a second to import

        replace(output_dir / "curves.png", plot(curves, rows))
    in_script, in_text = _recorded(output_dir, rows, curves)
    in_script |= {"state": state, "written": datetime.now(UTC).isoformat(timespec="seconds"), "every": every}
    in_text |= {"title": title, "summary": summary, "facts": facts, "tables": tables, "notes": notes}
    in_text |= {"left_out": dict(left_out or {}), "refresh": max(5, round(every)) if state == "training" else None}
    page = render("page.html.jinja", in_script, **in_text)
    replace(output_dir / "report.html", page)
    return output_dir / "report.html"
