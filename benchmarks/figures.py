"""Writes the figures of the pages from the records in benchmarks/results, where figures.yaml says which stands where.

    python benchmarks/figures.py             # after a new record
    python benchmarks/figures.py --untied    # the measured figures that no record ties, by page

A template of figures.yaml is a text of a page with a Python expression in braces in the place of each figure: it is found
on the page whatever figures stand there, and they are written anew. Needs no GPU and no library of training.
"""

import argparse
import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
FIELD = re.compile(r"\{([^{}:]+)(?::([^{}]*))?\}")
# A figure with a unit in which something was measured; sizes of cards (GB) are none.
UNIT = r"(?:s|ms|seconds|minutes|CPU-seconds|GiB|MB|points|tokens/s|times)"
MEASURED = re.compile(r"(?<![\w.,])[-+]?\d[\d,]*(?:\.\d+)?(?: ?%(?! interval)| " + UNIT + r"\b)")
# By this a block or its section says where its figures are from, if not from a record.
SOURCE = re.compile(r"20\d\d-\d\d-\d\d|\btests?[_/]\w+|benchmarks/\w+|[Bb]y hand|[Bb]y arithmetic|planned|Computed from")


@cache
def record(name: str) -> Any:
    """Returns what a script wrote: `grpo_gpu` is benchmarks/results/grpo_gpu.json, `grpo_gpu.0` the first call in it."""
    file, _, call = name.partition(".")
    found = json.loads((RESULTS / f"{file}.json").read_text(encoding="utf-8"))
    return found[int(call)] if call else found


def run(name: str, words: str, **more: object) -> dict[str, Any]:
    """Returns the one run of a record that is meant.

    Args:
        name: The record's.
        words: Recipe, configuration, stage, number of GPUs, perhaps a variant.
        more: What else the run must have, where the words are not enough.
    """

    def is_meant(run: dict) -> bool:
        config = run["configuration"].removesuffix(".yaml")
        own = [run["recipe"], config, run["stage"], str(run["gpus"]), run["variant"]]
        return " ".join(own).strip() == words and all(run.get(key.replace("_", " ")) == value for key, value in more.items())

    (found,) = filter(is_meant, record(name)["runs"])
    return found


def seeds(recipe: str, column: str) -> list[float]:
    """Returns a column of the runs of all seeds, without the sign of percent."""
    return [float(str(run[column]).rstrip("%")) for run in record(f"{recipe}_seeds")["runs"]]


def span(values: list[float], digits: int = 0, to: str = "-") -> str:
    """Returns the smallest and the largest value, one where they are equal."""
    shown = [f"{value:.{digits}f}".replace("100.0", "100") for value in (min(values), max(values))]
    return to.join(dict.fromkeys(shown))


def step(run: dict) -> str:
    """Returns the time of a step of GRPO."""
    return f"{run['median later step s']:.2f} s"


def memory(run: dict) -> str:
    """Returns the most memory that a GPU had in use."""
    return f"{run['peak GPU memory GiB']:.1f} GiB"


def generated(run: dict) -> str:
    """Returns the tokens that a GPU generates in a second."""
    return f"{run['generated tokens/s/GPU']:,}"


def speed(run: dict) -> str:
    """Returns the tokens that a GPU trains on in a second."""
    return f"{run['tokens/s/GPU']:,}"


def share(value: float) -> str:
    """Returns a share in percent."""
    return f"{100 * value:.1f} %"


@cache
def figures() -> dict[str, Any]:
    """Returns figures.yaml."""
    return yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))


@cache
def names() -> dict[str, Any]:
    """Returns what the expressions of templates may use: the functions above, and the names of figures.yaml."""
    known: dict[str, Any] = dict(globals())
    for name, expression in figures()["names"].items():
        known[name] = eval(expression, known)
    return known


def value_of(expression: str, form: str | None) -> str:
    """Returns the text of a figure."""
    return format(eval(expression, names()), form or "")


