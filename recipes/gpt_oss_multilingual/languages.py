"""Which language a text is in, among a fixed wide set, so that no language is taken for another for want of choice."""

import re
from collections.abc import Iterable
from functools import cache, lru_cache

from common.errors import nearest

from lingua import Language, LanguageDetector, LanguageDetectorBuilder

# What a thought may be in, whatever was asked for: the languages that most is written in, of all scripts. All 75 of lingua
# would take 14 seconds and a gigabyte to load, these take a third.
WIDE = frozenset(
    {
        *(
            "English",
            "French",
            "German",
            "Spanish",
            "Portuguese",
            "Italian",
            "Dutch",
            "Swedish",
            "Polish",
            "Romanian",
            "Turkish",
        ),
        *("Indonesian", "Vietnamese", "Swahili", "Russian", "Ukrainian", "Bulgarian", "Serbian", "Greek", "Hebrew", "Arabic"),
        *("Persian", "Urdu", "Hindi", "Marathi", "Bengali", "Telugu", "Tamil", "Thai", "Chinese", "Japanese", "Korean"),
    }
)
UNDECIDED = "undecided"
LEAST_CONFIDENCE = 0.25  # at most 1.4 % of MGSM's sentences are then taken for another language; see the README's table
# Formulas, code, tags and addresses are in no language; neither are numbers. A dollar sign before a digit ends no formula: what
# stands between $5 and $6 are words.
NO_LANGUAGE = re.compile(
    r"```.*?(?:```|$)|`[^`]*`|\$\$.*?\$\$|\$[^$\n]*\$(?!\d)|\\\(.*?\\\)|\\\[.*?\\\]|\\[a-zA-Z]+(?:\{[^{}]*\})*|<[^<>\s][^<>]*>|"
    r"https?://\S+|www\.\S+|\S{1,64}@\S{1,255}\.\w+|[\d_]+",
    re.DOTALL,
)
LOOKED_AT = 10_000  # characters: lingua takes minutes for a word of a million letters
# Other names of languages, and what is said beside a name: how it is written, or where.
OTHER_NAMES = {
    **dict.fromkeys(["mandarin", "putonghua", "cantonese", "hanyu"], "Chinese"),
    **dict.fromkeys(["farsi", "dari"], "Persian"),
    **dict.fromkeys(["norwegian", "norsk"], "Bokmal"),
    **{"castilian": "Spanish", "filipino": "Tagalog", "flemish": "Dutch", "kiswahili": "Swahili", "bangla": "Bengali"},
    **{"slovenian": "Slovene", "malaysian": "Malay", "valencian": "Catalan", "panjabi": "Punjabi", "luganda": "Ganda"},
}
BESIDE = re.compile(
    r"\([^)]*\)|\b(?:simplified|traditional|brazilian|european|latin american|american|british|canadian|mexican|swiss|austrian|"
    r"modern|standard|egyptian|cyrillic|latin script|devanagari|language)\b",
    re.IGNORECASE,
)


def find_language(name: str) -> str:
    """Returns a language's name as the metrics write it: `french`, `French (Canada)` and `fr` are `French`.

    Raises:
        ValueError: If lingua does not know it; the text names the nearest.
    """
    known = [language.name.capitalize() for language in Language.all()]
    for form in (name, BESIDE.sub(" ", name)):
        plain = " ".join(form.split()).capitalize()
        plain = OTHER_NAMES.get(plain.lower(), plain)
        if plain in known:
            return plain
    code = re.split("[-_]", name.strip())[0].upper()
    for language in Language.all():
        if code == language.iso_code_639_1.name:
            return language.name.capitalize()
    raise ValueError(f"unknown language `{name}`{nearest(name, known) or '; lingua knows ' + ', '.join(sorted(known))}")


@cache
def _detector(languages: frozenset[str]) -> LanguageDetector:
    chosen = [Language.from_str(language.upper()) for language in sorted(languages)]
    return LanguageDetectorBuilder.from_languages(*chosen).build()


def without_formulas(text: str) -> str:
    """Returns the words of a text: without formulas, code, tags, addresses and numbers."""
    return NO_LANGUAGE.sub(" ", text[:LOOKED_AT]).encode(errors="replace").decode()  # lingua takes no half characters


@lru_cache(1 << 16)
def _language_of(text: str, languages: frozenset[str]) -> str | None:
    words = without_formulas(text)
    if not any(character.isalpha() for character in words):
        return None
    first = _detector(languages).compute_language_confidence_values(words)[0]
    return first.language.name.capitalize() if first.value >= LEAST_CONFIDENCE else UNDECIDED


def language_of(text: str, languages: Iterable[str] = ()) -> str | None:
    """Returns the language that most of a text is in, with lingua (https://github.com/pemistahl/lingua-rs), offline.

    Args:
        text: The text.
        languages: Those of the data: they are possible beside the wide set.

    Returns:
        The language's name; `undecided` where the words fit several too well; None where there are no words: numbers and
        formulas are in no language.
    """
    return _language_of(text, WIDE | frozenset(languages))
