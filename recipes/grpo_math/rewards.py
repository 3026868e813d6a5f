"""What an answer is worth. The same functions reward in training and score in evaluate.py."""

import re
from collections.abc import Callable

from math_verify import LatexExtractionConfig, parse, verify

Completions = list[list[dict[str, str]]]  # TRL's form: a list of messages for each completion

NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")


def final_box(text: str) -> str | None:
    r"""Returns the last `\boxed{...}` of a text with its braces balanced, or None if there is none or it is not closed."""
    start = text.rfind("\\boxed{")
    if start < 0:
        return None
    depth = 0
    for position in range(start + len("\\boxed"), len(text)):
        depth += {"{": 1, "}": -1}.get(text[position], 0)
        if depth == 0:
            return text[start : position + 1]
    return None


def is_correct(text: str, answer: str) -> bool:
    r"""Returns whether the last `\boxed{}` of a completion equals the answer: strict, no box is wrong.

    Equality is math-verify's (1/2 equals 0.5, 1,000 equals 1000; https://github.com/huggingface/Math-Verify).

    Args:
        text: A completion.
        answer: A number, as text.
    """
    box = final_box(text)
    if box is None:
        return False
    if box == f"\\boxed{{{answer}}}":  # most right answers are: spare them a millisecond of parsing
        return True
    found = parse(box, extraction_config=[LatexExtractionConfig()])
    return bool(found) and verify(parse(f"\\boxed{{{answer}}}", extraction_config=[LatexExtractionConfig()]), found)


def is_correct_lenient(text: str, answer: str) -> bool:
    """Returns whether the last number of a completion, boxed or not, equals the answer.

    Many published GSM8K scores read answers this way; it is reported beside the strict score and never rewarded.
    """
    numbers = NUMBER.findall(text)
    return bool(numbers) and float(numbers[-1].replace(",", "")) == float(answer.replace(",", ""))


def has_reasoning(text: str) -> bool:
    r"""Returns whether anything is written before the final `\boxed{}`, empty think tags aside."""
    before = text[: text.rfind("\\boxed{")] if "\\boxed{" in text else text
    return bool(re.sub(r"</?think>", "", before).strip())


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
    r"""1 for a completion with exactly one, closed `\boxed{}`, else 0: worth a little, so that the form is found early."""
    texts = [completion[0]["content"] for completion in completions]
    return [float(text.count("\\boxed{") == 1 and final_box(text) is not None) for text in texts]


def distinct_characters(completions: Completions, **kwargs) -> list[float]:
    """The number of distinct characters: a bad reward, kept as a lesson. It can be raised without solving anything."""
    return [float(len(set(completion[0]["content"]))) for completion in completions]
