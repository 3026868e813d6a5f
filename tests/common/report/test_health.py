"""The health of a run with rewards: each thing that goes wrong is named, with what to do; what is well is left alone."""

from common.data.runs import finite
from common.report.health import health_of

import pytest

WELL = {
    "reward": (0.2, 0.8),
    "reward_std": (0.4, 0.3),
    "frac_reward_zero_std": (0.1, 0.3),
    "entropy": (0.6, 0.3),
    "completions/clipped_ratio": (0.05, 0.0),
    "completions/mean_length": (80.0, 120.0),
    "clip_ratio/region_mean": (0.0, 0.01),
    "rewards/correct/mean": (0.1, 0.7),
    "rewards/formatted/mean": (0.9, 0.9),
}
GROUPS = [
    {"step": 1, "prompt": "2 + 2", "completions": [{"text": text, "reward": text == "4"} for text in ("4", "5", "four", "22")]},
    {"step": 2, "prompt": "1 + 1", "completions": [{"text": "2", "reward": 1}] * 4},  # there is nothing to be learned any more
]


def findings(changes: dict[str, tuple[float, float]], held_out: tuple[float, float] = (0.1, 0.7)) -> dict[str, str]:
    """Returns the advice by title, of a run whose values go from one to the other."""
    ends = WELL | changes
    rows = [{"step": step} | {key: pair[step >= 20] for key, pair in ends.items()} for step in range(40)]
    for step, value in zip((0, 40), held_out, strict=True):
        metric = {"value": value, "low": value - 0.03, "high": value + 0.03}
        rows.append({"step": step, "split": "held_out", "metrics": {"accuracy": metric}})
    return {finding.title: finding.advice for finding in health_of(finite(rows), GROUPS)}  # as metrics.jsonl has them


def test_a_run_that_is_well_has_nothing_to_do():
    found = findings({})
    assert len(found) == 6
    assert not any(found.values())


@pytest.mark.parametrize(
    ("changes", "title", "advice"),
    [
        ({"frac_reward_zero_std": (0.2, 0.9)}, "Groups without variance", "harder problems"),
        ({"frac_reward_zero_std": (0.7, 0.9), "reward": (0.1, 0.0)}, "Groups without variance", "easier problems"),
        ({"entropy": (0.6, 0.005)}, "Entropy", "raise temperature"),
        ({"entropy": (0.6, 4.0)}, "Entropy", "lower learning_rate"),
        ({"completions/clipped_ratio": (0.1, 0.4)}, "Truncated completions", "raise max_completion_length"),
        ({"clip_ratio/region_mean": (0.1, 0.5)}, "Clipped updates", "num_iterations"),
        ({"rewards/formatted/mean": (0.9, 0.2)}, "Signs of a hacked reward", "Read the completions"),
        ({"reward": (0.8, 0.8), "completions/mean_length": (80.0, 400.0)}, "Signs of a hacked reward", "Read the completions"),
    ],
)
def test_what_is_wrong_is_named_and_nothing_else(changes: dict[str, tuple[float, float]], title: str, advice: str):
    found = {name: text for name, text in findings(changes).items() if text}
    assert list(found) == [title]
    assert advice in found[title]


def test_a_reward_that_rises_alone_is_a_sign():
    assert findings({}, held_out=(0.1, 0.1))["Signs of a hacked reward"]
    assert not findings({}, held_out=(0.1, float("nan")))["Signs of a hacked reward"]


def test_groups_that_repeat_themselves_are_named():
    rows = [{"step": step, "reward": 0.1 * step} for step in range(10)]
    alike = [{"completions": [{"text": "5", "reward": 0}] * 8}]
    assert [finding.title for finding in health_of(rows, [*alike, *GROUPS[1:]]) if finding.advice] == ["Repeated completions"]


def test_a_run_without_rewards_or_one_that_has_just_begun_has_no_health():
    assert health_of([{"step": step, "loss": 1.0} for step in range(40)], []) == []
    assert health_of([{"step": 1, "reward": 0.5}], []) == []
