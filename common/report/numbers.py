"""Measured numbers as people read them."""

import math
from collections.abc import Mapping
from typing import Any

from common.errors import say


def as_metric(measured: Mapping[str, float] | float) -> Mapping[str, float]:
    """Returns what a recipe measured, a number or `value` with perhaps `low` and `high`, in the second form."""
    return measured if isinstance(measured, Mapping) else {"value": measured}


def print_results(name: str, results: dict[str, dict[str, Any]]) -> None:
    """Prints the metrics of each held-out set.

    Args:
        name: The model's name.
        results: What the recipe's `evaluate` returned.
    """
    say(name)
    for split, result in results.items():
        say(f"\n{split}: {result['count']} problems")
        for metric, measured in result["metrics"].items():
            values = as_metric(measured)
            label = "95 % interval " if values.get("low") is not None else ""
            interval = label + format_interval(values) + _on_part(values, result["count"])
            say(f"  {metric:<24}{format_value(values):>7}   {interval}".rstrip())


def format_value(metric: Mapping[str, float | None]) -> str:
    """Returns the value of a metric with the digits worth reading: 81.5% if it has an interval, else a number: 12.3, 0.456.

    Args:
        metric: `value`, a `-` where it is no number (0 of 0); of a share also `low` and `high`, its 95 % interval.
    """
    value = metric["value"]
    if value is None or not math.isfinite(value):
        return "-"
    if "low" in metric:
        return f"{value:.1%}"
    return f"{value:,.1f}" if abs(value) >= 10 else f"{value:.3g}"


def format_interval(metric: Mapping[str, float | None]) -> str:
    """Returns the 95 % interval of a share, [77.0%, 85.0%], or that there is none; an empty text for other metrics."""
    if "low" not in metric:
        return ""
    return "(no interval)" if metric["low"] is None else f"[{metric['low']:.1%}, {metric['high']:.1%}]"


def count_of(metric: Mapping[str, float | None], count: int) -> int:
    """Returns of how many problems a metric is.

    Args:
        metric: With its own `count` if it is a share.
        count: All problems of its set.
    """
    return metric.get("count", count)


def _on_part(metric: Mapping[str, float | None], count: int) -> str:
    return "" if count_of(metric, count) == count else f" on {metric['count']}"


def format_metric(metric: Mapping[str, float | None], count: int | None = None) -> str:
    """Returns a metric with its interval, if it has one: 81.5% [77.0%, 85.0%], or 12.3.

    Args:
        metric: `value`; of a share also `low`, `high` and `count`.
        count: All problems of its set, so that it is said which metrics are of fewer: 81.5% [77.0%, 85.0%] on 341.
    """
    shown = f"{format_value(metric)} {format_interval(metric)}".rstrip()
    return shown if count is None else shown + _on_part(metric, count)


def format_gain(difference: Mapping[str, float]) -> str:
    """Returns the difference of two shares on the same problems, with its 95 % interval: +4.2 points [+2.5, +5.9].

    Args:
        difference: What `common.measure.statistics.paired_difference` returned.
    """
    return "{value:+.1f} points [{low:+.1f}, {high:+.1f}]".format(**{name: 100 * share for name, share in difference.items()})
