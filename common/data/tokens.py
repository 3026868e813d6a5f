"""Conversations as tokens, of which only what the assistant writes is trained."""

import reprlib
from collections.abc import Callable
from contextlib import closing
from itertools import groupby
from typing import Any

from common.data import token_cache
from common.data.conversations import usable
from common.data.formats import Conversation
from common.data.processes import first_here, make_all
from common.data.shown import check_shown
from common.data.templates import without_marks
from common.errors import BadRow, brief

import numpy as np
from datasets import Dataset
from transformers import PreTrainedTokenizerBase
from trl import get_training_chat_template

IGNORED = -100  # the label of a token that is read and not trained; torch's default


def use_training_template(tokenizer: PreTrainedTokenizerBase) -> None:
    """Replaces the chat template by TRL's training variant of it, where there is one.

    Some templates write an assistant's turn in one way when it is the last and in another when more follows (Qwen3 drops the
    empty thoughts). What is trained would then differ from what is asked later, so the variant is saved with the model.
    """
    try:
        tokenizer.chat_template = without_marks(get_training_chat_template(tokenizer) or tokenizer.chat_template)
    except ValueError:  # no variant is known: `_trained_spans` checks that this template needs none
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


def render(
    messages: list[dict[str, Any]],
    tokenizer: PreTrainedTokenizerBase,
    tools: list[dict[str, Any]] | None = None,
    *,
    prompt: bool = False,
) -> str:
    """Returns messages as the chat template writes them.

    Args:
        messages: The messages.
        tokenizer: The model's tokenizer, with its chat template.
        tools: The tools offered.
        prompt: Whether the assistant is to continue them.

    Raises:
        BadRow: If the template cannot write them, or refuses to.
    """
    try:
        return tokenizer.apply_chat_template(messages, tools=tools or None, tokenize=False, add_generation_prompt=prompt)
    except Exception as error:  # a template raises what it likes, and whatever the values of a row make it stumble over
        raise BadRow(f"the chat template cannot write it ({brief(error)}); change the row, or take another model") from None


def places_of(conversations: list[Conversation], where: str) -> list[tuple[str, Conversation]]:
    """Returns conversations with their places; those that were generated have a number."""
    return [(row.get("where", f"{where}, conversation {number}"), row) for number, row in enumerate(conversations, start=1)]


def _why_no_span(
    before: list[dict[str, Any]],
    tokenizer: PreTrainedTokenizerBase,
    tools: list[dict[str, Any]] | None,
    text: str,
    whole: str,
    prompt: str,
) -> str:
    """Returns why a turn cannot be trained: what would be asked for is not how it is written."""
    asked = render(before, tokenizer, tools)
    opening = prompt.removeprefix(asked)
    if not text.startswith(whole) or not whole.startswith(asked) or opening == prompt:
        return (
            "the chat template writes this turn differently once others follow; cut the conversation behind it, or take "
            "another model"
        )
    return (
        f"the chat template asks for this turn with {reprlib.repr(opening)} and then begins it in another way; give the turn "
        "a thought, or take one out of it, or take another model"
    )


def _trained_spans(
    conversation: Conversation, tokenizer: PreTrainedTokenizerBase, render_prompt: Callable[[list, list | None], str]
) -> tuple[str, dict[int, tuple[int, int]]]:
    """Returns a conversation as text, and where in it the assistant's turns are, from first letter to end of turn.

    The turns are by the number of the message, from 0; those with the weight 0 are only shown and not among them.
    """
    messages, tools = conversation["messages"], conversation.get("tools")
    text = render(messages, tokenizer, tools)
    spans = {}
    for index, message in enumerate(messages):
        if message["role"] != "assistant" or message.get("weight", 1) == 0:
            continue
        if index == 0:
            raise BadRow("message 1: nothing stands before what the assistant says; remove it, or give it `weight` 0")
        prompt = render_prompt(messages[:index], tools)
        is_last = index == len(messages) - 1
        whole = (text if is_last else render(messages[: index + 1], tokenizer, tools)).rstrip("\n")
        if not text.startswith(whole) or not whole.startswith(prompt):
            raise BadRow(f"message {index + 1}: {_why_no_span(messages[:index], tokenizer, tools, text, whole, prompt)}")
        spans[index] = (len(prompt), len(whole))
    return text, spans


