"""The curves of a run as one picture, curves.png: for a README, and wherever no page is shown."""

import io

from common.report.curves import Curve, points_of, smooth

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

# Okabe and Ito's palette, told apart by readers with any kind of colour vision; the markers tell series apart in grey.
COLORS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"]
MARKERS = "os^Dv*"
PLOT_SIZE = (4.4, 3.3)  # inches; with 10 point text it is legible on a phone and in a README
FAR = 2.5  # times the largest of the others: a first value beyond that would leave no room for the rest


def _top_without_first(drawn: list[list[float]]) -> float | None:
    """Returns where an axis ends if the first values of its series leave no room for the others; else None."""
    later = [value for values in drawn for value in values[1:]]
    first = max(values[0] for values in drawn)
    return 1.15 * max(later) if later and first > FAR * max(later) > 0 else None


def _draw(axes: Axes, curve: Curve, rows: list[dict]) -> None:
    drawn = {label: (key, points) for label, key in curve.series.items() if (points := points_of(rows, key))}
    lines = []
    for index, (label, (key, points)) in enumerate(drawn.items()):
        steps, values = list(points), [point["value"] for point in points.values()]
        color = COLORS[index % len(COLORS)]
        marker = MARKERS[index % len(MARKERS)] if ":" in key else ""
        bounded = {step: (point["low"], point["high"]) for step, point in points.items() if point.get("low") is not None}
        if bounded:
            axes.vlines(list(bounded), *zip(*bounded.values(), strict=True), color=color, lw=3.5, alpha=0.35)
        if not marker and len(values) > 30:
            axes.plot(steps, values, lw=0.7, alpha=0.4, color=color)
            values = smooth(values)
        axes.plot(steps, values, lw=1.5, color=color, marker=marker, ms=4.5, label=label)
        lines.append(values)
    cut = _top_without_first(lines)
    if curve.percent:
        top = cut or axes.get_ylim()[1]
        axes.set_ylim(-0.03 * top, max(top, 1.03) if top > 0.5 and not cut else top)
        axes.yaxis.set_major_formatter(PercentFormatter(xmax=1, symbol=" %"))
    elif cut:
        axes.set_ylim(top=cut)
    if cut:
        first = max(values[0] for values in lines)
        shown = f"{first:.0%}".replace("%", " %") if curve.percent else f"{first:.3g}"
        axes.annotate(f"↑ {shown}", (0.02, 0.98), xycoords="axes fraction", va="top", fontsize=9.5)
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


def plot(curves: list[Curve], rows: list[dict]) -> bytes:
    """Draws curves side by side, without pyplot, so that nothing of a caller's own matplotlib state is touched.

    Args:
        curves: Those of which there are points.
        rows: Those of metrics.jsonl.

    Returns:
        A PNG.
    """
    columns = 2 if len(curves) == 4 else min(len(curves), 3)
    lines = -(-len(curves) // columns)
    figure = Figure((PLOT_SIZE[0] * columns, PLOT_SIZE[1] * lines), layout="constrained", facecolor="white")
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.12)
    for index, curve in enumerate(curves):
        _draw(figure.add_subplot(lines, columns, index + 1), curve, rows)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=150)
    return file.getvalue()
