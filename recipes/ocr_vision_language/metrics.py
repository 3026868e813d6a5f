"""How well a transcription fits the reference: error rates of characters and words, exact match, and fields of receipts."""

import re
import unicodedata
from typing import Any

from common.measure.statistics import share

import numpy as np
from rapidfuzz.distance import Levenshtein


def normalize(text: str) -> str:
    """Returns a text with a single space for all white space, line breaks included, and accents in one form; case is kept."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def _ratio(parts: list[int], wholes: list[int]) -> dict[str, float]:
    """Returns the sum of parts over that of wholes, with the 95 % interval of the bootstrap over images (Efron 1979)."""
    pairs = np.array([parts, wholes], dtype=np.float64)
    chosen = np.random.default_rng(0).integers(len(parts), size=(1000, len(parts)))
    part, whole = pairs[:, chosen].sum(axis=2)
    low, high = np.quantile(part / np.maximum(whole, 1), [0.025, 0.975])
    value = pairs[0].sum() / max(pairs[1].sum(), 1)
    return {"value": float(value), "low": float(min(low, value)), "high": float(max(high, value))}


def character_error_rate(completions: list[str], references: list[str]) -> dict[str, float]:
    """Returns the fewest characters to insert, delete or replace, of all images, over the characters of all references.

    Args:
        completions: What was read in each image; both are compared after `normalize`.
        references: What is written there. Where all are empty, the rate is the number of characters that were read.

    Returns:
        `value`, `low` and `high`; above 1 where more is wrong than there was to read.
    """
    pairs = [(normalize(read), normalize(right)) for read, right in zip(completions, references, strict=True)]
    return _ratio([Levenshtein.distance(*pair) for pair in pairs], [len(right) for _, right in pairs])


def word_error_rate(completions: list[str], references: list[str]) -> dict[str, float]:
    """Returns what `character_error_rate` does, of words: what stands between white space."""
    pairs = [(normalize(read).split(), normalize(right).split()) for read, right in zip(completions, references, strict=True)]
    return _ratio([Levenshtein.distance(*pair) for pair in pairs], [len(right) for _, right in pairs])


def exact_match(completion: str, reference: str) -> bool:
    """Returns whether two texts are the same after `normalize`."""
    return normalize(completion) == normalize(reference)


def has_field(text: str, value: str) -> bool:
    """Returns whether a value stands in a text, after `normalize` and in any case, and not within a longer word or number."""
    pattern = rf"(?<!\w){re.escape(normalize(value).lower())}(?!\w)"
    return re.search(pattern, normalize(text).lower()) is not None


def field_f1(completions: list[str], references: list[str], fields: list[dict[str, str]]) -> dict[str, float]:
    """Returns the F1 of the fields of all receipts together, as in SROIE's third task (Huang et al. 2019, arXiv:2103.10213).

    A transcription does not say which words are the company. So a field is right if its value stands in the transcription (see
    `has_field`); a transcription that is not empty counts as an answer for each field, an empty one as none. Fields that do not
    stand in the reference either (SROIE spells some otherwise than the receipt) are not counted: no reader could be right.

    Args:
        completions: What was read on each receipt.
        references: What is written there.
        fields: Of each receipt the values by name.

    Returns:
        `value`, `low` and `high`; 0 where there is no field to find.
    """
    right, asked = [], []
    for completion, reference, values in zip(completions, references, fields, strict=True):
        wanted = [value for value in values.values() if has_field(reference, value)]
        answered = len(wanted) if completion.strip() else 0
        right.append(2 * sum(has_field(completion, value) for value in wanted))
        asked.append(len(wanted) + answered)
    return _ratio(right, asked)


def score(rows: list[dict[str, Any]], completions: list[str]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Scores transcriptions.

    Args:
        rows: The last of their `messages` says what is written in the image; `fields` are those of a receipt, or None.
        completions: What was read, one text for each.

    Returns:
        The metrics, each with its 95 % interval: `character_error_rate`, `word_error_rate`, `exact_match` and, where a row is a
        receipt, `field_f1`; and for each row whether it is read exactly, so `correct`, and the transcription with its errors
        `marked` (see `mark_errors`).
    """
    references = [row["messages"][-1]["content"] for row in rows]
    right = [exact_match(text, reference) for text, reference in zip(completions, references, strict=True)]
    metrics = {
        "character_error_rate": character_error_rate(completions, references),
        "word_error_rate": word_error_rate(completions, references),
        "exact_match": share(right),
    }
    receipts = [found for found in zip(completions, references, [row["fields"] for row in rows], strict=True) if found[2]]
    if receipts:
        metrics["field_f1"] = field_f1(*(list(column) for column in zip(*receipts, strict=True)))
    marked = [mark_errors(reference, text) for text, reference in zip(completions, references, strict=True)]
    return metrics, [{"marked": parts, "correct": is_right} for parts, is_right in zip(marked, right, strict=True)]


def mark_errors(reference: str, completion: str) -> list[tuple[str, str]]:
    """Marks the fewest edits between two texts, which are compared as the metrics do but keep their line breaks.

    Args:
        reference: What is written in the image.
        completion: What was read there.

    Returns:
        The completion as pairs of a kind and a text: "equal", "wrong", and "missing" for what only the reference has. All are
        "equal" where the two match exactly.
    """
    # The same length with spaces for line breaks: `normalize` of both, in which the places are looked up.
    right, read = ("\n".join(filter(None, map(normalize, text.splitlines()))) for text in (reference, completion))
    parts = []
    for kind, start, end, first, last in Levenshtein.opcodes(right.replace("\n", " "), read.replace("\n", " ")):
        if kind == "equal":
            parts.append(("equal", read[first:last]))
        else:
            parts += [(kind, text) for kind, text in [("missing", right[start:end]), ("wrong", read[first:last])] if text]
    return parts
