"""Numbers as people write them: signs, currencies, units and words that scale, in the notation of a language."""

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from common.measure.text import fold
from common.measure.units import CURRENCY, FACTOR_BEGINS, FACTORS, SIGNS, read_unit, scale_of

LONGEST = 200  # characters; no answer has as many, and Python refuses to read a number of thousands of digits

# --- Notations ------------------------------------------------------------------------------------------------------------

# Which sign groups thousands (a space and an apostrophe may everywhere) and which begins the decimals, from Unicode's CLDR. All
# other languages write 1,234.5.
GROUPING = {
    ".": "German Spanish Italian Portuguese Dutch Danish Greek Turkish Indonesian Malay Romanian Croatian Serbian Bosnian "
    "Slovene Catalan Basque Icelandic Vietnamese Azerbaijani Macedonian Galician",  # 1.234,5
    " ": "French Russian Polish Czech Slovak Ukrainian Belarusian Bulgarian Swedish Norwegian Bokmal Nynorsk Finnish Hungarian "
    "Latvian Lithuanian Estonian Kazakh Georgian Armenian Albanian Mongolian Esperanto Afrikaans Xhosa Tsonga",  # 1 234,5
}
GROUPS = {language: group for group, languages in GROUPING.items() for language in languages.split()}
PLAIN = r"\d{1,3}(?: \d{3})+|\d{1,3}(?:['_]\d{3})+|\d+"
WHOLE = {
    ",": rf"\d{{1,3}}(?:,\d{{3}})+|\d{{1,2}}(?:,\d\d)+,\d{{3}}|{PLAIN}",  # the second one is India's
    ".": rf"\d{{1,3}}(?:\.\d{{3}})+|{PLAIN}",
    " ": PLAIN,
}
DECIMALS = {",": r"\.\d*", ".": r",\d+", " ": r",\d+"}


@lru_cache
def _pattern(group: str) -> re.Pattern[str]:
    return re.compile(
        rf"(?P<sign>[-+]?) ?(?P<before>{CURRENCY})? ?(?P<minus>-?)"
        rf"(?P<whole>{WHOLE[group]})?(?P<decimals>{DECIMALS[group]})?(?P<exponent>[eE][-+]?\d{{1,3}}(?![^\W_]))?"
        rf"(?:/(?P<denominator>\d+)|(?P<mixed> \d+/\d+))?(?P<unit>[^\d].*)?"
    )


# What Chinese, Japanese and Korean write in parts. A single digit at the end is of an unknown place: 1万2 may be 12000.
PART = r"\d{1,4}(?:,\d{3})?"
IN_PARTS = re.compile(
    rf"(?<![\d.,])(?:{PART}(?:[億亿万萬]|千(?![克米瓦卡升])|[억만천] ?)){{1,3}}"
    rf"(?:{PART}(?:[万萬만百백천]|千(?![克米瓦卡升]))|(?:\d{{2,4}}|\d,\d{{3}})(?![\d.,]))"
)


def _together(text: str) -> str:
    """Returns a text in which numbers in parts are one number: 1万2千 is 12000."""

    def whole(found: re.Match[str]) -> str:
        value, least = 0, 10**12
        for digits, word in re.findall(rf"({PART})(\D?) ?", found[0]):
            part = int(digits.replace(",", "")) * FACTORS.get(word, 1)
            if part >= least:  # 1千2千 are two
                return found[0]
            value, least = value + part, FACTORS.get(word, 1)
        return str(value)

    return IN_PARTS.sub(whole, text)


# --- Reading --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Quantity:
    """A number that a text is.

    Attributes:
        value: The number.
        text: The number written plainly: `-1234`, `0.5`, `1/2`.
        unit: What it counts, in lower case: `$`, `%`, `miles`; empty where nothing is said.
    """

    value: Fraction
    text: str
    unit: str


def _written(value: Fraction) -> str:
    """Returns a number as digits, with a fraction where it has no end in decimals of reasonable length."""
    for places in range(7):
        scaled = value * 10**places
        if scaled.denominator == 1:
            digits = f"{abs(scaled.numerator):0{places + 1}d}"
            point = len(digits) - places
            return "-" * (value < 0) + digits[:point] + ("." + digits[point:]) * (places > 0)
    return str(value)


