"""How often the language of a text is not found, or is taken for another: MGSM's problems, whole and in parts.

    python benchmarks/detector.py path/to/mgsm

The detector is that of recipes/gpt_oss_multilingual/languages.py, which chooses among its wide set whatever was asked for.
"""

import re
import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "recipes" / "gpt_oss_multilingual"))

from languages import UNDECIDED, language_of, without_formulas
from mgsm import load_mgsm

ENDS = re.compile(r"(?<=[.!?。？！])\s*")  # noqa: RUF001
WITHOUT_SPACES = {"Chinese", "Japanese", "Thai"}
FEW = 4  # words, or twice as many characters


def parts_of(text: str, language: str) -> dict[str, list[str]]:
    """Returns a text whole, its sentences, and the first words of each."""
    sentences = [sentence.strip() for sentence in ENDS.split(text) if sentence.strip()]
    few = [part[: 2 * FEW] if language in WITHOUT_SPACES else " ".join(part.split()[:FEW]) for part in sentences]
    return {"problem": [text], "sentence": sentences, f"first {FEW} words": few}


def main() -> None:
    rows = load_mgsm(sys.argv[1], [])
    found: dict[tuple[str, str], Counter[str]] = {}
    for row in rows:
        language = row["question_language"]
        for kind, parts in parts_of(row["messages"][1]["content"], language).items():
            counts = found.setdefault((language, kind), Counter())
            for part in parts:
                if not any(character.isalpha() for character in without_formulas(part)):
                    continue
                said = language_of(part)
                counts["texts"] += 1
                counts["wrong"] += said not in (language, UNDECIDED)
                counts["undecided"] += said == UNDECIDED
    print("| language | length | texts | taken for another | undecided |\n|---|---|---|---|---|")
    for (language, kind), counts in sorted(found.items()):
        shares = (f"{counts[name] / counts['texts']:.1%}" for name in ("wrong", "undecided"))
        print(f"| {language} | {kind} | {counts['texts']} | {' | '.join(shares)} |")


if __name__ == "__main__":
    main()
