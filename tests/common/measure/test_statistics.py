"""Intervals and pass@k against values known from elsewhere."""

from itertools import combinations

from common.measure.statistics import mean, paired_difference, pass_at_k, ratio, share, weighted_share

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


def test_a_weighted_mean_of_shares():
    half, none = share([True, False] * 50), share([False] * 20)
    assert weighted_share([half], [3.0]) == pytest.approx(half)
    found = weighted_share([half, none], [1, 3])
    assert found["count"] == 120
    assert found["value"] == pytest.approx(1 / 8)
    # Neither an interval of nothing at the share that is 0, nor the sum of both.
    assert found["value"] - found["low"] == pytest.approx((0.5 - half["low"]) / 4)
    assert (none["high"] * 3 / 4) < found["high"] - found["value"] < (none["high"] * 3 + half["high"] - 0.5) / 4
    assert weighted_share([share([True] * 9)] * 2, [1, 1])["high"] == 1.0


def test_pass_at_k_is_the_share_of_draws_with_a_right_one():
    samples = [True, False, False, True, False]
    draws = list(combinations(samples, 2))
    assert pass_at_k([2], 5, 2)["value"] == pytest.approx(sum(any(draw) for draw in draws) / len(draws))
    assert pass_at_k([0, 5], 5, 1) == share([False, True])
    assert pass_at_k([1, 3, 5], 5, 5)["value"] == 1.0


def test_a_difference_over_the_same_problems():
    # 40 problems that both solve, 40 that neither does, 15 that only the one solves, 5 that only the other does.
    one, other = [1.0] * 40 + [0.0] * 40 + [1.0] * 15 + [0.0] * 5, [1.0] * 40 + [0.0] * 40 + [0.0] * 15 + [1.0] * 5
    found = paired_difference(one, other)
    assert found["value"] == pytest.approx(0.10)
    # By the normal approximation of McNemar's counts: 0.10 +- 1.96 * sqrt((15 + 5) - (15 - 5)^2 / 100) / 100.
    half = 1.96 * (20 - 10**2 / 100) ** 0.5 / 100
    assert (found["low"], found["high"]) == pytest.approx((0.10 - half, 0.10 + half), abs=0.015)
    assert found["high"] - found["low"] < (mean(one)["high"] - mean(one)["low"]) + (mean(other)["high"] - mean(other)["low"])
    turned = paired_difference(other, one)
    assert (turned["value"], turned["low"]) == pytest.approx((-0.10, -found["high"]), abs=0.015)


def test_no_difference_in_a_few_problems_is_no_certainty():
    for one, other in (([1.0] * 8, [1.0] * 8), ([0.5] * 8, [0.5] * 8)):
        found = paired_difference(one, other)
        assert found["value"] == 0
        assert found["low"] == -found["high"] < -0.2
    rounded = paired_difference([1 / 3, 1.0], [0.0, 2 / 3])  # chances: both differences are a third, but for their rounding
    assert rounded["low"] < 0 < rounded["high"]
    won = paired_difference([1.0] * 8, [0.0] * 8)
    assert (won["low"], won["high"]) == pytest.approx((share([True] * 8)["low"], 1.0))
    lost = paired_difference([0.0] * 8, [1.0] * 8)
    assert (lost["low"], lost["high"]) == (-won["high"], -won["low"])


def test_problems_that_are_all_alike_are_no_certainty():
    for values in ([0.0] * 8, [1.0] * 8, [0.5] * 8):
        found = mean(values)
        assert found["high"] - found["low"] > 0.2
    assert ratio([3] * 8, [4] * 8)["low"] < 0.75 < ratio([3] * 8, [4] * 8)["high"]
    # 13 errors in 10 characters are no share, of which Wilson's interval would be.
    for copies in (1, 8):
        assert ratio([13] * copies, [10] * copies) == {"value": 1.3, "low": None, "high": None, "count": copies}


def test_what_belongs_together_is_one_piece_of_evidence():
    # Ten conversations of ten turns, all right or all wrong: as sure as ten problems, not as a hundred.
    right, groups = (
        [number % 2 == 0 for number in range(10) for _ in range(10)],
        [number for number in range(10) for _ in range(10)],
    )
    apart, together, ten = share(right), share(right, groups), share(right[::10])
    assert apart["value"] == together["value"] == 0.5
    assert together["high"] - together["low"] > 2 * (apart["high"] - apart["low"])
    assert together["high"] - together["low"] == pytest.approx(ten["high"] - ten["low"], rel=0.2)
    assert share(right, range(100)) == apart
    assert together["count"] == apart["count"] == 100
    scores = [float(value) / 2 for value in right]
    apart, together = mean(scores), ratio(scores, [1] * len(scores), groups)
    assert together["high"] - together["low"] > 2 * (apart["high"] - apart["low"])


def test_the_bootstrap_finds_the_interval_of_the_mean():
    values = [number / 100 for number in range(101)] * 4
    half = 1.96 * (sum((value - 0.5) ** 2 for value in values) / len(values) / len(values)) ** 0.5
    found = mean(values)
    assert (found["low"], found["high"]) == pytest.approx((0.5 - half, 0.5 + half), abs=0.005)
