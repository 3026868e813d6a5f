"""Whether a chat template shows all that is said: some leave out calls, the text beside a call, or a system message."""

import json
import re
import reprlib
from collections.abc import Iterator, Mapping
from typing import Any

from common.data.messages import THOUGHTS
from common.errors import BadRow


def _forms(value: Any) -> tuple[str, ...]:
    """Returns how a template may write a value: as it is, as JSON, or as Python would."""
    if isinstance(value, str):
        return value.strip(), json.dumps(value, ensure_ascii=False)[1:-1].strip(), json.dumps(value)[1:-1].strip()
    return json.dumps(value), str(value)


def _leaves(value: Any) -> Iterator[Any]:
    """Yields the keys and the plain values of a call's arguments."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from _leaves(item)
    elif isinstance(value, list):
        for item in value:
            yield from _leaves(item)
    else:
        yield value


def _said(message: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yields all that a message says, each with what it is."""
    content = message.get("content") or ""
    parts = [content] if isinstance(content, str) else [part.get("text") or "" for part in content]  # beside pictures
    for part in parts:
        for text in re.split(r"</?think>", part):
            yield "the text", text
    for key in THOUGHTS:
        yield f"the {key}", message.get(key) or ""
    for call in message.get("tool_calls") or []:
        name = call["function"]["name"]
        yield "the call to", name
        for leaf in _leaves(call["function"]["arguments"]):
            yield f"an argument of `{name}`,", leaf


def check_shown(conversation: dict[str, Any], text: str, turns: Mapping[int, str]) -> None:
    """Checks that nothing of a conversation is lost where the chat template writes it.

    Args:
        conversation: The conversation.
        text: As the chat template writes it.
        turns: The parts of it that are turns of the assistant, by the number of the message, from 0.

    Raises:
        BadRow: Says which message is not shown whole.
    """
    for tool in conversation.get("tools") or []:
        name = tool["function"]["name"]
        if name not in text:
            raise BadRow(f"the chat template does not show the tool `{name}`; take another model, or leave out `tools`")
    for number, message in enumerate(conversation["messages"]):
        written = turns.get(number, text)
        for what, said in _said(message):
            if not any(form in written for form in _forms(said)):
                raise BadRow(
                    f"message {number + 1}: the chat template does not show {what} {reprlib.repr(said)}; take another "
                    "model, or change the row"
                )
