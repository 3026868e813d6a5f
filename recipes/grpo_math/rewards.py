"""What an answer is worth. The same functions reward in training and score in evaluate.py."""

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from common.measure.math_answers import boxed_answer, boxes_of, gives, is_same
from common.measure.problems import ANSWER, RightAnswer, read_right_answer
from common.measure.statistics import share

if TYPE_CHECKING:
    from data import Problem

Completions = list[list[dict[str, str]]]  # TRL's form: a list of messages for each completion


def is_correct(text: str, answer: str) -> bool:
    r"""Returns whether the last `\boxed{}` of a completion equals the answer: strict, no box is wrong.

    Args:
        text: A completion.
        answer: A number, as text; see `common.measure.math_answers.is_same` for what equals it.
    """
    return is_same(boxed_answer(text), answer)


def is_correct_lenient(text: str, answer: str) -> bool:
    """Returns whether the answer in the box, or the last number of a completion, boxed or not, equals the answer.

    Many published GSM8K scores read answers this way; it is reported beside the strict score and never rewarded.
    """
    return is_correct(text, answer) or gives(text, answer)


def has_reasoning(text: str) -> bool:
    r"""Returns whether anything is written before the final `\boxed{}`, empty think tags aside."""
    before = text[: max(boxes_of(text), default=None)]
    return bool(re.sub(r"</?think>", "", before).strip())


# What a row of `recipes score` holds beside `completion`.
REFERENCE = {"answer": ANSWER}


def read_reference(row: dict[str, Any]) -> RightAnswer:
    """Makes what `score` takes of a row of a file; see `common.measure.problems.read_right_answer`."""
    return read_right_answer(row)


def score(rows: "list[Problem] | list[RightAnswer]", completions: list[str]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Scores completions as they are rewarded in training.

    Args:
        rows: The problems.
        completions: What was answered, one text for each.

    Returns:
        The metrics, shares with their 95 % intervals: `accuracy`, `lenient_accuracy` and `thinking_share`; and for each problem
        whether the answer is `correct`.
    """
    right = [is_correct(text, problem.answer) for problem, text in zip(rows, completions, strict=True)]
    metrics = {
        "accuracy": share(right),
        "lenient_accuracy": share([is_correct_lenient(text, row.answer) for row, text in zip(rows, completions, strict=True)]),
        "thinking_share": share([has_reasoning(text) for text in completions]),
    }
    return metrics, [{"correct": is_right} for is_right in right]


# --- Reward functions in TRL's form -------------------------------------------------------------------------------------


def correct(
    completions: Completions, answer: list[str], log_metric: Callable[[str, float], None] | None = None, **kwargs
) -> list[float]:
    """1 for an exactly right boxed answer, else 0.

    Args:
        completions: The answers, one list of messages each.
        answer: The right answers.
        log_metric: TRL's hook: what is passed to it stands beside the rewards in the log.

    Returns:
        A reward for each completion.
    """
    texts = [completion[0]["content"] for completion in completions]
    if log_metric is not None:
        log_metric("lenient_accuracy", sum(map(is_correct_lenient, texts, answer)) / len(texts))
        log_metric("thinking_share", sum(map(has_reasoning, texts)) / len(texts))
    return [float(is_correct(text, right)) for text, right in zip(texts, answer, strict=True)]


def formatted(completions: Completions, **kwargs) -> list[float]:
    r"""1 for exactly one `\boxed{}`, closed and not empty, else 0: worth a little, so that the form is found early."""
    texts = [completion[0]["content"] for completion in completions]
    return [float(len(boxes_of(text)) == 1 and boxed_answer(text) is not None) for text in texts]


def distinct_characters(completions: Completions, **kwargs) -> list[float]:
    """The number of distinct characters: a bad reward, kept as a lesson. It can be raised without solving anything."""
    return [float(len(set(completion[0]["content"]))) for completion in completions]
