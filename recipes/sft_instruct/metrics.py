"""How well an answer fits the reference: exact match and token F1, as for SQuAD (Rajpurkar et al. 2016, arXiv:1606.05250)."""

import re
import string
from collections import Counter
from typing import Any

from common.data.conversations import Conversation
from common.measure.statistics import mean, share


def normalize(text: str) -> str:
    """Returns a text in lower case, without punctuation, English articles and runs of spaces."""
    text = "".join(character for character in text.lower() if character not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def exact_match(completion: str, answer: str) -> bool:
    """Returns whether two texts are the same after `normalize`."""
    return normalize(completion) == normalize(answer)


def token_f1(completion: str, answer: str) -> float:
    """Returns the harmonic mean of precision and recall of the words that two texts share, after `normalize`."""
    found, wanted = normalize(completion).split(), normalize(answer).split()
    if not found or not wanted:
        return float(found == wanted)
    return 2 * sum((Counter(found) & Counter(wanted)).values()) / (len(found) + len(wanted))


def score(rows: list[Conversation], completions: list[str]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Scores completions by the answers that conversations end with.

    Args:
        rows: The conversations.
        completions: What was answered to the last question, one text for each.

    Returns:
        The metrics with their 95 % intervals: `exact_match` and `token_f1`; and for each conversation whether the answer is
        `correct`, an exact match.
    """
    pairs = [(text, row["messages"][-1].get("content", "")) for row, text in zip(rows, completions, strict=True)]
    right = [exact_match(*pair) for pair in pairs]
    metrics = {"exact_match": share(right), "token_f1": mean([token_f1(*pair) for pair in pairs])}
    return metrics, [{"correct": is_right} for is_right in right]
