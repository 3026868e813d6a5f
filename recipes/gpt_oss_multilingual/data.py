"""Problems to think through in a language that is asked for: from the hub, a file of your own, MGSM, or generated."""

import random
import re
from collections.abc import Iterator, Sequence
from datetime import date
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import Any

from common.data.conversations import load_conversations
from common.data.duplicates import asks_same
from common.data.formats import Conversation, Recognised
from common.data.lesson import check_size, import_lesson
from common.data.parts import is_lesson
from common.data.questions import content_of, group_of, take
from common.data.sources import mix
from common.data.splits import check_num_held_out, find_splits, hold_out, size_of_part
from common.data.stored import join, select
from common.errors import BadRow, fail

import numpy as np

from arguments import MultilingualArguments
from languages import find_language
from metrics import INSTRUCTION
from mgsm import load_mgsm

Splits = dict[str, Sequence[Conversation]]

ASKS_FOR = re.compile(r"reasoning language:\s*([^\W\d_][^\n.,;]*)", re.IGNORECASE)


def convert(recognised: Recognised, row: dict[str, Any]) -> Conversation:
    """Makes a conversation with a thought in a language of a row.

    Args:
        recognised: What the row was read as, see `common.data.formats`; its last message is the assistant's and has its
            `thinking`.
        row: The row. The language to think in is a column (`thinking_language` or `reasoning_language`), or `reasoning
            language: X` in the system message; what only a column says is written into the system message. It may have a
            `question_language`.

    Raises:
        BadRow: If there is no thought, or no language to think in.
    """
    messages = recognised.conversation["messages"]
    last, system = messages[-1], messages[0]["content"] if messages[0]["role"] == "system" else ""
    thought = last.get("thinking") or last.get("reasoning_content") or ""
    if last["role"] != "assistant" or not thought.strip():
        raise BadRow("the last message must be the assistant's, with its thought in `thinking`: it is what is learned")
    last = {key: value for key, value in last.items() if key != "reasoning_content"} | {"thinking": thought}
    messages = [*messages[:-1], last]
    asked = ASKS_FOR.search(system)
    language = row.get("thinking_language") or row.get("reasoning_language") or (asked and asked[1])
    if not language:
        raise BadRow("no language to think in; add `reasoning language: X` to the system message, or a `thinking_language`")
    language, question_language = _known_language(str(language)), row.get("question_language")
    question_language = _known_language(str(question_language)) if question_language else None
    if not asked:
        instruction = INSTRUCTION.format(language)
        first = {"role": "system", "content": f"{instruction}\n\n{system}" if system else instruction}
        messages = [first, *(messages[1:] if system else messages)]
    return {"messages": messages, "thinking_language": language, "question_language": question_language}


def _known_language(name: str) -> str:
    """Returns the language that a row names; what follows its first word may be another sentence."""
    try:
        return find_language(name)
    except ValueError as error:
        first = name.split()[0]
        if first == name.strip():
            raise BadRow(str(error)) from None
    return _known_language(first)


def add_others(
    train: Sequence[Conversation], others: Sequence[Conversation], args: MultilingualArguments, seed: int
) -> Sequence[Conversation]:
    """Puts rows in other languages among those that are trained.

    Args:
        train: The training conversations.
        others: Those in other languages.
        args: Gives `other_share`, their share of all.
        seed: Seed of the choice and of the order.
    """
    rng = random.Random(seed)
    count = round(len(train) * args.other_share / (1 - args.other_share))
    numbers = list(range(len(train)))
    added = range(len(train), len(train) + len(others))
    numbers += rng.sample(added, count) if count <= len(others) else added
    rng.shuffle(numbers)
    return select(join(train, others), numbers)


def place_others(
    others: Sequence[Conversation],
    train: Sequence[Conversation],
    apart: Sequence[Conversation],
    held_out: Sequence[Conversation],
    num_held_out: int,
) -> tuple[Sequence[Conversation], Sequence[Conversation]]:
    """Shares out rows in languages that are not trained: a question that is held out in one language is so in all.

    Args:
        others: The rows.
        train: The training rows in languages that are trained.
        apart: All rows in these languages; those that are not trained are kept apart for this recipe or another.
        held_out: The held-out rows in languages that are trained.
        num_held_out: How many to hold out at most.

    Returns:
        The rows that may be trained on after all, and those to report on.
    """
    asks_measured, asks_trained = asks_same(others, held_out), asks_same(others, train)
    asked = select(others, np.flatnonzero(asks_measured))
    if not len(asked):  # no question is held out in both kinds of languages
        asked = select(others, np.flatnonzero(~asks_trained))
        num_held_out = size_of_part(len(others), num_held_out)
    asked, _ = take(asked, group_of, num_held_out)
    is_apart = asks_same(others, apart) | asks_same(others, asked)
    return select(others, np.flatnonzero(~is_apart | asks_trained)), asked


