"""How well a transcription fits the reference: error rates of characters and words, exact match, and fields of receipts."""

import re
import unicodedata
from collections import Counter
from typing import Any

from common.data.columns import text_of
from common.errors import BadRow
from common.measure.statistics import ratio, share
from common.measure.text import NO_SPACES, fold, without_thoughts, words
from common.measure.units import CURRENCY

from rapidfuzz.distance import Levenshtein

from fields import field_f1, leaves, read_json

MOST_CONFUSED = 10  # characters that the report shows of those that are written, and of those that they are read as


def normalize(text: str) -> str:
    """Returns a text with a single space for all white space, line breaks included, and accents in one form; case is kept."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def character_error_rate(completions: list[str], references: list[str], groups: list[Any] | None = None) -> dict[str, float]:
    """Returns the fewest characters to insert, delete or replace, of all images, over the characters of all references.

    Args:
        completions: What was read in each image; both are compared after `normalize`.
        references: What is written there. Where all are empty, the rate is the number of characters that were read.
        groups: What images that belong together share, such as lines of one receipt (see `common.measure.statistics.share`).

    Returns:
        `value`, `low` and `high`; above 1 where more is wrong than there was to read.
    """
    pairs = [(normalize(read), normalize(right)) for read, right in zip(completions, references, strict=True)]
    return ratio([Levenshtein.distance(*pair) for pair in pairs], [len(right) for _, right in pairs], groups)


def word_error_rate(completions: list[str], references: list[str], groups: list[Any] | None = None) -> dict[str, float]:
    """Returns what `character_error_rate` does, of words: what stands between white space; of scripts without, characters."""
    pairs = [(words(normalize(read)), words(normalize(right))) for read, right in zip(completions, references, strict=True)]
    return ratio([Levenshtein.distance(*pair) for pair in pairs], [len(right) for _, right in pairs], groups)


def exact_match(completion: str, reference: str) -> bool:
    """Returns whether two texts are the same after `normalize`."""
    return normalize(completion) == normalize(reference)


# --- Fields of receipts ---------------------------------------------------------------------------------------------------

# What makes another number, date or word of a value that it touches: digits and letters (合計900円 has no spaces, though), a
# sign, a point between digits.
BEFORE = rf"(?<![^\W{NO_SPACES}])" r"(?<!\d[.,:/-])(?<!-)(?<!-[^\w\s])"
AFTER = r"(?![^\W円圓元원])(?![.,:/-]\d)(?!%)(?!-(?:\s|$))"


def has_field(text: str, value: str) -> bool:
    """Returns whether a value stands in a text as a whole: 9.00 does not in -9.00, 1.9.00 or 1,239.00, but does in RM9.00.

    Args:
        text: What was read; case, white space and typography do not matter.
        value: The value of a field.
    """
    wanted = fold(value).casefold()
    if not wanted:
        return False
    starts = rf"(?:{BEFORE}|{BEFORE}(?i:{CURRENCY}|MYR|IDR|Rp))" if wanted[0].isdecimal() else r"(?<!\w)"
    ends = AFTER if wanted[-1].isdecimal() else r"(?!\w)"
    return re.search(starts + re.escape(wanted) + ends, fold(text).casefold()) is not None


def field_presence(completions: list[str], references: list[str], fields: list[dict[str, str]]) -> dict[str, float]:
    """Returns the share of the fields of all receipts whose values stand in the transcriptions (see `has_field`).

    A transcription does not say which words are the company, so nothing is said of precision. Fields that do not stand in the
    reference either (SROIE spells some otherwise than the receipt) are not counted: no reader could be right.

    Args:
        completions: What was read on each receipt.
        references: What is written there.
        fields: Of each receipt the values by name.

    Returns:
        `value`, `low` and `high`; 0 where there is no field to find.
    """
    right, asked = [], []
    for completion, reference, values in zip(completions, references, fields, strict=True):
        wanted = [value for _, value in leaves(values) if has_field(reference, value)]
        right.append(sum(has_field(completion, value) for value in wanted))
        asked.append(len(wanted))
    return ratio(right, asked)


# --- All of them ----------------------------------------------------------------------------------------------------------


def references(held_out: dict[str, list[dict[str, Any]]]) -> dict[str, list[str]]:
    """Returns what is right as a model would write it, by the name of the set."""
    return {name: [row["messages"][-1]["content"] for row in rows] for name, rows in held_out.items()}


# What a row of `recipes score` holds beside `completion`.
REFERENCE = {
    "text": "what is written in the image",
    "fields": "of a receipt its values by name, an object of texts (may be left out)",
}


def read_reference(row: dict[str, Any]) -> dict[str, Any]:
    """Makes what `score` takes of a row of a file.

    Raises:
        BadRow: If there is no text to compare with.
    """
    fields = row.get("fields") or None
    if fields is not None and not isinstance(fields, dict):
        raise BadRow(f"`fields` is a {type(fields).__name__}; write an object of texts, or leave it out")
    return {"messages": [{"role": "assistant", "content": text_of(row, "text")}], "fields": fields}


def score(rows: list[dict[str, Any]], completions: list[str]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Scores transcriptions.

    Args:
        rows: The last of their `messages` says what is written in the image; `fields` are those of a receipt, or None; rows
            that belong together have the same `group`; `seen` says whether the text was trained, in another picture.
        completions: What was read, one text for each.

    Returns:
        The metrics, each with its 95 % interval: `character_error_rate`, `word_error_rate`, `exact_match` and, where a row is a
        receipt, `field_f1` if what is read or written is JSON, else `field_presence` (see fields.py); where some rows are
        `seen` and some are not, also the `character_error_rate_seen` and `_unseen` of each part. And for each row whether it is
        read exactly, so `correct`, the share of it that is read right, its `score`, and the transcription with its errors
        `marked` (see `mark_errors`).
    """
    references = [row["messages"][-1]["content"] for row in rows]
    completions = [without_thoughts(text) for text in completions]
    groups = [row.get("group", number) for number, row in enumerate(rows)]
    right = [exact_match(text, reference) for text, reference in zip(completions, references, strict=True)]
    metrics = {
        "character_error_rate": character_error_rate(completions, references, groups),
        "word_error_rate": word_error_rate(completions, references, groups),
        "exact_match": share(right, groups),
    }
    for name, is_seen in (("seen", True), ("unseen", False)):
        numbers = [number for number, row in enumerate(rows) if row.get("seen") is is_seen]
        if 0 < len(numbers) < len(rows):
            part = ([column[number] for number in numbers] for column in (completions, references, groups))
            metrics[f"character_error_rate_{name}"] = character_error_rate(*part)
    fields = [row["fields"] or read_json(reference) for row, reference in zip(rows, references, strict=True)]
    receipts = [found for found in zip(completions, references, fields, strict=True) if found[2]]
    if receipts:
        texts, written, fields = (list(column) for column in zip(*receipts, strict=True))
        if any(map(read_json, [*texts, *written])):
            metrics["field_f1"] = field_f1(texts, fields)
        else:
            metrics["field_presence"] = field_presence(texts, written, fields)
    verdicts = []
    for text, reference, is_right in zip(completions, references, right, strict=True):
        rate = Levenshtein.normalized_similarity(normalize(text), normalize(reference))
        verdicts.append({"marked": mark_errors(reference, text), "correct": is_right, "score": rate})
    return metrics, verdicts


