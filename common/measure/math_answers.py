"""Answers to math problems: the number of a reference solution, the box of a completion, and whether two are equal."""

import re
import unicodedata
from fractions import Fraction

from math_verify import LatexExtractionConfig, parse, verify

# --- Reading a number -----------------------------------------------------------------------------------------------------

NUMBER = re.compile(
    r"(?P<sign>[-+]?) ?[$€£¥]? ?(?P<minus>-?)"
    r"(?P<whole>\d{1,3}(?:,\d{3})+|\d{1,3}(?: \d{3})+|\d+)?(?P<decimals>\.\d*)?(?P<exponent>[eE][-+]?\d{1,3})?"
    r"(?P<denominator>/\d+)? ?[$€£¥%]?(?P<unit> ?[^\W\d_][^\d_]*)?"
)
LONGEST = 200  # characters; no answer has as many, and Python refuses to read a number of thousands of digits
# A word after a number is a unit (`18 dollars`), unless it makes another number of it.
NO_UNIT = re.compile(
    r"\b(hundred|thousand|lakh|crore|million|billion|trillion|dozen|score|half|halves|third|quarter|and|or|to|minus|plus|times|over|"
    r"squared|cubed|k|bn|mn|mio|tn|pi|e|x|[KMBT])s?\b"
)
MINUS = re.compile("[\u2212\u2013]")  # the sign of mathematics, and the dash that is often written for it
LATEX_SPACE = re.compile(r"\\[,;:! ]|~|\\q?quad\b|\{,\}(?=\d)")
LATEX_TEXT = re.compile(r"\\(?:text|textbf|textrm|mathrm|mathbf|mbox)\s*\{([^{}]*)\}")
NAMED = re.compile(r"[^\W\d_](?:_\w)? ?= ?")  # `x = 5`


def _plain(text: str) -> str:
    """Returns a text with signs and spaces in one form: full-width digits, typographic minus, what LaTeX spaces with."""
    text = LATEX_SPACE.sub(lambda found: "," if found[0] == "{,}" else " ", LATEX_TEXT.sub(r" \1 ", text))
    text = unicodedata.normalize("NFKC", text).replace("\\$", "$").replace("\\%", "%")
    return " ".join(MINUS.sub("-", text).split())


def read_number(text: str) -> str | None:
    r"""Returns the number that a text is, as it would be written plainly: `-1234`, `0.5` or `1/2`; None if it is not one.

    Left out are currency, per cent signs, thousands separators (`1,234`, `1 234`, `1{,}234`), a unit (`18 dollars`) and the
    name of a variable (`x = 5`). No number is what has a comma that separates no thousands (`1,23`, `18,18`), several numbers,
    or a word that makes another number (`18 thousand`).

    Args:
        text: An answer, perhaps in LaTeX.
    """
    if len(text) > LONGEST:
        return None
    plain = _plain(text)
    found = NUMBER.fullmatch(NAMED.sub("", plain, count=1) if NAMED.match(plain) else plain)
    if found is None or not (found["whole"] or (found["decimals"] or "")[1:]) or (found["sign"] and found["minus"]):
        return None
    if found["unit"] and NO_UNIT.search(found["unit"]):
        return None
    if found["denominator"] and not int(found["denominator"][1:]):
        return None
    sign = "-" if "-" in (found["sign"], found["minus"]) else ""
    whole = re.sub("[, ]", "", found["whole"] or "0")
    decimals = (found["decimals"] or "").removesuffix(".")  # `18.` at the end of a sentence
    return sign + whole + decimals + (found["exponent"] or "") + (found["denominator"] or "")


def gold_number(solution: str) -> str | None:
    """Returns the number of a reference solution in GSM8K's form, as `read_number` writes it.

    Args:
        solution: Worked steps, then `#### ` and the answer (Cobbe et al. 2021, arXiv:2110.14168); or the answer alone.

    Returns:
        The number, or None if there is none.
    """
    return read_number(solution.rpartition("####")[2])


# --- Boxes ----------------------------------------------------------------------------------------------------------------


def last_boxed(text: str) -> str | None:
    r"""Returns what the last `\boxed{...}` of a text holds, its braces balanced; None if there is none or it is not closed."""
    start = text.rfind("\\boxed{")
    if start < 0:
        return None
    start += len("\\boxed{")
    depth = 1
    for position in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[position], 0)
        if depth == 0:
            return text[start:position]
    return None


def boxed_answer(text: str) -> str | None:
    """Returns the answer in the last box of a completion: as `read_number` writes it if it is a number, else as it stands.

    Args:
        text: A completion.

    Returns:
        The answer; None if there is no box, or it is empty or not closed.
    """
    box = (last_boxed(text) or "").strip()
    return read_number(box) or box or None


# --- Equality -------------------------------------------------------------------------------------------------------------

# What math-verify is asked about: a short calculation in LaTeX. Of words, commas and equations it would take the last number,
# and towers of exponents and factorials it would calculate for seconds.
CALCULATION = re.compile(
    r"(?!.*\^.*\^)(?:[\d\s.+\-*/(){}]|\^(?:\d|\{\d\})(?!\d)|\\(?:[dt]?frac|sqrt|cdot|times|div|left|right|pi)(?![a-zA-Z])){1,64}"
)


def is_same(answer: str | None, other: str | None) -> bool:
    """Returns whether two answers are equal: as text, as numbers, or as math-verify finds.

    That is https://github.com/huggingface/Math-Verify: a calculation equals its result.

    Args:
        answer: What `boxed_answer` or `gold_number` returned.
        other: Another one. No answer equals none.
    """
    if answer is None or other is None:
        return False
    if answer == other:  # most right answers are: spare them a millisecond of parsing
        return True
    numbers = read_number(answer), read_number(other)
    if all(numbers):
        return _value(numbers[0]) == _value(numbers[1])
    if not (CALCULATION.fullmatch(answer) and CALCULATION.fullmatch(other)):
        return False
    found, expected = (
        parse(f"\\boxed{{{text}}}", extraction_config=[LatexExtractionConfig()], raise_on_error=False)
        for text in (answer, other)
    )
    return bool(found and expected) and verify(expected, found, raise_on_error=False)


def _value(number: str) -> Fraction:
    numerator, _, denominator = number.partition("/")
    return Fraction(numerator) / Fraction(denominator or 1)
