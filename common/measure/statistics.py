"""Rates and means with their 95 % intervals."""

import math


def share(successes: list[bool]) -> dict[str, float]:
    """Returns the share of successes with its 95 % interval (Wilson 1927, good also near 0 and 1).

    Args:
        successes: One entry for each independent problem.

    Returns:
        `value`, `low` and `high`, each in [0, 1].
    """
    n, z = len(successes), 1.959964
    p = sum(successes) / n
    center = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    # At 0 and 1 the bound is exact; in floating point it can miss by one unit.
    return {"value": p, "low": max(0.0, min(p, center - half)), "high": min(1.0, max(p, center + half))}


def mean(values: list[float]) -> dict[str, float]:
    """Returns the mean of scores in [0, 1] with its 95 % interval, the normal one.

    Args:
        values: One score for each independent problem.

    Returns:
        `value`, `low` and `high`, each in [0, 1].
    """
    average = sum(values) / len(values)
    variance = sum((value - average) ** 2 for value in values) / max(1, len(values) - 1)
    half = 1.959964 * math.sqrt(variance / len(values))
    return {"value": average, "low": max(0.0, average - half), "high": min(1.0, average + half)}


def pass_at_k(num_correct: list[int], num_samples: int, k: int) -> dict[str, float]:
    """Returns the chance that at least one of k samples is right, with a 95 % interval over the problems.

    The estimator is the unbiased one of Chen et al. 2021 (arXiv:2107.03374); the interval is the normal one of the mean.

    Args:
        num_correct: For each problem, how many of its samples are right.
        num_samples: Samples drawn for each problem.
        k: At most `num_samples`.

    Returns:
        `value`, `low` and `high`, each in [0, 1].
    """
    return mean([1 - math.comb(num_samples - right, k) / math.comb(num_samples, k) for right in num_correct])