def confused_characters(completions: list[str], references: list[str]) -> dict[str, Any] | None:
    """Returns how often the characters that are misread most are read as which, for the report.

    Args:
        completions: What was read in each image.
        references: What is written there; each pair is aligned by the fewest edits.

    Returns:
        Shares of all that is written of a character, those below a thousandth left out; None if nothing is misread.
    """
    confused, written = Counter(), Counter()
    for read, right in zip(map(normalize, completions), map(normalize, references), strict=True):
        written.update(right)
        for edit in Levenshtein.editops(right, read):
            if edit.tag != "insert":
                confused[right[edit.src_pos], read[edit.dest_pos] if edit.tag == "replace" else "nothing"] += 1
    wrong, read_as = Counter(), Counter()
    for (right, read), count in confused.items():
        wrong[right] += count
        read_as[read] += count
    if not wrong:
        return None
    rows, columns = ([name for name, _ in found.most_common(MOST_CONFUSED)] for found in (wrong, read_as))
    shares = [[confused[right, read] / written[right] for read in columns] for right in rows]
    visible = {" ": "space"}
    return {
        "title": "Characters that are misread most",
        "rows": [f"{visible.get(right, right)}  {wrong[right]} of {written[right]}" for right in rows],
        "columns": [visible.get(read, read) for read in columns],
        "row_title": "written",
        "column_title": "read as",
        "values": [[share if share >= 0.001 else None for share in row] for row in shares],
    }


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
