"""The means of BFCL's leaderboard over its categories of one turn.

As bfcl_eval/eval_checker/eval_runner_helper.py in https://github.com/ShishirPatil/gorilla computes them (BFCL v4). The
leaderboard's overall accuracy also needs the categories of several turns and of agents, so there is none here.
"""

from typing import Any

from common.measure.statistics import weighted_share

# By the leaderboard's column the categories and their weights; None: by the number of their questions. Non-Live is the mean of
# four means, of which the first is that of three languages.
MEANS: dict[str, dict[str, float | None]] = {
    "non_live_ast_acc": {
        **dict.fromkeys(("simple_python", "simple_java", "simple_javascript"), 1 / 12),
        **dict.fromkeys(("multiple", "parallel", "parallel_multiple"), 1 / 4),
    },
    "live_acc": dict.fromkeys(("live_simple", "live_multiple", "live_parallel", "live_parallel_multiple")),
    "relevance_detection": {"live_relevance": 1.0},
    "irrelevance_detection": {"irrelevance": 1 / 2, "live_irrelevance": 1 / 2},
}


def _accuracy(category: str, metrics: dict[str, Any]) -> dict[str, float]:
    """Returns what the leaderboard calls the accuracy of a category."""
    if "relevance" not in category:
        return metrics["exact_call"]
    return metrics["irrelevance" if "irrelevance" in category else "relevance"]


def leaderboard(results: dict[str, dict[str, Any]]) -> tuple[dict[str, dict[str, float]], list[str]]:
    """Computes the leaderboard's means of the categories that were asked.

    Args:
        results: By category `metrics` (see `metrics.score`) and `count`, the number of its questions.

    Returns:
        The means by the leaderboard's column, with their 95 % intervals; and for each that cannot be computed a line with
        what is missing.
    """
    means, missing = {}, []
    for column, weights in MEANS.items():
        absent = [category for category in weights if category not in results]
        if absent:
            missing.append(f"No {column}: it needs {', '.join(absent)}, too.")
            continue
        shares = [_accuracy(category, results[category]["metrics"]) for category in weights]
        counts = [results[category]["count"] for category in weights]
        means[column] = weighted_share(
            shares, [count if weight is None else weight for count, weight in zip(counts, weights.values(), strict=True)]
        )
    return means, missing
