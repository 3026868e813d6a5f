"""Held-out conversations that can be measured: found before a model loads, not after."""

from collections.abc import Callable
from typing import Any

from common.data.conversations import usable
from common.data.formats import Conversation
from common.data.tokens import places_of, render, tokenize_usable

from transformers import PreTrainedTokenizerBase


def check_prompts(
    held_out: dict[str, list[Conversation]],
    prompt_of: Callable[[Conversation], list[dict[str, Any]]],
    tokenizer: PreTrainedTokenizerBase,
    *,
    skip_bad_rows: bool = False,
) -> dict[str, list[Conversation]]:
    """Makes sure that the chat template can write what an evaluation will ask: before a model loads, not after.

    Args:
        held_out: Conversations by the name of the set.
        prompt_of: Returns the messages that the model continues.
        tokenizer: The model's tokenizer, with its chat template.
        skip_bad_rows: See `common.data.conversations.usable`.

    Returns:
        The conversations that can be asked.

    Raises:
        SystemExit: With code 2 and one line that names the row.
    """

    def check(conversation: Conversation) -> Conversation:
        render(prompt_of(conversation), tokenizer, conversation.get("tools"), prompt=True)
        return conversation

    return {
        name: [row for _, row in usable(places_of(rows, name), check, name=name, skip_bad_rows=skip_bad_rows)] if rows else []
        for name, rows in held_out.items()
    }


def check_tokens(
    held_out: dict[str, list[Conversation]],
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    *,
    skip_bad_rows: bool = False,
) -> dict[str, list[Conversation]]:
    """Makes sure that a loss can be computed of each conversation: it is not too long, and something in it is trained.

    Args:
        held_out: Conversations by the name of the set.
        tokenizer: The model's tokenizer, with its chat template.
        max_length: Longest conversation in tokens.
        skip_bad_rows: See `common.data.conversations.usable`.

    Returns:
        The conversations of which it can, so that what is counted is what is measured.

    Raises:
        SystemExit: With code 2 and one line that names the row.
    """
    return {
        name: tokenize_usable(rows, tokenizer, max_length, where=name, skip_bad_rows=skip_bad_rows)[1] if rows else []
        for name, rows in held_out.items()
    }
