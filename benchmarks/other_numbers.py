"""GSM8K's problems with other numbers: the same story and the same worked solution, computed anew.

    python benchmarks/other_numbers.py train.jsonl more.jsonl --versions 2

A worked solution of GSM8K writes each of its calculations as `<<48/2=24>>` (Cobbe et al. 2021, arXiv:2110.14168), so it says
how the answer follows from the numbers of the question. Those are drawn anew, and every number of the solution that follows
from them is computed and put in its place. A problem is left out where that cannot be told: a number that stands for two
things, a calculation that is not one, a result that is no longer whole or positive. Whether a new number is likely is not
looked at: somebody may be 9 feet tall. Held-out problems must not be in the file.
"""

import argparse
import json
import random
import re
from fractions import Fraction
from pathlib import Path

from common.measure.math_answers import calculate

# Not a part of a word, of a larger number, or a percentage; the x of 3x4 is a sign.
NUMBER = re.compile(r"(?<![A-WYZa-wyz\d.,_])(?:\d[\d,]*(?:\.\d+)?|\.\d+)(?![A-WYZa-wyz\d_%]|[.,]\d)")
NOT_ALONE = re.compile(r"\d\s*[/:]\s*\d")  # a fraction, or a time of day
UNIT_FRACTION = re.compile(r"(?<![\d.])1/(\d+)")  # its lower number belongs to the story: "a tenth"
WORDS = "two three four five six seven eight nine ten eleven twelve".split()
CALCULATION = re.compile(r"<<([^<>=]+)=([^<>=]+)>>")
OPERAND = re.compile(r"\d+(?:\.\d+)?|\.\d+")
TRIES = 30  # draws for a version, each of all its numbers at once


class Unclear(ValueError):
    """A problem that does not say how its numbers belong together."""


def value_of(text: str) -> Fraction:
    """Returns the number that a text such as `1,250.5` writes."""
    try:
        return Fraction(text.replace(",", "").strip().strip("$"))
    except ValueError:
        raise Unclear(text) from None


def written_like(value: Fraction, old: str) -> str:
    """Returns a number as text, with commas if the old one had them; it must be as whole as the old one, and positive."""
    places = len(old.partition(".")[2])
    if value <= 0 or value * 10**places % 1:
        raise Unclear(f"{value} instead of {old}")
    return f"{float(value):{',' if ',' in old or value >= 10_000 else ''}.{places}f}"


def computed(calculation: str, values: dict[Fraction, Fraction]) -> Fraction:
    """Returns what a calculation gives once its numbers are replaced by others.

    Args:
        calculation: Such as `48/2`.
        values: The new number for an old one; one that is not in it stays.
    """
    result = calculate(OPERAND.sub(lambda found: f"({values.get(value_of(found[0]), value_of(found[0]))})", calculation))
    if result is None:
        raise Unclear(calculation)
    return result


def calculations_of(answer: str) -> list[tuple[str, str]]:
    """Returns the calculations of a worked solution and their results, in order; the last one gives the answer."""
    found = [(calculation.replace(",", "").strip(), result) for calculation, result in CALCULATION.findall(answer)]
    if not found or value_of(found[-1][1]) != value_of(answer.rpartition("####")[2]):
        raise Unclear("the last calculation is not the answer")
    if any(computed(calculation, {}) != value_of(result) for calculation, result in found):
        raise Unclear("a result is rounded, or wrong")
    return found


def drawn_numbers(question: str, calculations: list[tuple[str, str]]) -> list[str]:
    """Returns the numbers of a question that its solution calculates with, each as it is written.

    Raises:
        Unclear: If one of them is written twice, or is a result as well.
    """
    written = NUMBER.findall(question)
    used = {value_of(text) for calculation, _ in calculations for text in OPERAND.findall(calculation)}
    results = [value_of(result) for _, result in calculations]
    numbers = [text for text in written if value_of(text) in used]
    if len({value_of(text) for text in written}) < len(written) or len(set(results)) < len(results):
        raise Unclear("a number stands for two things")
    if not numbers or any(value_of(text) in results for text in numbers) or NOT_ALONE.search(question):
        raise Unclear("a number stands for two things")
    return numbers


def check_words(row: dict[str, str], values: set[Fraction]) -> None:
    """Fails if a number that is to change is also written as a word, or is the lower one of a fraction such as 1/10."""
    said = {Fraction(number) for number, word in enumerate(WORDS, 2) if re.search(rf"\b{word}\b", " ".join(row.values()), re.I)}
    if values & (said | {Fraction(int(number)) for number in UNIT_FRACTION.findall(row["answer"])}):
        raise Unclear("a number is a word, too")


def another(old: str, rng: random.Random) -> Fraction:
    """Returns a number about as large as an old one, with as many places; 1 and 2 stay what they are."""
    value, unit = value_of(old), Fraction(1, 10 ** len(old.partition(".")[2]))
    if unit == 1 and value <= 2:
        return value
    if unit == 1 and value >= 100 and value % 10 == 0:
        unit = Fraction(10)
    return max(unit, unit * round(value / unit * Fraction(rng.uniform(0.5, 2))))


def with_other_numbers(row: dict[str, str], rng: random.Random) -> dict[str, str] | None:
    """Returns a problem with other numbers, or None if none was found that leaves its solution one.

    Args:
        row: With `question` and `answer`.
        rng: Draws the numbers.
    """
    try:
        calculations = calculations_of(row["answer"])
        numbers = drawn_numbers(row["question"], calculations)
        check_words(row, {value_of(text) for text in [*numbers, *(result for _, result in calculations)]})
    except Unclear:
        return None
    for _ in range(TRIES):
        values = {value_of(text): another(text, rng) for text in numbers}
        texts = {value_of(text): written_like(value, text) for text, value in zip(numbers, values.values(), strict=True)}
        try:
            for calculation, result in calculations:
                old, new = value_of(result), computed(calculation, values)
                values[old], texts[old] = new, written_like(new, result)
        except Unclear:
            continue
        if len(set(values.values())) == len(values) and any(old != new for old, new in values.items()):
            return {name: _put(texts, text) for name, text in row.items()}
    return None


def _put(texts: dict[Fraction, str], text: str) -> str:
    """Returns a text with new numbers in the place of the old ones."""
    return NUMBER.sub(lambda found: texts.get(value_of(found[0]), found[0]), text)


def with_versions(rows: list[dict[str, str]], count: int, seed: int = 0) -> list[dict[str, str]]:
    """Returns problems, and behind them so many versions of each with other numbers, where there are any."""
    rng = random.Random(seed)
    versions = [with_other_numbers(row, rng) for _ in range(count) for row in rows]
    return [*rows, *filter(None, versions)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("problems", type=Path, help="GSM8K's rows, the held-out ones taken out")
    parser.add_argument("target", type=Path, help="a new file: these rows, and those with other numbers behind them")
    parser.add_argument("--versions", type=int, default=2, help="how many of each problem")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rows = [json.loads(line) for line in args.problems.read_text(encoding="utf-8").splitlines()]
    more = with_versions(rows, args.versions, args.seed)
    with args.target.open("x", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in more)
    print(f"{len(rows)} problems, {len(more) - len(rows)} with other numbers")


if __name__ == "__main__":
    main()
