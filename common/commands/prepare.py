"""`recipes prepare RECIPE [flags]`: what a run would train on, read and checked as the run would, without a model.

A recipe's prepare.py reads its settings and its data as train.py does, and hands them to `supervised` or `prompted`; what is
shown of it is the same for all.
"""

import contextlib
import importlib
import io
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from common.commands import places
from common.data.notes import LEFT_OUT, ROWS
from common.errors import fail
from common.progress import doing, idle

BINS = 8
GREEN, PLAIN = "\033[32m", "\033[0m"


@dataclass
class Prepared:
    """What a run would train on.

    Attributes:
        rows: How many rows can be used.
        splits: How many of them are in each part.
        lengths: Their lengths in tokens.
        longest: The longest that may be.
        first: The first rows in the order of the files, as segments of text, each with whether it is trained.
        unit: What has the lengths.
        check: Ends with code 2 and one line for a row that is too long.
    """

    rows: int
    splits: dict[str, int]
    lengths: list[int]
    longest: int
    first: list[list[tuple[bool, str]]] = field(default_factory=list)
    unit: str = "conversation"
    check: Callable[[], None] = lambda: None


# --- What a recipe's prepare.py calls -------------------------------------------------------------------------------------


def _splits(train: Sequence, validation: Sequence, held_out: dict[str, Sequence]) -> dict[str, int]:
    return {"train": len(train), "validation": len(validation)} | {name: len(rows) for name, rows in held_out.items()}


def supervised(
    train: list[dict[str, Any]],
    validation: list[dict[str, Any]],
    held_out: dict[str, list[dict[str, Any]]],
    tokenizer: Any,
    max_length: int,
    *,
    name: str,
    skip_bad_rows: bool,
    show: int,
) -> Prepared:
    """Makes tokens of conversations as a run would.

    Args:
        train: The training conversations.
        validation: Those of the validation.
        held_out: The held-out ones by the name of the set; that the template can write them is checked.
        tokenizer: The model's tokenizer, with the chat template that is trained.
        max_length: Longest conversation in tokens.
        name: Of the data.
        skip_bad_rows: See `common.data.conversations.usable`.
        show: How many of the first rows are shown.

    Raises:
        SystemExit: With code 2 and one line for a row that the run would refuse.
    """
    from common.data.token_cache import lengths_of
    from common.data.tokens import segments_of, tokenize

    parts = {name: train, "validation": validation}
    lengths = [
        length
        for where, rows in parts.items()
        if rows
        for length in lengths_of(tokenize(rows, tokenizer, sys.maxsize, where=where, skip_bad_rows=skip_bad_rows)).tolist()
    ]

    def check() -> None:
        for where, rows in parts.items():
            if rows and max(lengths) > max_length:
                tokenize(rows, tokenizer, max_length, where=where, skip_bad_rows=skip_bad_rows)

    if skip_bad_rows:
        check()
    first = []
    for row in islice(ROWS or train or next(iter(held_out.values())), show):
        if str(row.get("where")) not in LEFT_OUT:
            first.append(segments_of(tokenize([row], tokenizer, sys.maxsize, where=name)[0], tokenizer))
    count = len(ROWS) or len(train) + len(validation) + sum(map(len, held_out.values()))
    return Prepared(count, _splits(train, validation, held_out), lengths, max_length, first, check=check)


def prompted(
    train: list[Any],
    validation: list[Any],
    held_out: dict[str, list[Any]],
    prompt_of: Callable[[Any], str],
    tokenizer: Any,
    max_prompt_length: int,
    *,
    show: int,
) -> Prepared:
    """Counts the tokens of prompts as a run with rewards would: it trains what the model writes itself.

    Args:
        train: The training problems; each has an `answer`.
        validation: Those of the validation.
        held_out: The held-out ones by the name of the set.
        prompt_of: Returns the prompt of a problem, as the chat template writes it.
        tokenizer: The model's tokenizer.
        max_prompt_length: Longest prompt in tokens.
        show: How many of the first rows are shown, each with the answer that the reward looks for.
    """
    everything = [*train, *validation, *(row for rows in held_out.values() for row in rows)]
    prompts = [prompt_of(row) for row in everything]
    lengths = list(map(len, tokenizer(prompts, add_special_tokens=False)["input_ids"]))
    order = {row["where"]: number for number, row in enumerate(ROWS)}
    placed = sorted(zip(everything, prompts, strict=True), key=lambda pair: order.get(pair[0].where, 0))
    first = [[(False, prompt), (False, f"[the reward looks for {row.answer}]")] for row, prompt in placed[:show]]
    count = len(ROWS) or len(everything)
    return Prepared(count, _splits(train, validation, held_out), lengths, max_prompt_length, first, "prompt")


