"""Rates and means with their 95 % intervals.

What a function returns says with `count` of how many problems it is: a metric may apply to a part of a held-out set.
"""

import math
from collections.abc import Hashable, Sequence

import numpy as np

Z = 1.959964  # 95 % of a normal distribution lie within so many standard deviations
RESAMPLES = 1000


def _wilson(p: float, n: int) -> tuple[float, float]:
    """Returns the 95 % interval of a share p of n independent problems (Wilson 1927, good also near 0 and 1)."""
    center = (p + Z * Z / (2 * n)) / (1 + Z * Z / n)
    half = Z / (1 + Z * Z / n) * math.sqrt(p * (1 - p) / n + Z * Z / (4 * n * n))
    # At 0 and 1 the bound is exact; in floating point it can miss by one unit.
    return max(0.0, min(p, center - half)), min(1.0, max(p, center + half))


def share(successes: Sequence[bool], groups: Sequence[Hashable] | None = None) -> dict[str, float]:
    """Returns the share of successes with its 95 % interval: Wilson's, or over groups the bootstrap's.

    Args:
        successes: One entry for each problem.
        groups: What problems that belong together share (a conversation, a receipt): they are no independent evidence, so they
            are resampled together.

    Returns:
        `value`, `low` and `high`, each in [0, 1], and `count`.
    """
    if groups is not None and len(set(groups)) < len(groups):
        return ratio([int(success) for success in successes], [1] * len(successes), groups)
    low, high = _wilson(sum(successes) / len(successes), len(successes))
    return {"value": sum(successes) / len(successes), "low": low, "high": high, "count": len(successes)}


def mean(values: Sequence[float]) -> dict[str, float]:
    """Returns the mean of scores in [0, 1] with its 95 % interval: Wilson's where all are 0 or 1, else the bootstrap's.

    Args:
        values: One score for each problem.

    Returns:
        `value`, `low` and `high`, each in [0, 1], and `count`.
    """
    if set(values) <= {0.0, 1.0}:
        return share([value == 1.0 for value in values])
    return ratio(values, [1] * len(values))


def ratio(parts: Sequence[float], wholes: Sequence[float], groups: Sequence[Hashable] | None = None) -> dict[str, float | None]:
    """Returns the sum of parts over that of wholes, with the 95 % interval of the bootstrap over problems (Efron 1979).

    Where every problem has the same ratio no resample differs, which is no certainty: 8 wrong of 8 may be 7 of 10. The interval
    is then Wilson's of as many problems; there is none for what is no share, such as 13 errors in a text of 10 characters.

    Args:
        parts: For each problem, such as the errors in a text.
        wholes: For each problem, such as its characters.
        groups: See `share`.

    Returns:
        `value`, `low` and `high`, both None where there is no interval, and `count`.
    """
    names = list(range(len(parts)) if groups is None else groups)
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    pairs = np.zeros((2, len(numbers)))
    np.add.at(pairs, (slice(None), [numbers[name] for name in names]), np.array([parts, wholes], dtype=np.float64))
    value = float(pairs[0].sum() / max(pairs[1].sum(), 1))
    rng, found = np.random.default_rng(0), []
    for _ in range(RESAMPLES // 100):  # a hundred at once: so many numbers fit into memory
        part, whole = pairs[:, rng.integers(len(numbers), size=(100, len(numbers)))].sum(axis=2)
        found.append(part / np.maximum(whole, 1))
    low, high = np.quantile(np.concatenate(found), [0.025, 0.975])
    if high - low < 1e-12:
        low, high = _wilson(value, len(numbers)) if 0 <= value <= 1 else (None, None)
    else:
        low, high = float(min(low, value)), float(max(high, value))
    return {"value": value, "low": low, "high": high, "count": len(parts)}


def paired_difference(one: Sequence[float], other: Sequence[float]) -> dict[str, float]:
    """Returns the difference of two means over the same problems, with its 95 % interval: the bootstrap's over problems.

    The two scores of a problem are resampled together, so what is hard for both adds nothing to the interval: it is narrower
    than those of the two means suggest. Where all differences are alike no resample differs, and the interval reaches as far as
    Wilson's of a share of 0 in as many problems.

    Args:
        one: For each problem a score in [0, 1].
        other: For each of the same problems, in the same order, the score to compare with.

    Returns:
        `value`, one minus other, `low` and `high`, each in [-1, 1], and `count`.
    """
    differences = [a - b for a, b in zip(one, other, strict=True)]
    if max(differences) - min(differences) > 1e-12:  # not the rounding of chances
        return ratio(differences, [1] * len(differences))
    value, (_, half) = differences[0], _wilson(0.0, len(differences))
    return {"value": value, "low": max(-1.0, value - half), "high": min(1.0, value + half), "count": len(differences)}


def pass_at_k(num_correct: list[int], num_samples: int, k: int) -> dict[str, float]:
    """Returns the chance that at least one of k samples is right, with a 95 % interval over the problems (see `mean`).

    The estimator is the unbiased one of Chen et al. 2021 (arXiv:2107.03374).

    Args:
        num_correct: For each problem, how many of its samples are right.
        num_samples: Samples drawn for each problem.
        k: At most `num_samples`.

    Returns:
        `value`, `low` and `high`, each in [0, 1], and `count`.
    """
    return mean([1 - math.comb(num_samples - right, k) / math.comb(num_samples, k) for right in num_correct])


def weighted_share(shares: Sequence[dict[str, float]], weights: Sequence[float]) -> dict[str, float]:
    """Returns the weighted mean of independent shares with a 95 % interval.

    The interval is put together from theirs (Zou and Donner 2008, doi:10.1002/sim.3095), which are good near 0 and 1, too.

    Args:
        shares: `value`, `low`, `high` and `count` of each, such as `share` returns.
        weights: One for each share; only their proportions matter.

    Returns:
        `value`, `low` and `high`, and `count`, of all shares together.
    """
    parts = [weight / sum(weights) for weight in weights]
    value = sum(part * one["value"] for part, one in zip(parts, shares, strict=True))
    below = math.sqrt(sum((part * (one["value"] - one["low"])) ** 2 for part, one in zip(parts, shares, strict=True)))
    above = math.sqrt(sum((part * (one["high"] - one["value"])) ** 2 for part, one in zip(parts, shares, strict=True)))
    count = sum(one["count"] for one in shares)
    return {"value": value, "low": max(0.0, value - below), "high": min(1.0, value + above), "count": count}
