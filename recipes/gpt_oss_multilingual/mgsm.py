"""Multilingual Grade School Math (MGSM): 250 problems of GSM8K, translated by people into ten languages."""

from pathlib import Path

from common.data.formats import Conversation
from common.data.texts import read_text
from common.errors import fail

from metrics import INSTRUCTION

# The language codes of https://github.com/google-research/url-nlp/tree/main/mgsm (Shi et al. 2022, arXiv:2210.03057).
CODES = {
    "bn": "Bengali",
    "de": "German",
    "en": "English",
    "es": "Spanish",
    "fr": "French",
    "ja": "Japanese",
    "ru": "Russian",
    "sw": "Swahili",
    "te": "Telugu",
    "th": "Thai",
    "zh": "Chinese",
}


def load_mgsm(folder: str | Path, thinking_languages: list[str]) -> list[Conversation]:
    """Reads the problems of a folder, each to be thought through in one of some languages, in turn.

    Args:
        folder: Has `mgsm_XX.tsv` for each language: a problem a line, a tab, its answer.
        thinking_languages: The languages to think in; those of the files if empty.

    Returns:
        The first problem in each language of the files, then the second one, and so on. The answers are numbers.

    Raises:
        SystemExit: With code 2 for a file of an unknown language, or a line that is not a problem and a number.
    """
    found: dict[str, list[tuple[str, str]]] = {}
    for path in sorted(Path(folder).glob("mgsm_*.tsv")):
        code = path.stem.removeprefix("mgsm_")
        if code not in CODES:
            fail(f"{path}: unknown language code `{code}`; there is: {', '.join(CODES)}")
        found[CODES[code]] = []
        for number, line in enumerate(read_text(path).splitlines(), start=1):
            problem, tab, answer = line.rpartition("\t")
            if not tab or not answer.strip().lstrip("-").replace(",", "").replace(".", "").isdigit():
                fail(f"{path}, line {number}: not a problem, a tab and a number; correct or remove it")
            found[CODES[code]].append((problem, answer.strip()))
    thinks_in = thinking_languages or list(found)
    rows = []
    for number in range(max(map(len, found.values()))):
        for position, (language, problems) in enumerate(found.items()):
            if number < len(problems):
                thought_in = thinks_in[(number + position) % len(thinks_in)]
                problem, answer = problems[number]
                messages = [
                    {"role": "system", "content": INSTRUCTION.format(thought_in)},
                    {"role": "user", "content": problem},
                    {"role": "assistant", "thinking": "", "content": answer},
                ]
                asked = {"thinking_language": thought_in, "question_language": language}
                rows.append({"messages": messages, **asked, "group": number})  # one problem in all languages
    return rows