# --- The command ----------------------------------------------------------------------------------------------------------


def _as_json(prepared: Prepared) -> str:
    first = []
    for segments in prepared.first:
        last = max((number for number, (trained, _) in enumerate(segments) if trained), default=1)
        first.append(
            {
                "prompt": "".join(text for _, text in segments[:last]),
                "trained": [text for trained, text in segments if trained],
                "not_trained": [text for trained, text in segments if not trained],
            }
        )
    left_out = [{"where": where, "why": why} for where, why in LEFT_OUT.items()]
    found = {"rows": prepared.rows, "left_out": left_out, "splits": prepared.splits, "first": first}
    return json.dumps(found, ensure_ascii=False, indent=2)


def _histogram(prepared: Prepared) -> list[str]:
    """Returns how many rows have which length, a line each."""
    lengths, longest = prepared.lengths, prepared.longest
    if not lengths:
        return []
    shown = longest if longest < sys.maxsize else max(lengths)
    width = max(1, -(-shown // BINS))
    counts = [sum(start < length <= start + width for length in lengths if length <= shown) for start in range(0, shown, width)]
    bar = 40 / max(max(counts), 1)
    lines = [f"Tokens of a {prepared.unit} (at most {max(lengths)}; the longest that may be is {longest}):"]
    for number, count in enumerate(counts):
        end = min((number + 1) * width, shown)
        lines.append(f"{number * width + 1:>7} - {end:<7} {count:>7} {'#' * -(-int(count * bar * 10) // 10)}".rstrip())
    over = sum(length > longest for length in lengths)
    return [*lines, f"{'longer':>17} {over:>7}"] if over else lines


def _as_text(prepared: Prepared) -> str:
    marks = (GREEN, PLAIN) if sys.stdout.isatty() else ("»", "«")
    lines = [f"{prepared.rows} rows: " + ", ".join(f"{count} {name}" for name, count in prepared.splits.items())]
    if not all(prepared.splits.values()):
        lines.append("No run could start: it takes at least 3 rows that ask different things, as some are kept to measure.")
    lines += _histogram(prepared)
    for number, segments in enumerate(prepared.first, start=1):
        shown = "".join(f"{marks[0]}{text}{marks[1]}" if trained else text for trained, text in segments)
        # With rewards nothing of a row is trained, but what the model writes itself.
        marked = any(trained for trained, _ in segments)
        legend = f"; what is trained {'is green' if marks[0] == GREEN else 'stands in » «'}" if marked else ""
        lines.append(f"Row {number}{legend}:\n{shown}")
    return "\n".join(lines)


def _take_show(arguments: list[str]) -> tuple[list[str], bool, int]:
    """Takes `--json` and `--show N` out of the flags, which are the recipe's but for these."""
    left, as_json, show = [], False, 3
    words = iter(arguments)
    for word in words:
        if word == "--json":
            as_json = True
        elif word == "--show" or word.startswith("--show="):
            number = word.partition("=")[2] or next(words, "")
            if not number.isdigit():
                fail(f"--show {number}: not a number of rows; for example `--show 3`")
            show = int(number)
        else:
            left.append(word)
    return left, as_json, show


def prepare_recipe(recipe: str, arguments: list[str]) -> None:
    """Shows what a run would train on, and checks it.

    Args:
        recipe: A recipe's name, or a recipe's folder.
        arguments: The flags of the recipe's train.py, `--show N` for so many of the first rows, and `--json` for JSON alone on
            standard output: `rows`, `left_out` (`where`, `why`), `splits`, and `first` (`prompt`, `trained`, `not_trained`).

    Raises:
        SystemExit: With code 2 and one line for settings or a row that the run would refuse.
    """
    folder = places.find_recipe(recipe)
    arguments, as_json, show = _take_show(arguments)
    if not (folder / "prepare.py").is_file():
        fail(f"{places.shown(folder)} has no prepare.py; its train.py checks the data before a model loads")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # bitsandbytes would have functions compiled when it is imported, which loads torch's compiler; nothing is computed here.
    os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")
    sys.path.insert(0, str(folder))
    with contextlib.redirect_stdout(io.StringIO()) if as_json else contextlib.nullcontext():
        doing(f"preparing {recipe}")
        try:
            prepared = importlib.import_module("prepare").prepare(arguments, show)
            if as_json:
                prepared.check()
        finally:
            idle()
    print(_as_json(prepared) if as_json else _as_text(prepared), flush=True)
    prepared.check()
