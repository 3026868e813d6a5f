"""Intervals and pass@k against values known from elsewhere."""

from itertools import combinations

from common.measure.statistics import mean, pass_at_k, share

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st


def test_wilson_interval():
    # R: prop.test(30, 100, correct = FALSE)$conf.int gives 0.2189489 0.3958485
    found = share([True] * 30 + [False] * 70)
    assert found["value"] == 0.3
    assert (found["low"], found["high"]) == pytest.approx((0.2189489, 0.3958485), abs=1e-6)


@pytest.mark.parametrize("successes", [[True] * 5, [False] * 5])
def test_interval_at_the_ends(successes: list[bool]):
    found = share(successes)
    assert 0 <= found["low"] <= found["value"] <= found["high"] <= 1
    assert found["high"] - found["low"] > 0.3


@settings(derandomize=True, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1))
def test_an_interval_holds_its_value(scores: list[float]):
    for found in (mean(scores), share([score > 0.5 for score in scores])):
        assert 0 <= found["low"] <= found["value"] <= found["high"] <= 1


def test_pass_at_k_is_the_share_of_draws_with_a_right_one():
    samples = [True, False, False, True, False]
    draws = list(combinations(samples, 2))
    assert pass_at_k([2], 5, 2)["value"] == pytest.approx(sum(any(draw) for draw in draws) / len(draws))
    assert pass_at_k([0, 5], 5, 1) == {"value": 0.5, "low": 0.0, "high": 1.0}
    assert pass_at_k([1, 3, 5], 5, 5)["value"] == 1.0
