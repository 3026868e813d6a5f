"""Which language a thought is in, whether an answer is right, and whether a turn is in harmony format."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from common.data.columns import text_of
from common.data.formats import Conversation
from common.errors import BadRow
from common.measure.answers import ends_with
from common.measure.statistics import share
from common.measure.text import split_thoughts

from languages import UNDECIDED, find_language, language_of

INSTRUCTION = "reasoning language: {}"  # as in HuggingFaceH4/Multilingual-Thinking
FALLBACK = "English"  # what a model most often thinks in when it does not do as it was asked

# --- Harmony format -----------------------------------------------------------------------------------------------------

# https://developers.openai.com/cookbook/articles/openai-harmony: a thought in the channel `analysis`, then the answer in
# `final`. The prompt ends with `<|start|>assistant`.
MESSAGE = re.compile(r"<\|channel\|>(\w+)<\|message\|>(.*?)(?:<\|end\|>|<\|return\|>|$)", re.DOTALL)
TURN = re.compile(
    r"<\|channel\|>analysis<\|message\|>((?!<\|).)+<\|end\|><\|start\|>assistant<\|channel\|>final<\|message\|>((?!<\|).)+<\|return\|>",
    re.DOTALL,
)


@dataclass(frozen=True)
class Turn:
    """What a model wrote.

    Attributes:
        thinking: All messages in the channel `analysis`, whether the turn is valid or not.
        final: The message in the channel `final`.
        is_valid: Whether it is exactly one thought and one answer, each with its end, and neither is empty.
    """

    thinking: str
    final: str
    is_valid: bool


def parse_turn(text: str) -> Turn:
    """Reads a turn in harmony format.

    Args:
        text: What was generated, with its special tokens. A text without channels, as an API may return it, is an answer, with
            perhaps a thought in `<think>` before it.
    """
    if "<|channel|>" not in text:
        thinking, final = split_thoughts(text)
        return Turn(thinking.strip(), final.strip(), False)
    channels: dict[str, list[str]] = {}
    for channel, said in MESSAGE.findall(text):
        channels.setdefault(channel, []).append(said)
    thinking, final = ("\n".join(channels.get(name, [])).strip() for name in ("analysis", "final"))
    return Turn(thinking, final, TURN.fullmatch(text) is not None)


# --- Answers --------------------------------------------------------------------------------------------------------------


def is_right(final: str, reference: str, languages: Iterable[str] = (FALLBACK,)) -> bool:
    """Returns whether an answer is the reference's: the same last number if that is a number, else the same text.

    Args:
        final: What was answered.
        reference: What is right.
        languages: Those that the answer may be in; they decide what 1.234 is (see `common.measure.answers.ends_with`).
    """
    return ends_with(final, reference, tuple(dict.fromkeys(languages)))


# --- All of them ----------------------------------------------------------------------------------------------------------


def references(held_out: dict[str, list[Conversation]]) -> dict[str, list[str]]:
    """Returns what is right as a model would write it, by the name of the set."""
    return {
        name: ["".join(str(row["messages"][-1].get(part) or "") for part in ("thinking", "content")) for row in rows]
        for name, rows in held_out.items()
    }


# What a row of `recipes score` holds beside `completion`.
REFERENCE = {
    "final": "the right answer, a text; of a number the number alone",
    "reasoning_language": "the language to think in, by its English name; the answer is read in its notation",
    "question_language": "the language of the question, if it is another one (may be left out)",
}


def read_reference(row: dict[str, Any]) -> Conversation:
    """Makes what `score` takes of a row of a file.

    Raises:
        BadRow: If there is no answer to compare with, or no language that is known.
    """
    names = ["reasoning_language", *(["question_language"] if row.get("question_language") else [])]
    try:
        thinks_in, *asked_in = [find_language(text_of(row, name)) for name in names]
    except ValueError as error:  # a BadRow is one, too
        raise BadRow(str(error)) from None
    return {
        "messages": [{"role": "user", "content": ""}, {"role": "assistant", "content": text_of(row, "final")}],
        "thinking_language": thinks_in,
        "question_language": asked_in[0] if asked_in else None,
    }


def score(rows: list[Conversation], completions: list[str]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Scores turns.

    Args:
        rows: What was asked, with `thinking_language` and perhaps `question_language`; the same problem in several
            languages has one `group`.
        completions: What the model wrote, one text for each, with its special tokens: harmony format is made of them.

    Returns:
        The metrics, each with its 95 % interval: `thinking_language` (the thought is in the language asked for), `answer`,
        `harmony_format`, `undecided` (a thought that may be in several languages), where the references think `detector_error`
        (the share of their thoughts that is not found to be in its language), and `thinking_language` for each language; and
        for each turn whether its answer is `correct`, and `thinking_language`: whether its thought is in the language asked
        for.
    """
    turns = [parse_turn(text) for text in completions]
    asked_to = [row["thinking_language"] for row in rows]
    known = _languages(rows)
    groups = [row.get("group", number) for number, row in enumerate(rows)]
    thinks_in = [language_of(turn.thinking, known) for turn in turns]
    follows = [found == language for found, language in zip(thinks_in, asked_to, strict=True)]
    rights = [
        is_right(
            turn.final, row["messages"][-1]["content"], filter(None, (row["thinking_language"], row.get("question_language")))
        )
        for row, turn in zip(rows, turns, strict=True)
    ]
    metrics = {
        "thinking_language": share(follows, groups),
        "answer": share(rights, groups),
        "harmony_format": share([turn.is_valid for turn in turns], groups),
        "undecided": share([found == UNDECIDED for found in thinks_in], groups),
    }
    right = [row["messages"][-1].get("thinking") for row in rows]
    known_thoughts = [(text, language) for text, language in zip(right, asked_to, strict=True) if text]
    if known_thoughts:
        metrics["detector_error"] = share([language_of(text, known) != language for text, language in known_thoughts])
    for language in dict.fromkeys(asked_to):
        metrics[f"thinks_in_{language}"] = share(
            [right for right, asked in zip(follows, asked_to, strict=True) if asked == language]
        )
    pairs = zip(rights, follows, strict=True)
    return metrics, [{"correct": is_right, "thinking_language": follow} for is_right, follow in pairs]


def _languages(rows: list[Conversation]) -> set[str]:
    """Returns the languages that rows are known to be in, or to ask for."""
    named = {row["question_language"] for row in rows if row.get("question_language")}
    return named | {row["thinking_language"] for row in rows}


def language_matrix(rows: list[Conversation], verdicts: list[dict[str, Any]]) -> dict[str, Any]:
    """Returns the share of thoughts in the language asked for by the two languages, for the report.

    Args:
        rows: What was asked.
        verdicts: What `score` returned for each.
    """
    known = _languages(rows)
    cells: dict[tuple[str, str], list[bool]] = {}
    for row, verdict in zip(rows, verdicts, strict=True):
        question = row.get("question_language") or language_of(row["messages"][-2]["content"], known) or "no language"
        cells.setdefault((question, row["thinking_language"]), []).append(verdict["thinking_language"])
    questions, thoughts = ([*dict.fromkeys(cell[position] for cell in cells)] for position in (0, 1))
    return {
        "title": "Thoughts in the language asked for",
        "rows": questions,
        "columns": thoughts,
        "row_title": "asked in",
        "column_title": "asked to think in",
        "values": [
            [sum(found) / len(found) if (found := cells.get((question, thought))) else None for thought in thoughts]
            for question in questions
        ],
    }
