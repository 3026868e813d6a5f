"""The health of a run with rewards: what keeps it from learning, or lets it learn the wrong thing, and what to do about it."""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import fmean
from typing import Any

WINDOW = 10  # logged steps at the start and at the end that are held against each other
FEWEST = 4  # logged steps below which nothing is said


@dataclass(frozen=True)
class Finding:
    """One line of the health of a run.

    Attributes:
        title: What was looked at.
        value: What was found, as text.
        advice: What to do about it; empty if all is well.
    """

    title: str
    value: str
    advice: str = ""


def _ends(rows: list[dict[str, Any]], key: str) -> tuple[float, float] | None:
    """Returns the mean of a logged value over the first steps and over the last ones; None if it was hardly logged."""
    values = [row[key] for row in rows if row.get(key) is not None and "split" not in row]
    size = min(WINDOW, len(values) // 2)
    return (fmean(values[:size]), fmean(values[-size:])) if len(values) >= FEWEST else None


def _variance(rows: list[dict[str, Any]]) -> Finding | None:
    found, reward = _ends(rows, "frac_reward_zero_std"), _ends(rows, "reward")
    if found is None or reward is None:
        return None
    advice = ""
    if found[1] > 0.5:
        easier = reward[1] >= reward[0]
        what = "harder problems, or leave out those that are always right" if easier else "easier problems, or a better start"
        advice = f"Most groups teach nothing, as all their rewards are alike: use {what}; raise num_generations or temperature."
    return Finding("Groups without variance", f"{found[1]:.0%} of the groups in the last steps", advice)


def _entropy(rows: list[dict[str, Any]]) -> Finding | None:
    found = _ends(rows, "entropy")
    if found is None:
        return None
    first, last = found
    advice = ""
    if last < 0.1 * first:
        advice = (
            "The model hardly tries anything new and stops learning: raise temperature or epsilon_high, lower learning_rate, "
            "or hold it near its start with beta above 0."
        )
    elif last > 2 * first and last > 0.5:
        advice = "The model is losing its footing (its tokens become arbitrary): lower learning_rate, or set beta above 0."
    return Finding("Entropy", f"{first:.3g} nats a token at first, {last:.3g} in the last steps", advice)


def _clipped(rows: list[dict[str, Any]]) -> Finding | None:
    found = _ends(rows, "clip_ratio/region_mean")
    if found is None:
        return None
    advice = "Updates go too far from the model that sampled: lower learning_rate or num_iterations." if found[1] > 0.2 else ""
    return Finding("Clipped updates", f"{found[1]:.1%} of the tokens in the last steps", advice)


def _truncated(rows: list[dict[str, Any]]) -> Finding | None:
    found = _ends(rows, "completions/clipped_ratio")
    if found is None:
        return None
    advice = "A cut answer is a wrong answer: raise max_completion_length, or reward brevity." if found[1] > 0.1 else ""
    return Finding("Truncated completions", f"{found[1]:.1%} of the completions in the last steps", advice)


def _held_out(rows: list[dict[str, Any]]) -> tuple[dict[str, float], dict[str, float]] | None:
    """Returns the first metric of the first held-out set at its first and at its last evaluation."""
    measured = [row for row in rows if "split" in row]
    same = [row for row in measured if row["split"] == measured[0]["split"]]
    if len(same) < 2:
        return None
    name = next(iter(same[0]["metrics"]))
    first, last = same[0]["metrics"][name], same[-1]["metrics"].get(name, same[0]["metrics"][name])
    return None if None in (first["value"], last["value"]) else (first, last)


def _hacked(rows: list[dict[str, Any]]) -> Finding | None:
    """Looks whether the reward rises while what it stands for does not."""
    reward, held_out, length = _ends(rows, "reward"), _held_out(rows), _ends(rows, "completions/mean_length")
    if reward is None:
        return None
    spread = _ends(rows, "reward_std")
    rises = reward[1] - reward[0] > max(0.05 * abs(reward[0]), 0.25 * (spread[0] if spread else 0.0))
    signs = []
    if held_out and rises and held_out[1]["value"] <= (held_out[0].get("high") or held_out[0]["value"]):
        signs.append("the reward rises, and the held-out score does not")
    names = dict.fromkeys(key for row in rows for key in row if key.startswith("rewards/") and key.endswith("/mean"))
    moved = {name.split("/")[1]: found[1] - found[0] for name in names if (found := _ends(rows, name))}
    if moved and max(moved.values()) > 0.1 and min(moved.values()) < -0.1:
        signs.append(f"{max(moved, key=moved.get)} rises at the cost of {min(moved, key=moved.get)}")
    if length and length[1] > 2 * length[0] and not rises:
        signs.append("completions have become more than twice as long without a higher reward")
    if not signs:
        return Finding("Signs of a hacked reward", "none: what is measured goes with what is rewarded" if held_out else "none")
    return Finding(
        "Signs of a hacked reward",
        "; ".join(signs),
        "Read the completions with the highest advantages below: they show what is paid for. Then close the gap in the reward, "
        "or change reward_weights.",
    )


def _alike(rollouts: list[dict[str, Any]]) -> Finding | None:
    """Looks at the last groups that could still learn something: those of which not every completion has the best reward."""
    rewards = [[completion["reward"] for completion in group["completions"]] for group in rollouts]
    best = max((reward for group in rewards for reward in group), default=0.0)
    last = [group for group, found in zip(rollouts, rewards, strict=True) if min(found) < best][-WINDOW:]
    if not last:
        return None
    texts = [[completion["text"] for completion in group["completions"]] for group in last]
    share = fmean(1 - (len(set(group)) - 1) / max(1, len(group) - 1) for group in texts)
    advice = "Samples of a prompt repeat each other, so there is little to compare: raise temperature." if share > 0.8 else ""
    return Finding("Repeated completions", f"{share:.0%} of a group say what another one says", advice)


CHECKS: list[Callable[[list[dict[str, Any]]], Finding | None]] = [_variance, _entropy, _clipped, _truncated, _hacked]


def health_of(rows: list[dict[str, Any]], rollouts: list[dict[str, Any]]) -> list[Finding]:
    """Returns how a run with rewards is doing; nothing for other runs, and for one that has just begun.

    The thresholds are rules of thumb: https://arxiv.org/abs/2503.14476 (groups without variance, entropy, truncation) and
    https://arxiv.org/abs/2210.10760 (a reward that rises while the quality falls).

    Args:
        rows: Those of metrics.jsonl.
        rollouts: Those of rollouts.jsonl.
    """
    if _ends(rows, "reward") is None:
        return []
    findings = [check(rows) for check in CHECKS] + [_alike(rollouts)]
    return [finding for finding in findings if finding]
