"""Where in a conversation, as the chat template writes it, the assistant's turns stand."""

import reprlib
from typing import Any

from common.data.formats import Conversation
from common.errors import BadRow, brief

from transformers import PreTrainedTokenizerBase


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


def trained_spans(conversation: Conversation, tokenizer: PreTrainedTokenizerBase) -> tuple[str, dict[int, tuple[int, int]]]:
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
        prompt = render(messages[:index], tokenizer, tools, prompt=True)
        is_last = index == len(messages) - 1
        whole = (text if is_last else render(messages[: index + 1], tokenizer, tools)).rstrip("\n")
        if not text.startswith(whole) or not whole.startswith(prompt):
            raise BadRow(f"message {index + 1}: {_why_no_span(messages[:index], tokenizer, tools, text, whole, prompt)}")
        spans[index] = (len(prompt), len(whole))
    return text, spans
