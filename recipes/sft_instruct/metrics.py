"""How well an answer fits the reference: exact match and token F1, as for SQuAD (Rajpurkar et al. 2016, arXiv:1606.05250)."""

from collections import Counter
from typing import Any

from common.data.columns import text_of
from common.data.formats import Conversation
from common.data.turns import last_turn
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


def references(held_out: dict[str, list[Conversation]]) -> dict[str, list[str]]:
    """Returns what is right as a model would write it, by the name of the set."""
    return {
        name: [row["messages"][last_turn(row["messages"])].get("content", "") for row in rows]
        for name, rows in held_out.items()
    }


# What a row of `recipes score` holds beside `completion`.
REFERENCE = {"reference": "the right answer, a text"}


def read_reference(row: dict[str, Any]) -> Conversation:
    """Makes what `score` takes of a row of a file.

    Raises:
        BadRow: If there is no answer to compare with.
    """
    return {"messages": [{"role": "assistant", "content": text_of(row, "reference")}]}


def score(rows: list[Conversation], completions: list[str]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Scores completions by the last answers in conversations.

    Args:
        rows: The conversations.
        completions: What was answered in the place of those, one text for each.

    Returns:
        The metrics with their 95 % intervals: `exact_match` and `token_f1`; and for each conversation whether the answer is
        `correct`, an exact match, and its token F1, the `score`.
    """
    answers = [row["messages"][last_turn(row["messages"])].get("content", "") for row in rows]
    pairs = list(zip(completions, answers, strict=True))
    right, overlaps = [exact_match(*pair) for pair in pairs], [token_f1(*pair) for pair in pairs]
    metrics = {"exact_match": share(right), "token_f1": mean(overlaps)}
    return metrics, [{"correct": is_right, "score": f1} for is_right, f1 in zip(right, overlaps, strict=True)]