def _read(found: re.Match[str], group: str) -> Quantity | None:
    if not (found["whole"] or (found["decimals"] or "")[1:]) or (found["sign"] and found["minus"]):
        return None
    unit = read_unit(found["unit"] or "", found["before"] is not None)
    if unit is None or (found["denominator"] and not int(found["denominator"])):
        return None
    whole = re.sub("[,. '_]", "", found["whole"] or "0")
    decimals = (found["decimals"] or "").replace(",", ".").removesuffix(".")  # `18.` at the end of a sentence
    text = whole + decimals + (found["exponent"] or "") + (f"/{found['denominator']}" if found["denominator"] else "")
    value = Fraction(whole + decimals + (found["exponent"] or "")) / int(found["denominator"] or 1)
    if found["mixed"]:
        above, below = map(int, found["mixed"].split("/"))
        if not above < below or decimals:  # 3 1/2, but not 3 5/2
            return None
        value += Fraction(above, below)
    if found["mixed"] or unit[0] != 1:
        value *= unit[0]
        text = _written(value)
    is_negative = "-" in (found["sign"], found["minus"])
    sign = found["before"] or unit[1]
    return Quantity(-value if is_negative else value, "-" * is_negative + text, SIGNS.get(sign.lower(), sign.lower()))


@lru_cache(1 << 16)
def read_quantity(text: str, language: str = "English") -> Quantity | None:
    """Returns the number that a text is, with its unit; None if it is not one number.

    Currencies, per cent signs, thousands separators and units are read; a word that scales (`18 thousand`, `18k`, `18 dozen`)
    multiplies. No number is what has a sign that separates no thousands (`1,23`, `18,18`), what are several numbers, and what a
    word makes another number of (`18 and a half`).

    Args:
        text: An answer.
        language: Its language by its English name, which decides what 1.234 is. A number that is none in its notation is read
            in the English one.
    """
    if len(text) > LONGEST:
        return None
    plain = _together(fold(text))
    for group in dict.fromkeys([GROUPS.get(language, ","), ","]):
        found = _pattern(group).fullmatch(plain)
        quantity = found and _read(found, group)
        if quantity:
            return quantity
    return None


def read_number(text: str) -> str | None:
    """Returns the number that a text is (see `read_quantity`), written plainly: `-1234`, `0.5` or `1/2`; None if it is none."""
    quantity = read_quantity(text)
    return quantity and quantity.text


# --- In a sentence --------------------------------------------------------------------------------------------------------

IN_TEXT = re.compile(
    rf"(?<![0-9A-Za-z\u00c0-\u024f\u0370-\u04ff_])(?<![A-Za-z}}]\^)(?<![A-Za-z}}]\^{{)(?:[-+](?=\S))?(?:(?:{CURRENCY}) ?)?-?"
    r"(?:\d+ \d+/\d+|\d{1,3}(?: \d{3})+(?!\d)(?:[.,]\d+)?(?![.,]?\d)|\d[\d.,':/_-]*(?:[eE][-+]?\d{1,3}\b)?|\.\d+)"
)
AFTER = ".,'/:_-"  # what may stand behind a number in a sentence
LATEX_GROUPS = re.compile(r"(?<=\d)(?:\{,\}|\\,|,\\!)(?=\d{3})")  # 70{,}000, 70\,000 and 70,\!000
NEXT_WORD = re.compile(r" ?([^\W\d_]+\.?)")
# A number beside these is a part of another one: of 24\pi, 2^{10} or \sqrt{2}, but not of 72^\circ.
PART_BEFORE = re.compile(r"(?:[\d)]\^\{?|\\sqrt ?\{?|√ ?)$")
PART_AFTER = re.compile(r"[)}]* ?(?:\\pi(?![a-zA-Z])|π|\\sqrt|√|\^(?!\{? ?\\circ))")


def last_number(text: str, language: str = "English") -> Quantity | None:
    """Returns the last number in a text, times the word that scales it.

    None if there is none, or the last is no number by itself: a date's, an exponent, or what stands in a root or before pi.

    Args:
        text: A sentence or several.
        language: See `read_quantity`.
    """
    plain = _together(fold(LATEX_GROUPS.sub(",", text)))
    numbers = list(IN_TEXT.finditer(plain))
    if not numbers:
        return None
    found = numbers[-1]
    if PART_BEFORE.search(plain[: found.start()]) or PART_AFTER.match(plain[found.end() :]):
        return None
    scale = NEXT_WORD.match(plain, found.end())
    begins = scale and FACTOR_BEGINS.match(scale[1])
    word = begins[0] if begins else scale[1] if scale and scale_of(scale[1]) else ""
    return read_quantity(f"{found[0].rstrip(AFTER)} {word}".strip(), language)
