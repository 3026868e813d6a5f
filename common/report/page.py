"""The page a run leaves behind: measures before and after, the curves, and the same problems answered twice."""

import base64
import io
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from common.data.runs import read_rows
from common.report.heatmap import draw_matrices
from common.report.numbers import format_interval, format_value
from common.report.table import Table

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

# Okabe and Ito's palette, told apart by readers with any kind of colour vision; the markers tell series apart in grey.
COLORS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"]
MARKERS = "os^Dv*"
PLOT_SIZE = (4.4, 3.3)  # inches; with 10 point text it is legible on a phone and in a README
SAMPLES_SHOWN = 4
OUTCOMES = {
    (False, True): "went from wrong to right",
    (True, True): "right both times",
    (False, False): "still wrong",
    (True, False): "went from right to wrong",
}


@dataclass(frozen=True)
class Curve:
    """One plot of a report.

    Attributes:
        title: What is drawn above the plot.
        series: Legend label -> key: a field of the training rows ("reward") or "SPLIT:METRIC" of the evaluations.
        percent: Whether the values are shares, shown as percentages on an axis that starts at zero.
    """

    title: str
    series: dict[str, str]
    percent: bool = False


def _points(rows: list[dict], key: str) -> dict[int, dict]:
    """Returns step -> {"value", perhaps "low" and "high"}; a step repeated after an interruption counts once."""
    split, _, metric = key.rpartition(":")
    points = {}
    for row in rows:
        if split and row.get("split") == split and metric in row["metrics"]:
            points[row["step"]] = row["metrics"][metric]
        elif not split and "split" not in row and row.get(key) is not None:
            points[row["step"]] = {"value": row[key]}
    return dict(sorted(points.items()))


