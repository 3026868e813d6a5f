"""Runs side by side as a page, of the same parts as the report of a run."""

import os
from pathlib import Path
from typing import Any

from common.commands.compared import Run
from common.errors import fail
from common.report.curves import others, points_of, thinned
from common.report.html import render, replace
from common.report.numbers import format_gain
from common.report.samples import by_column, fitting
from common.report.table import Table


def check_file(file: Path) -> None:
    """Fails if the page cannot be written.

    Raises:
        SystemExit: With code 2 and one line.
    """
    if os.path.lexists(file):
        fail(f"--html {file} is there already; choose another name")
    if not file.absolute().parent.is_dir():
        fail(f"--html {file}: there is no folder {file.absolute().parent}; make it, or choose another name")


def _curve(title: str, key: str, runs: list[Run], is_share: bool) -> dict[str, Any]:
    found = [(run.name, points_of(run.rows, key)) for run in runs]
    series = [{"label": name, "measured": ":" in key, "points": thinned(points)} for name, points in found if points]
    return {"title": title, "percent": is_share, "series": series}


def _measured(runs: list[Run]) -> list[dict[str, Any]]:
    """Returns a curve for each metric of each held-out set."""
    metrics = {
        (split, name): metric
        for run in runs
        for split, row in run.evaluations.items()
        for name, metric in row["metrics"].items()
    }
    return [
        _curve(f"{name}, {split}".replace("_", " "), f"{split}:{name}", runs, "low" in metric)
        for (split, name), metric in metrics.items()
    ]


def _logged(runs: list[Run]) -> list[dict[str, Any]]:
    """Returns a curve for each value that was logged in training."""
    curves = others([row for run in runs for row in run.rows], [])
    found = [
        _curve(curve.title if len(curve.series) == 1 else f"{curve.title}: {label}", key, runs, curve.percent)
        for curve in curves
        for label, key in curve.series.items()
    ]
    return [curve for curve in found if curve["series"]]


def _against_the_first(pairs: list[tuple[Run, dict[str, dict[str, Any] | None]]]) -> Table:
    lines = []
    for other, found in pairs:
        for split, pair in found.items():
            title = f"{other.name}, {split.replace('_', ' ')}"
            if pair is None:
                lines.append([title, "-", "no problem in common that both measure alike", "", ""])
                continue
            which = f"{'the same' if pair['all'] else 'the kept'} {pair['problems']}"
            alone = [str(pair["only_other_right"]), str(pair["only_first_right"])]
            lines.append([title, format_gain(pair["difference"]), which, *alone])
    header = ["run, held-out set", "difference, with its 95 % interval", "problems", "it alone right", "it alone wrong"]
    return Table("Against the first", header, lines)


def write_page(
    file: Path, runs: list[Run], settings: Table, metrics: Table, pairs: list[tuple[Run, dict[str, dict[str, Any] | None]]]
) -> None:
    """Writes a page of runs side by side.

    Args:
        file: The page; it must not be there.
        runs: The runs; each is held against the first.
        settings: Those that differ.
        metrics: The last ones of each run.
        pairs: How each other run does against the first one, by held-out set; None where nothing can be held together.
    """
    splits = dict.fromkeys(split for run in runs for split in run.problems)
    columns = [{(split, *name): row for split in splits for name, row in run.problems.get(split, {}).items()} for run in runs]
    names = [run.name for run in runs]
    shown = fitting(names, by_column(columns))
    data = {
        "state": "complete",
        "written": "",
        "every": 0,
        "curves": _measured(runs),
        "more": _logged(runs),
        "span": max((row["step"] for run in runs for row in run.rows), default=0),
        "problems": shown,
        "filters": {
            "wrong": f"wrong in {names[-1]}",
            "mended": f"only {names[-1]} right",
            "spoiled": f"only {names[0]} right",
        },
        "rollouts": {"steps": [], "left_out": ""},
    }
    page = render(
        "compare.html.jinja",
        data,
        title=" · ".join(names),
        summary=f"Each run against the first one, {names[0]}.",
        settings=settings,
        metrics=metrics,
        pairs=_against_the_first(pairs),
        kept_note=shown["left_out"],
    )
    replace(file, page)