def pattern_of(template: str) -> re.Pattern:
    """Returns what finds a template on a page, with a group for each figure; a line may end anywhere."""
    texts = FIELD.split(template.strip())[::3]
    words = (re.sub(r"(?:\\?\s)+", r"\\s+", re.escape(text)) for text in texts)
    whole = r"(?!\d)" if template.rstrip().endswith(".") else ""  # not the point in a figure
    return re.compile(r"(\S[^|\n]*?)".join(words) + whole)


def table_of(name: str) -> str:
    """Returns the runs of a record as a table of Markdown."""
    runs = record(name)["runs"]
    header, *rows = ["| " + " | ".join(row) + " |" for row in [list(runs[0]), *(map(str, run.values()) for run in runs)]]
    return "\n".join([header, "|---" * len(runs[0]) + "|", *rows])


def replacements(page: str, text: str) -> Iterator[tuple[int, int, str, bool]]:
    """Yields where on a page a record's figure stands, and what should stand there.

    Args:
        page: Its path in the repository.
        text: What stands in it.

    Yields:
        Begin and end, the text for it, and whether this is a whole template, whose figures follow.
    """
    for entry in figures()["pages"].get(page, []):
        if isinstance(entry, dict):
            table = table_of(entry["table"])
            header = re.escape(table.partition("\n")[0])
            found = list(re.finditer(header + r"\n(?:\|.*\n)+", text))
        else:
            found = list(pattern_of(entry).finditer(text))
        if len(found) != 1:
            raise ValueError(f"{page}: found {len(found)} times, should be once: {entry}")
        if isinstance(entry, dict):
            yield found[0].start(), found[0].end(), table + "\n", False
            continue
        yield found[0].start(), found[0].end(), "", True
        for group, (expression, form) in enumerate(FIELD.findall(entry), start=1):
            yield *found[0].span(group), value_of(expression, form), False


def written(page: str, text: str) -> str:
    """Returns a page with the figures of the records."""
    for start, end, figure, is_whole in sorted(replacements(page, text), reverse=True):
        if not is_whole:
            text = text[:start] + figure + text[end:]
    return text


def blocks(text: str) -> Iterator[tuple[str, str, int]]:
    """Yields the paragraphs, tables and list items of a page, each with its heading and where it begins; no fenced code."""
    heading = ""
    text = re.sub(r"```.*?```", lambda fence: re.sub(r"\S", " ", fence[0]), text, flags=re.DOTALL)
    text = re.sub(r"<!-- (\w+) -->.*?<!-- end -->", lambda made: re.sub(r"\S", " ", made[0]), text, flags=re.DOTALL)
    for found in re.finditer(r"(?:^(?!\s*$).*\n?)+", text, re.MULTILINE):
        for item in re.finditer(r"(?:^(?:- |\d+\. )|\A).*?(?=^(?:- |\d+\. )|\Z)", found[0], re.DOTALL | re.MULTILINE):
            if item[0].startswith("#"):
                heading = item[0].strip()
            elif item[0]:
                yield heading, item[0], found.start() + item.start()


def untied(page: str, text: str) -> Iterator[tuple[str, str, list[str]]]:
    """Yields the blocks of a page with measured figures that no record ties.

    Yields:
        The heading, the block, and the figures.
    """
    tied = [(start, end) for start, end, _, _ in replacements(page, text)]
    for heading, block, begin in blocks(text):
        found = [
            figure[0]
            for figure in MEASURED.finditer(block)
            if not any(start <= begin + figure.start() < end for start, end in tied)
        ]
        if found:
            yield heading, block, found


def pages() -> list[str]:
    """Returns the paths of all pages that have figures."""
    found = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "recipes").glob("*/README.md")]
    return sorted(str(page.relative_to(ROOT)) for page in found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--untied", action="store_true", help="only list the measured figures that no record ties")
    args = parser.parse_args()
    for page in pages():
        text = (ROOT / page).read_text(encoding="utf-8")
        if args.untied:
            for heading, block, found in untied(page, text):
                source = "" if SOURCE.search(block) else "NO SOURCE "
                print(f"{page} | {heading} | {source}{block.strip()[:60]!r}: {', '.join(found)}")
        else:
            (ROOT / page).write_text(written(page, text), encoding="utf-8")


if __name__ == "__main__":
    main()
