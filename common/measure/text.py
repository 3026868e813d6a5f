"""Texts as a referee compares them: thoughts left out, one form for what is only typography, words of any script."""

import re
import unicodedata
from functools import lru_cache

# --- Thoughts -------------------------------------------------------------------------------------------------------------

# The marks of a thought as models write them: Qwen and DeepSeek, some of their tunes, Magistral.
MARK = re.compile(r"(?i)<(/?)(?:think|thinking|reasoning)>|\[(/?)THINK\]")


def split_thoughts(text: str) -> tuple[str, str]:
    """Returns what a completion thinks, and what it says.

    A thought that is closed and was not opened began in the prompt, as some chat templates have it: all up to there belongs to
    it. One that is opened and never closed was cut: all from there does.

    Args:
        text: A completion.
    """
    parts: dict[bool, list[str]] = {True: [], False: []}  # by whether it is thought
    thinking, begin = False, 0
    for mark in MARK.finditer(text):
        closes = bool(mark[1] or mark[2])
        if closes and not thinking:
            parts[True] += parts[False]
            parts[False].clear()
            thinking = True
        parts[thinking].append(text[begin : mark.start()])
        thinking, begin = not closes, mark.end()
    parts[thinking].append(text[begin:])
    return " ".join(parts[True]), " ".join(parts[False])


def without_thoughts(text: str) -> str:
    """Returns what a completion says (see `split_thoughts`)."""
    return split_thoughts(text)[1]


# --- Characters -----------------------------------------------------------------------------------------------------------

RAISED = re.compile("[⁰¹²³⁴-⁹⁺⁻ⁿ]+")
LOWERED = re.compile("(?<=[0-9])[₀-₉]+")
VULGAR = re.compile("(?<=[0-9])(?=[¼-¾⅐-⅞])")
ALIKE = str.maketrans(
    {
        **dict.fromkeys("\u2018\u2019\u201a\u201b\u2032\u00b4\u0060\u02bc", "'"),
        **dict.fromkeys("\u201c\u201d\u201e\u201f\u2033\u00ab\u00bb\u300c\u300d\u300e\u300f", '"'),
        **dict.fromkeys("\u2010\u2011\u2012\u2013\u2212\ufe58\ufe63", "-"),
        **dict.fromkeys("\u2044\u2215", "/"),  # fraction slash, division slash
        **{"\u066b": ".", "\u066c": ",", "\u066a": "%", "\u060c": ",", "\u061b": ";", "\u061f": "?"},  # Arabic
        **{"\u3002": ".", "\u3001": ",", "\u0964": "."},  # Chinese and Japanese; Devanagari
    }
)


@lru_cache(1 << 16)
def fold(text: str) -> str:
    """Returns a text with one form for characters that differ in typography alone.

    Digits of any script become 0-9; quotation marks, dashes (but for the long one), slashes and white space one each; letters
    are composed, full-width ones and ligatures plain (NFKC). What is invisible goes. Unlike in NFKC a raised number keeps apart
    from what it stands on: 10² becomes 10^2, 1½ becomes 1 1/2.

    Args:
        text: Any text.
    """
    if text.isascii():
        return " ".join(text.replace("`", "'").split())
    text = RAISED.sub(lambda found: "^" + unicodedata.normalize("NFKC", found[0]), text)
    text = VULGAR.sub(" ", LOWERED.sub(lambda found: "_" + unicodedata.normalize("NFKC", found[0]), text))
    text = unicodedata.normalize("NFKC", text.translate(ALIKE)).translate(ALIKE)
    plain = (
        str(unicodedata.decimal(character)) if character.isdecimal() else character
        for character in text
        if unicodedata.category(character) != "Cf"
    )
    return " ".join("".join(plain).split())


# --- Words ----------------------------------------------------------------------------------------------------------------

# Scripts that put no spaces between words: Chinese characters, kana, Thai, Lao, Burmese, Khmer.
NO_SPACES = "\u3005\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
NO_SPACES += "\u0e01-\u0e3a\u0e40-\u0e4e\u0e81-\u0ebd\u0ec0-\u0ecd\u1000-\u109f\u1780-\u17d3"
ONE_OF_THEM = re.compile(f"([{NO_SPACES}])")


def words(text: str) -> list[str]:
    """Returns the words of a text: what stands between white space; of scripts without spaces each character.

    Args:
        text: Any text.
    """
    return ONE_OF_THEM.sub(r" \1 ", text).split()


# What may stand around a word and says nothing. A sign, a per cent or a plus does say something (-5, 5%, C++, C#, <5).
BEFORE = "\"'([{,;:!?¿¡…"
AFTER = "\"')]},.;:!?…"
POINT = re.compile(r"\.\w")  # .5 and .NET
FACTORIAL = re.compile(r"\d+!+")
ACRONYM = re.compile(r"\b(?:[^\W\d_]\.){2,}")  # U.S.
HYPHEN = re.compile(r"(?<=[^\W\d_]) ?- ?(?=[^\W\d_])|(?<=\d)-(?=[^\W\d_])|(?<=[^\W\d_])-(?=\d)")  # well-known, 5-year
GROUPED = re.compile(r"(?<![\d.,])\d{1,3}(?:,\d{3})+(?!,?\d)")
BETWEEN = re.compile(rf"(?<=[{NO_SPACES}])[\s,.;:!?\"']+(?=[{NO_SPACES}])")
EMPHASIS = re.compile(r"(\*\*|__|\*|~~)(?=\S)(.+?)(?<=\S)\1")  # of markdown
ARTICLES = {"a", "an", "the"}


def _bare(word: str) -> str:
    """Returns a word without the punctuation around it."""
    if FACTORIAL.fullmatch(word):
        return word
    bare = word.rstrip(AFTER).lstrip(BEFORE)
    return bare if POINT.match(bare) else bare.lstrip(BEFORE + ".")


@lru_cache(1 << 16)
def normalize(text: str) -> str:
    """Returns a text in the form in which short answers are compared, after SQuAD (Rajpurkar et al. 2016, arXiv:1606.05250).

    As there case, English articles before a word, punctuation and runs of spaces are left out. But punctuation inside a word
    stays (1.5, 10:30, 1999-2024), and so does a sign that is part of it (-5, C#, 5%); and what is nothing but articles and
    punctuation stays as it is.

    Args:
        text: An answer, without thoughts.
    """
    plain = BETWEEN.sub("", EMPHASIS.sub(r"\2", fold(text).casefold().replace("—", " ")))
    plain = HYPHEN.sub(" ", ACRONYM.sub(lambda found: found[0].replace(".", ""), plain))
    plain = GROUPED.sub(lambda found: found[0].replace(",", ""), plain)
    spoken = plain.split()
    bare = [_bare(word) for word in spoken]
    followers = [*bare, ""][1:]
    kept = [
        rest
        for word, rest, follower in zip(spoken, bare, followers, strict=True)
        if rest and not (word in ARTICLES and follower)
    ]
    return " ".join(kept) or plain
