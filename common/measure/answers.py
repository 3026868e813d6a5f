"""Whether a short answer, or the answer that a text ends with, is the reference's."""

import re
from collections.abc import Iterable
from functools import lru_cache

from common.measure.math_answers import as_typed
from common.measure.numbers import last_number, read_quantity
from common.measure.text import fold, normalize, without_thoughts

AROUND = " \"'()[]{},;:?*"  # says nothing around a number
CODE = re.compile(r"-?0\d")  # 007
SIGNS = {"", *"$€£¥₹%"}  # units that are signs: an answer may leave them out


@lru_cache(1 << 16)
def is_same_answer(completion: str, reference: str) -> bool:
    """Returns whether a short answer is the reference's: the same text (see `normalize`), or the same number of the same thing.

    A number is the same whichever way it is written ($1.5 million, 1,500,000 dollars). A unit that the reference does not name
    may be named, and a currency or per cent sign that it has may be left out; a number that begins with 0 (a code) is only the
    same as text.

    Args:
        completion: What was answered; thoughts do not count.
        reference: The right answer.
    """
    answer = without_thoughts(completion)
    if not answer.strip() or not reference.strip():
        return False
    if normalize(answer) == normalize(reference):
        return True
    found, wanted = (read_quantity(fold(text).strip(AROUND)) for text in (answer, reference))
    if not (found and wanted) or any(CODE.match(number.text) for number in (found, wanted)):
        return False
    return found.value == wanted.value and (
        found.unit == wanted.unit or not wanted.unit or (not found.unit and wanted.unit in SIGNS)
    )


@lru_cache(1 << 16)
def ends_with(text: str, reference: str, languages: Iterable[str] = ("English",)) -> bool:
    """Returns whether a text gives the reference's answer: the same last number if that is a number, else the same text.

    Args:
        text: What was answered; thoughts do not count.
        reference: What is right. A number may be in the notation of English or in that of the languages.
        languages: The languages that the answer may be in, by their English names: they decide what 1.234 is.
    """
    readings = [read_quantity(reference.strip(), language) for language in ("English", *languages)]
    wanted = {reading.value for reading in readings if reading}
    if not wanted:
        return is_same_answer(text, reference)
    answer = without_thoughts(text)
    found = [last_number(as_typed(answer), language) for language in languages]
    return fold(answer) == fold(reference) or any(number.value in wanted for number in found if number)
