"""Conversations as tokens, of which only what the assistant writes is trained."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from functools import partial
from itertools import groupby
from typing import Any

from common.data import cache, token_cache
from common.data.conversations import use
from common.data.formats import Conversation
from common.data.offsets import Offsets
from common.data.processes import FEWEST, first_here, make_all
from common.data.shown import check_shown
from common.data.spans import Frames, render
from common.data.stored import select
from common.data.templates import without_marks
from common.errors import BadRow, fail, say

import numpy as np
from datasets import Dataset, List, Value
from transformers import PreTrainedTokenizerBase
from trl import get_training_chat_template

PATIENCE = 10  # seconds without a line
IGNORED = -100  # the label of a token that is read and not trained; torch's default


def use_training_template(tokenizer: PreTrainedTokenizerBase) -> None:
    """Replaces the chat template by TRL's training variant of it, where there is one.

    Some templates write an assistant's turn in one way when it is the last and in another when more follows (Qwen3 drops the
    empty thoughts). What is trained would then differ from what is asked later, so the variant is saved with the model.
    """
    try:
        tokenizer.chat_template = without_marks(get_training_chat_template(tokenizer) or tokenizer.chat_template)
    except ValueError:  # no variant is known: `spans.trained_spans` checks that this template needs none
        return
    turns = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "!"}]
    end = special_end(render(turns, tokenizer), tokenizer)  # GLM's own template writes none
    if end is not None:
        tokenizer.eos_token = tokenizer.convert_ids_to_tokens(end)


def special_end(text: str, tokenizer: PreTrainedTokenizerBase) -> int | None:
    """Returns the special token with which a text ends, white space left out; None if it ends with another.

    Args:
        text: A rendered conversation.
        tokenizer: Its tokenizer.
    """
    last = next(reversed(tokenizer(text.rstrip(), add_special_tokens=False)["input_ids"]), None)
    return last if _is_special(last, tokenizer) else None


def _is_special(token: int | None, tokenizer: PreTrainedTokenizerBase) -> bool:
    added = tokenizer.added_tokens_decoder.get(token)
    return added is not None and added.special


def places_of(conversations: Iterable[Conversation], where: str) -> Iterator[tuple[str, Conversation]]:
    """Yields conversations with their places; those that were generated have a number."""
    for number, row in enumerate(conversations, start=1):
        yield row.get("where", f"{where}, conversation {number}"), row


def tokenize(
    conversations: Sequence[Conversation],
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    *,
    where: str,
    skip_bad_rows: bool = False,
) -> Dataset:
    """Turns conversations into tokens and labels; only what the assistant writes is trained, its end of turn included.

    Args:
        conversations: Checked conversations; `where` of one names it in an error.
        tokenizer: The model's tokenizer, with its chat template.
        max_length: Longest conversation in tokens.
        where: Name of the data, for the others.
        skip_bad_rows: Leave out longer conversations, and say how many, instead of ending at the first.

    Returns:
        `input_ids` and `labels`, one token each; a label is -100 where nothing is trained.

    Raises:
        SystemExit: With code 2 for a conversation that is too long: cutting it would cut the answer or what it rests on.
    """
    return tokenize_usable(conversations, tokenizer, max_length, where=where, skip_bad_rows=skip_bad_rows)[0]


def tokenize_usable(
    conversations: Sequence[Conversation],
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    *,
    where: str,
    skip_bad_rows: bool = False,
) -> tuple[Dataset, Sequence[Conversation]]:
    """Turns conversations into tokens and labels as `tokenize` does, whose arguments and errors these are.

    Returns:
        What `tokenize` returns, and the conversations that these tokens are of: those that were not left out.
    """

    def check(number: int, length: int, why: str | None) -> int:
        if length > max_length:
            raise BadRow(
                f"the conversation has {length} tokens and max_length is {max_length}; raise it, shorten the conversation, or "
                "leave such rows out with `--skip_bad_rows true`"
            )
        if why is not None:
            raise BadRow(why)
        return number

    def find() -> tuple[Dataset, token_cache.BadRows]:
        rows, bad = _make_all(conversations, tokenizer, where, None if skip_bad_rows else check)
        folder = token_cache.folder_of(conversations, tokenizer)
        if folder is None:
            return token_cache.dataset_of(list(rows)), bad
        found = cache.read(folder, "tokens", token_cache.load)
        return found or token_cache.load(cache.make(folder, "tokens", partial(token_cache.write, rows, bad)))

    with first_here(len(conversations) >= FEWEST):
        tokens, bad = find()
    lengths = token_cache.lengths_of(tokens)
    if not bad and lengths.max(initial=0) <= max_length and len(tokens):
        return tokens, conversations
    numbers = np.setdiff1d(np.arange(len(conversations)), list(bad))  # those that have tokens
    known = np.zeros(len(conversations), np.int64)
    known[numbers] = lengths
    attempts = (
        (place, (number, *bad.get(number, (int(known[number]), None))))
        for number, (place, _) in enumerate(places_of(conversations, where))
    )
    checked = use(attempts, lambda attempt: check(*attempt), name=where, skip_bad_rows=skip_bad_rows)
    used = np.fromiter((number for _, number in checked), np.int64)
    return tokens.select(np.searchsorted(numbers, used)), select(conversations, used)


def _make_all(
    conversations: Sequence[Conversation],
    tokenizer: PreTrainedTokenizerBase,
    where: str,
    check: Callable[[int, int, str | None], Any] | None,
) -> tuple[Iterator[tuple[np.ndarray, np.ndarray]], token_cache.BadRows]:
    """Returns the tokens and labels of the rows one after the other, and those of which none could be made until then.

    With `check` it ends at the first row for which that raises `BadRow`.
    """
    bad: token_cache.BadRows = {}
    frames, places = Frames(tokenizer), Offsets(tokenizer)
    # From here on the backend cuts and pads nothing; to call it alone takes a third less than to call the tokenizer.
    tokenizer("", add_special_tokens=False)

    def attempt(number: int) -> tuple[np.ndarray, np.ndarray] | tuple[int, str]:
        return _make(conversations[number], tokenizer, frames, places)

    def made() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        said = time.monotonic()
        with closing(make_all(attempt, range(len(conversations)))) as attempts:
            for number, found in enumerate(attempts):
                is_bad = isinstance(found[1], str)
                length, why = found if is_bad else (len(found[0]), None)
                if check:
                    try:
                        check(number, length, why)
                    except BadRow as error:
                        fail(f"{conversations[number].get('where', f'{where}, conversation {number + 1}')}: {error}")
                if is_bad:
                    bad[number] = found
                else:
                    yield found
                if time.monotonic() - said > PATIENCE:
                    said = time.monotonic()
                    say(f"{where}: tokens of {number + 1} of {len(conversations)} rows")

    return made(), bad


def _make(
    conversation: Conversation, tokenizer: PreTrainedTokenizerBase, frames: Frames, places: Offsets
) -> tuple[np.ndarray, np.ndarray] | tuple[int, str]:
    """Returns the tokens and labels of a conversation; if it cannot be trained, its length, or 0, and why."""
    length = 0
    try:
        text, spans, is_shown = frames.spans(conversation)
        tokens, is_trained = places.find(text, sorted(spans.values()))
        trained = np.where(is_trained, tokens, np.int32(IGNORED))
        length = len(tokens)
        last = int(tokens[is_trained][-1]) if is_trained.any() else None
        if last is None:
            raise BadRow("no token is trained: the chat template does not show what the assistant writes; take another model")
        # Some templates end a turn of calls with a token of their own, such as gpt-oss's `<|call|>`.
        is_call = "tool_calls" in conversation["messages"][max(spans)] and _is_special(last, tokenizer)
        if last != tokenizer.eos_token_id and not is_call:
            raise BadRow(
                f"the last trained token is `{tokenizer.decode([last])}`, not the end of turn `{tokenizer.eos_token}`: "
                "the model would never learn to stop; use a tokenizer whose eos_token ends a turn"
            )
        if not is_shown:
            check_shown(conversation, text, spans)
    except BadRow as error:
        return length, str(error)
    return tokens, trained


def segments_of(row: dict[str, list[int]], tokenizer: PreTrainedTokenizerBase) -> list[tuple[bool, str]]:
    """Returns a row of `tokenize` as segments of text, each with whether it is trained."""
    pairs = zip(row["input_ids"], row["labels"], strict=True)
    segments = groupby(pairs, lambda pair: pair[1] != IGNORED)
    return [(trained, tokenizer.decode([token for token, _ in segment])) for trained, segment in segments]


def show_trained(row: dict[str, list[int]], tokenizer: PreTrainedTokenizerBase) -> str:
    """Returns a row of `tokenize` as text, with what is trained between » and «."""
    return "".join(f"»{text}«" if trained else text for trained, text in segments_of(row, tokenizer))


def as_arrays(dataset: Any) -> Any:
    """Returns a data set whose rows are read as arrays if they are tokens and labels alone; anything else as it is.

    TRL's collator makes tensors of them, of a list number by number while the GPU waits: a batch of 16 rows of 2048 tokens
    takes a third of the time.

    Args:
        dataset: What a trainer trains on or validates on.
    """
    of_tokens = (List(Value("int32")), List(Value("int64")))
    features = dataset.features if isinstance(dataset, Dataset) else {}
    if not {"input_ids", "labels"} <= features.keys() <= {"input_ids", "labels", "seq_lengths"} or any(
        feature not in of_tokens for feature in features.values()
    ):
        return dataset
    return dataset.with_format("numpy", dtype=np.int64)
