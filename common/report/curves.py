"""The curves of a report: what is drawn, from the rows that a run has written, as numbers that a page or a picture can draw."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import fmean
from typing import Any

MOST_POINTS = 400  # of a series: neighbours beyond that are one point, their mean
NOT_DRAWN = {"step", "seconds", "epoch", "split", "count", "total_flos", "num_tokens", "evaluation_seconds", "train_seconds"}


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


# What the trainers log beside the curves that a recipe chose, where it is there.
LOGGED = [
    Curve("Learning rate", {"learning rate": "learning_rate"}),
    Curve("Gradient norm, before clipping", {"gradient norm": "grad_norm"}),
    Curve("Loss", {"training": "loss", "validation": "eval_loss"}),
    Curve(
        "Tokens predicted right", {"training": "mean_token_accuracy", "validation": "eval_mean_token_accuracy"}, percent=True
    ),
    Curve("Entropy of a token (nats)", {"training": "entropy", "validation": "eval_entropy"}),
    Curve("Spread of the rewards (standard deviation)", {"reward": "reward_std"}),
    Curve("Groups whose rewards are all alike", {"share of groups": "frac_reward_zero_std"}, percent=True),
    Curve(
        "Length of a completion (tokens)",
        {"mean": "completions/mean_length", "shortest": "completions/min_length", "longest": "completions/max_length"},
    ),
    Curve("Completions cut at the longest", {"share": "completions/clipped_ratio"}, percent=True),
    Curve(
        "Tokens whose update is clipped",
        {"all": "clip_ratio/region_mean", "below": "clip_ratio/low_mean", "above": "clip_ratio/high_mean"},
        percent=True,
    ),
    Curve("Distance from the model before training (KL)", {"KL": "kl"}),
    Curve("Tokens a second", {"training": "tokens_per_second", "sampling": "rollout_tokens_per_second"}),
    Curve("Share of the GPUs' peak (MFU)", {"MFU": "mfu"}, percent=True),
    Curve("Share of a step that samples", {"sampling": "rollout_share"}, percent=True),
    Curve("Padding", {"share of what is computed": "padding_share"}, percent=True),
    Curve("Wait for data (seconds a step)", {"wait": "data_wait"}),
    Curve("Seconds a step", {"step": "step_time"}),
    Curve("Peak memory (GiB)", {"the process that took most": "peak_memory_gib"}),
]


def points_of(rows: list[dict], key: str) -> dict[int, dict]:
    """Returns step -> {"value", perhaps "low" and "high", perhaps None}; a step repeated after an interruption counts once.

    Args:
        rows: Those of metrics.jsonl.
        key: As in `Curve.series`.
    """
    split, _, metric = key.rpartition(":")
    points = {}
    for row in rows:
        if split and row.get("split") == split and _is_number(row["metrics"].get(metric, {}).get("value")):
            points[row["step"]] = row["metrics"][metric]
        elif not split and "split" not in row and _is_number(row.get(key)):
            points[row["step"]] = {"value": row[key]}
    return dict(sorted(points.items()))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def smooth(values: list[float]) -> list[float]:
    """Returns the moving average over a fifteenth of a series; the series itself if it has 30 values or fewer."""
    half = len(values) // 30
    return [fmean(values[max(0, i - half) : i + half + 1]) for i in range(len(values))] if half else values


def others(rows: list[dict], drawn: list[Curve]) -> list[Curve]:
    """Returns curves of all that was logged and is not drawn: first those of `LOGGED`, then what is left, such as each reward.

    What never changes is left out, and keys of which `LOGGED` has the important ones (least and greatest of a step).
    """
    keys = dict.fromkeys(key for row in rows if "split" not in row for key, value in row.items() if _is_number(value))
    taken = {key for curve in drawn for key in curve.series.values()}
    found = []
    for curve in LOGGED:
        if not taken.issuperset(curve.series.values()):
            found.append(curve)
            taken.update(curve.series.values())
    groups: dict[str, dict[str, str]] = {}
    for key in keys:
        values = {row[key] for row in rows if _is_number(row.get(key))}
        if key in NOT_DRAWN or key in taken or len(values) < 2 or key.startswith(("clip_ratio/", "completions/")):
            continue
        first, *names, last = key.split("/") if key.count("/") > 1 else (key, key)  # rewards/correct/mean
        title = f"{first}, {last}" if names else key.replace("/", ", ")
        groups.setdefault(title.replace("_", " "), {})["/".join(names).replace("_", " ") or last.rpartition("/")[2]] = key
    found += [Curve(title[:1].upper() + title[1:], series) for title, series in groups.items()]
    return [curve for curve in found if any(len(points_of(rows, key)) > 1 for key in curve.series.values())]


def present(rows: list[dict], curves: Iterable[Curve]) -> list[Curve]:
    """Returns the curves of which there is any point."""
    return [curve for curve in curves if any(points_of(rows, key) for key in curve.series.values())]


def drawable(curve: Curve, rows: list[dict]) -> dict[str, Any]:
    """Returns a curve as the page's script draws it: `title`, `percent`, and `series` of `label`, `measured` and `points`.

    A point is a step and a value, and the two ends of its 95 % interval if it has one. Series without points are left out.
    """
    series = [(label, key, points_of(rows, key)) for label, key in curve.series.items()]
    return {
        "title": curve.title,
        "percent": curve.percent,
        "series": [
            {"label": label.replace("_", " "), "measured": ":" in key, "points": thinned(points)}
            for label, key, points in series
            if points
        ],
    }


def thinned(points: dict[int, dict]) -> list[list[float]]:
    """Returns points as the page's script draws them, neighbours joined beyond `MOST_POINTS`.

    Args:
        points: What `points_of` returned.
    """
    listed = [
        [step, *(_short(point[key]) for key in ("value", "low", "high") if point.get(key) is not None)]
        for step, point in points.items()
    ]
    size = -(-len(listed) // MOST_POINTS)
    if size == 1:
        return listed
    groups = [listed[start : start + size] for start in range(0, len(listed), size)]
    return [[group[-1][0], *(_short(fmean(column)) for column in list(zip(*group, strict=False))[1:])] for group in groups]


def _short(value: float) -> float:
    """Returns a number with the digits that a picture can show."""
    return float(f"{value:.5g}")