def _check_languages(args: MultilingualArguments) -> None:
    if not 0 <= args.other_share < 1:
        fail(f"other_share is {args.other_share:g}; use at least 0 and less than 1")
    for language in args.thinking_languages:
        try:
            find_language(language)
        except ValueError as error:
            fail(f"thinking_languages: {error}")


def _by_language(splits: Splits, args: MultilingualArguments) -> tuple[Splits, Splits]:
    """Returns of each split the rows in languages that are trained, and the others."""
    asked_for, others = {}, {}
    for split, rows in splits.items():
        languages = args.thinking_languages or sorted({row["thinking_language"] for row in rows})
        is_asked_for = np.array([row["thinking_language"] in languages for row in rows], bool)
        asked_for[split] = select(rows, np.flatnonzero(is_asked_for))
        others[split] = select(rows, np.flatnonzero(~is_asked_for))
        if not asked_for[split]:
            fail(f"{args.dataset_name} ({split}) has no row in {', '.join(languages)}; change thinking_languages or add rows")
    return asked_for, others


def load_data(
    args: MultilingualArguments, seed: int
) -> tuple[Sequence[Conversation], Sequence[Conversation], dict[str, Sequence[Conversation]]]:
    """Loads conversations to train on, conversations to choose by, and conversations that are reported on.

    Args:
        args: Names the data and says how much to use, and which languages to think in.
        seed: Seed of the generated training problems; the held-out ones are the same for every seed.

    Returns:
        The training and validation conversations, and the held-out sets by name (see `common.data.splits`): `held_out`, and
        `other_languages` where only some languages are trained. A folder of MGSM is one held-out set, `mgsm`, and no more.

    Raises:
        SystemExit: With code 2 and one line if the data cannot be used.
    """
    check_num_held_out(args.num_held_out)
    _check_languages(args)
    if is_lesson(args):
        check_size(args)
        return import_lesson("synthetic").synthetic_splits(args, seed)
    if list(Path(args.dataset_name).glob("mgsm_*.tsv")):
        return [], [], {"mgsm": load_mgsm(args.dataset_name, args.thinking_languages)[: args.num_held_out]}
    splits = load_conversations(args, convert)
    asked_for, others = _by_language(splits, args)
    train, validation, held_out = hold_out(
        asked_for,
        group_of,
        args.num_held_out,
        name=args.dataset_name,
        content=content_of,
        drop_duplicates=args.drop_duplicates,
    )
    found = find_splits(splits)
    if "train" not in found:
        free, (other_languages, _) = [], take(others.get(found.get("test"), []), group_of, args.num_held_out)
    elif "test" in found:
        free = others[found["train"]]
        free = select(free, np.flatnonzero(~asks_same(free, validation)))
        other_languages, _ = take(others[found["test"]], group_of, args.num_held_out)
    else:
        free, other_languages = place_others(
            others[found["train"]], train, asked_for[found["train"]], held_out, args.num_held_out
        )
    train = mix(train, args.dataset_name, itemgetter("source"), group_of)
    train = add_others(train[: args.num_train or None], free, args, seed)
    sets = {"held_out": held_out, "other_languages": other_languages}
    return train, validation, {name: rows for name, rows in sets.items() if rows}


def read_date(args: MultilingualArguments) -> date:
    """Returns the date that the chat template is to name.

    Raises:
        SystemExit: With code 2 if it is none.
    """
    try:
        return date.fromisoformat(args.current_date)
    except ValueError:
        fail(f"current_date {args.current_date} is not a date; write it like 2025-08-05")


def texts(train: Sequence[Conversation], args: MultilingualArguments) -> Iterator[str]:
    """Yields what the tokenizer of a `tiny:` model is trained on: all that is said and thought in training.

    Of generated problems it also gets those of languages that are not trained, as gpt-oss's tokenizer knows languages that the
    model is not tuned on: the LoRA lesson then has words to learn, and not letters.

    Args:
        train: The training conversations.
        args: Names the data.
    """
    others = []
    if args.dataset_name == "synthetic":
        lesson = import_lesson("synthetic")
        others = lesson.generate(lesson.all_problems()[args.num_held_out :], 3000, lesson.LANGUAGES, "tokenizer")
    for conversation in chain(train, others):
        for message in conversation["messages"]:
            yield message["content"]
            yield message.get("thinking", "")