def _draw(axes: Axes, curve: Curve, rows: list[dict]) -> None:
    drawn = {label: (key, points) for label, key in curve.series.items() if (points := _points(rows, key))}
    for index, (label, (key, points)) in enumerate(drawn.items()):
        steps, values = list(points), [point["value"] for point in points.values()]
        color = COLORS[index % len(COLORS)]
        marker = MARKERS[index % len(MARKERS)] if ":" in key else ""
        bounded = {step: (point["low"], point["high"]) for step, point in points.items() if "low" in point}
        if bounded:
            axes.vlines(list(bounded), *zip(*bounded.values(), strict=True), color=color, lw=3.5, alpha=0.35)
        if not marker and len(values) > 30:
            axes.plot(steps, values, lw=0.7, alpha=0.4, color=color)
            half = len(values) // 30
            values = [fmean(values[max(0, i - half) : i + half + 1]) for i in range(len(values))]
        axes.plot(steps, values, lw=1.5, color=color, marker=marker, ms=4.5, label=label)
    if curve.percent:
        top = axes.get_ylim()[1]
        axes.set_ylim(-0.03 * top, max(top, 1.03) if top > 0.5 else top)
        axes.yaxis.set_major_formatter(PercentFormatter(xmax=1, symbol=" %"))
    # All plots of a report span the same steps, so that they can be read against each other.
    span = max(1, *(row["step"] for row in rows))
    axes.set_xlim(-0.03 * span, 1.03 * span)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axes.set_xlabel("training step", fontsize=9.5)
    columns = min(len(drawn), 2)
    axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 1), ncols=columns, frameon=False, fontsize=9.5, borderpad=0.2)
    axes.set_title(curve.title, loc="left", fontsize=11.5, fontweight="bold", pad=8 + 16 * -(-len(drawn) // columns))
    axes.tick_params(labelsize=9.5, length=3)
    axes.grid(axis="y", color="#e4e6e9", lw=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _plot(curves: list[Curve], rows: list[dict], columns: int, file_format: str) -> bytes:
    """Draws without pyplot, so that nothing of a caller's own matplotlib state is touched."""
    lines = -(-len(curves) // columns)
    figure = Figure((PLOT_SIZE[0] * columns, PLOT_SIZE[1] * lines), layout="constrained", facecolor="white")
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.12)
    for index, curve in enumerate(curves):
        _draw(figure.add_subplot(lines, columns, index + 1), curve, rows)
    file = io.BytesIO()
    figure.savefig(file, format=file_format, dpi=150)
    return file.getvalue()


def _replace(path: Path, content: bytes) -> None:
    """Writes a whole file or none, so that a page that is open in a browser is never half of one."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_bytes(content)
    os.replace(temporary, path)


def _before_and_after(rows: list[dict]) -> list[dict]:
    """Returns the first and the last evaluation of each split; `after` is None while there is only one.

    The last one is that of the weights that are kept, which may be of an earlier step than the one before it.
    """
    splits: dict[str, dict[int, dict]] = {}
    for row in rows:
        if "split" in row:
            by_step = splits.setdefault(row["split"], {})
            by_step.pop(row["step"], None)
            by_step[row["step"]] = row
    ordered = [list(by_step.values()) for by_step in splits.values()]
    return [{"before": found[0], "after": found[-1] if len(found) > 1 else None} for found in ordered]


def _matrices(evaluations: list[dict]) -> list[tuple[str, str]]:
    """Returns a title and a picture (SVG in base64) for each matrix that an evaluation has, as it was before and as it is."""
    pictures = []
    for evaluation in evaluations:
        rows = [row for row in (evaluation["before"], evaluation["after"]) if row]
        for index, matrix in enumerate(rows[-1].get("matrices", [])):
            pairs = [(f"step {row['step']}", row["matrices"][index]) for row in rows]
            title = f"{matrix['title']}, {rows[-1]['split'].replace('_', ' ')}"
            pictures.append((title, base64.b64encode(draw_matrices(pairs)).decode()))
    return pictures


def _choose_samples(samples: list[dict]) -> tuple[list[dict], Counter]:
    """Picks what to show, corrected problems first but always a wrong one if any is left; counts all outcomes."""
    by_step: dict[int, dict] = {}
    before = None
    for sample in samples:
        if sample["step"] != before:  # another evaluation: the last one stands last, whatever its step
            before, asked = sample["step"], Counter()
            by_step[before] = by_step.pop(before, {})
        # The same question may be asked twice: samples without an `id` are told apart by which time it is.
        name = sample.get("id", sample["question"])
        asked[sample["split"], name] += 1
        by_step[before][sample["split"], name, asked[sample["split"], name]] = sample
    if not by_step:
        return [], Counter()
    first, last = by_step[next(iter(by_step))], by_step[next(reversed(by_step))]
    pairs = [{"before": first[key], "after": last[key]} for key in first if key in last]
    for pair in pairs:
        pair["outcome"] = OUTCOMES[bool(pair["before"]["correct"]), bool(pair["after"]["correct"])]
    pairs.sort(key=lambda pair: pair["before"]["correct"])
    right = [pair for pair in pairs if pair["after"]["correct"]]
    wrong = [pair for pair in pairs if not pair["after"]["correct"]]
    shown = right[: SAMPLES_SHOWN - bool(wrong)]
    shown += wrong[: SAMPLES_SHOWN - len(shown)]
    if len(by_step) == 1:
        return [pair | {"after": None} for pair in shown], Counter()
    return shown, Counter(pair["outcome"] for pair in pairs)


def write_report(
    output_dir: Path,
    *,
    title: str,
    summary: str,
    curves: list[Curve],
    facts: dict[str, str],
    tables: Sequence[Table] = (),
) -> Path:
    """Writes `curves.png` and the self-contained page `report.html` from what a run has recorded so far.

    A line of `samples.jsonl` has `step`, `split`, `question`, `answer`, `completion`, `correct`. It may have `id`, which tells
    samples of one question apart; `image`, a data URI that is shown above the question; and `marked`, the completion as pairs
    of a kind ("equal", "wrong", or "missing" for what it should have said) and a text.

    Args:
        output_dir: The run's folder, with `metrics.jsonl`, `samples.jsonl`, `config.yaml`; a missing one is left out.
        title: The heading of the page.
        summary: One sentence on what was trained and how.
        curves: The plots, in order; series and plots without any data are left out.
        facts: Label -> value lines, such as the batch arithmetic, the memory and the launcher command.
        tables: Tables of the recipe's own, shown above the curves.

    Returns:
        The path of `report.html`.
    """
    rows = read_rows(output_dir / "metrics.jsonl")
    samples, outcomes = _choose_samples(read_rows(output_dir / "samples.jsonl"))
    config = output_dir / "config.yaml"
    curves = [curve for curve in curves if any(_points(rows, key) for key in curve.series.values())]
    columns = 2 if len(curves) == 4 else min(len(curves), 3)
    if curves:
        _replace(output_dir / "curves.png", _plot(curves, rows, columns, "png"))
    # The page holds one image a plot, so that they stack on a phone.
    images = [(curve.title, base64.b64encode(_plot([curve], rows, 1, "svg")).decode()) for curve in curves]

    evaluations = _before_and_after(rows)
    # Escaping stays on for everything: a completion is text that nobody has vetted.
    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"value": format_value, "interval": format_interval, "words": lambda name: name.replace("_", " ")}
    page = environment.get_template("page.html.jinja").render(
        title=title,
        summary=summary,
        evaluations=evaluations,
        images=images,
        matrices=_matrices(evaluations),
        columns=columns,
        samples=samples,
        outcomes=outcomes,
        facts=facts,
        tables=tables,
        config=config.read_text(encoding="utf-8") if config.is_file() else "",
    )
    _replace(output_dir / "report.html", page.encode(errors="replace"))
    return output_dir / "report.html"
