"""How well an answer fits the reference: exact match and token F1, as for SQuAD (Rajpurkar et al. 2016, arXiv:1606.05250)."""

from collections import Counter
from typing import Any

from common.data.conversations import Conversation
from common.measure.answers import is_same_answer
from common.measure.statistics import mean, share
from common.measure.text import normalize, without_thoughts, words


def exact_match(completion: str, answer: str) -> bool:
    """Returns whether two texts are the same answer (see `common.measure.answers.is_same_answer`)."""
    return is_same_answer(completion, answer)


def token_f1(completion: str, answer: str) -> float:
    """Returns the harmonic mean of precision and recall of the words that two texts share; 1 for an exact match.

    Texts are compared in the form of `common.measure.text.normalize`; of scripts without spaces the characters are shared.
    """
    if exact_match(completion, answer):
        return 1.0
    found, wanted = words(normalize(without_thoughts(completion))), words(normalize(answer))
    return 2 * sum((Counter(found) & Counter(wanted)).values()) / max(1, len(found) + len(wanted))


def score(rows: list[Conversation], completions: list[str]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Scores completions by the answers that conversations end with.

    Args:
        rows: The conversations.
        completions: What was answered to the last question, one text for each.

    Returns:
        The metrics with their 95 % intervals: `exact_match` and `token_f1`; and for each conversation whether the answer is
        `correct`, an exact match.
    """
    pairs = [(text, row["messages"][-1]["content"]) for row, text in zip(rows, completions, strict=True)]
    right = [exact_match(*pair) for pair in pairs]
    metrics = {"exact_match": share(right), "token_f1": mean([token_f1(*pair) for pair in pairs])}
    return metrics, [{"correct": is_right} for is_right in right]