def tokenize(
    conversations: list[Conversation],
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
    conversations: list[Conversation],
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    *,
    where: str,
    skip_bad_rows: bool = False,
) -> tuple[Dataset, list[Conversation]]:
    """Turns conversations into tokens and labels as `tokenize` does, whose arguments and errors these are.

    Returns:
        What `tokenize` returns, and the conversations that these tokens are of: those that were not left out.
    """
    with first_here(len(conversations)):
        return _tokenize(conversations, tokenizer, max_length, where, skip_bad_rows)


def _tokenize(
    conversations: list[Conversation], tokenizer: PreTrainedTokenizerBase, max_length: int, where: str, skip_bad_rows: bool
) -> tuple[Dataset, list[Conversation]]:
    """Does what `tokenize_usable` says, or takes what another process has kept."""
    folder = token_cache.folder_of(conversations, tokenizer)
    kept = token_cache.load(folder) if folder else None
    known: list = [None, None]

    def render_prompt(messages: list, tools: list | None) -> str:
        if known[0] != (messages, tools):  # the same question often comes again and again, with every picture for example
            known[:] = (messages, tools), render(messages, tokenizer, tools, prompt=True)
        return known[1]

    def check_length(length: int) -> None:
        if length > max_length:
            raise BadRow(
                f"the conversation has {length} tokens and max_length is {max_length}; raise it, shorten the conversation, or "
                "leave such rows out with `--skip_bad_rows true`"
            )

    def make(conversation: Conversation) -> tuple[np.ndarray, np.ndarray]:
        text, spans = _trained_spans(conversation, tokenizer, render_prompt)
        encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        tokens, offsets = np.array(encoded["input_ids"]), np.array(encoded["offset_mapping"]).reshape(-1, 2)
        begins, ends = np.array(sorted(spans.values())).reshape(-1, 2).T
        turns = begins.searchsorted(offsets[:, 0], side="right") - 1  # the last turn that begins before each token
        trained = np.where((turns >= 0) & (offsets[:, 1] <= ends[turns]), tokens, IGNORED)
        check_length(len(tokens))
        last = int(trained[trained != IGNORED][-1]) if (trained != IGNORED).any() else None
        if last is None:
            raise BadRow("no token is trained: the chat template does not show what the assistant writes; take another model")
        # Some templates end a turn of calls with a token of their own, such as gpt-oss's `<|call|>`.
        is_call = "tool_calls" in conversation["messages"][max(spans)] and _is_special(last, tokenizer)
        if last != tokenizer.eos_token_id and not is_call:
            raise BadRow(
                f"the last trained token is `{tokenizer.decode([last])}`, not the end of turn `{tokenizer.eos_token}`: "
                "the model would never learn to stop; use a tokenizer whose eos_token ends a turn"
            )
        check_shown(conversation, text, spans)
        return tokens, trained

    places = places_of(conversations, where)
    if kept:
        # Only those are kept of which every row could be used: what is left to check is how long they are.
        lengths = [len(ids) for ids in kept["input_ids"]]

        def check(number: int) -> int:
            check_length(lengths[number])
            return number

        numbered = [(place, number) for number, (place, _) in enumerate(places)]
        numbers = [number for _, number in usable(numbered, check, name=where, skip_bad_rows=skip_bad_rows)]
        return kept.select(numbers), [conversations[number] for number in numbers]

    def attempt(place: tuple[str, Conversation]) -> tuple[np.ndarray, np.ndarray] | BadRow:
        try:
            return make(place[1])
        except BadRow as error:
            return error

    def take(conversation: Conversation) -> tuple[Conversation, np.ndarray, np.ndarray]:
        found = next(attempts)
        if isinstance(found, BadRow):
            raise found
        return conversation, *found

    with closing(make_all(attempt, places)) as attempts:
        made = [found for _, found in usable(places, take, name=where, skip_bad_rows=skip_bad_rows)]
    tokens = Dataset.from_dict({"input_ids": [ids for _, ids, _ in made], "labels": [labels for _, _, labels in made]})
    if folder and len(made) == len(conversations):
        token_cache.keep(folder, tokens)
    return tokens, [conversation for conversation, _, _ in made]


def show_trained(row: dict[str, list[int]], tokenizer: PreTrainedTokenizerBase) -> str:
    """Returns a row of `tokenize` as text, with what is trained between » and «."""
    pairs = zip(row["input_ids"], row["labels"], strict=True)
    runs = [(trained, [token for token, _ in run]) for trained, run in groupby(pairs, lambda pair: pair[1] != IGNORED)]
    return "".join(f"»{tokenizer.decode(tokens)}«" if trained else tokenizer.decode(tokens) for trained, tokens in runs)
