"""Measured numbers have one form wherever they are read."""

import math
import re

from common.measure.statistics import paired_difference
from common.report.numbers import format_gain, format_metric, print_results

import pytest


@pytest.mark.parametrize(
    ("metric", "text"),
    [
        ({"value": 0.815, "low": 0.77, "high": 0.8501}, "81.5% [77.0%, 85.0%]"),
        ({"value": -0.02, "low": -0.05, "high": 0.01}, "-2.0% [-5.0%, 1.0%]"),
        ({"value": 1.3, "low": None, "high": None, "count": 1}, "130.0% (no interval) on 1"),
        ({"value": 0.5, "low": 0.25, "high": 0.75, "count": 8}, "50.0% [25.0%, 75.0%]"),
        ({"value": 1234.56}, "1,234.6"),
        ({"value": 0.45678}, "0.457"),
        ({"value": 0.0}, "0"),
        ({"value": None}, "-"),  # NaN in metrics.jsonl
        ({"value": math.nan}, "-"),
    ],
)
def test_a_metric_in_a_line(metric: dict[str, float], text: str):
    assert format_metric(metric, 8) == text
    assert format_metric(metric) == text.removesuffix(" on 1")


def test_results_on_a_terminal(capsys: pytest.CaptureFixture[str]):
    metrics = {
        "accuracy": {"value": 0.5, "low": 0.25, "high": 0.75, "count": 8},
        "exact_call": {"value": 0.5, "low": 0.25, "high": 0.75, "count": 6},
        "error_rate": {"value": 1.3, "low": None, "high": None, "count": 8},
        "mean_completion_length": {"value": 18.44},
    }
    print_results("my_model", {"held_out": {"count": 8, "metrics": metrics}})
    assert capsys.readouterr().out.splitlines() == [
        "my_model",
        "",
        "held_out: 8 problems",
        "  accuracy                  50.0%   95 % interval [25.0%, 75.0%]",
        "  exact_call                50.0%   95 % interval [25.0%, 75.0%] on 6",
        "  error_rate               130.0%   (no interval)",
        "  mean_completion_length     18.4",
    ]


def test_a_gain_in_a_line():
    gain = paired_difference([1, 1, 1, 0] * 50, [0, 1, 0, 1] * 50)
    assert re.fullmatch(r"\+25\.0 points \[\+1\d\.\d, \+3\d\.\d\]", format_gain(gain))
    assert format_gain({"value": -0.012, "low": -0.031, "high": 0.004}) == "-1.2 points [-3.1, +0.4]"
