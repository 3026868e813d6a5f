"""Whether a chat template shows all that is said: some leave out calls, the text beside a call, or a system message."""

import json
import re
import reprlib
from collections.abc import Iterator, Mapping
from typing import Any

from common.data.messages import THOUGHTS
from common.errors import BadRow


def _forms(value: Any) -> Iterator[str]:
    """Yields how a template may write a value: as it is, as JSON, or as Python would."""
    if isinstance(value, str):
        yield value.strip()
        yield json.dumps(value, ensure_ascii=False)[1:-1].strip()
        yield json.dumps(value)[1:-1].strip()
    else:
        yield json.dumps(value)
        yield str(value)


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


def _texts(message: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yields the texts and thoughts of a message, each with what it is."""
    content = message.get("content") or ""
    parts = [content] if isinstance(content, str) else [part.get("text") or "" for part in content]  # beside pictures
    for part in parts:
        for text in re.split(r"</?think>", part):
            yield "the text", text
    for key in THOUGHTS:
        yield f"the {key}", message.get(key) or ""


def _calls(message: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yields the names and arguments of a message's calls, each with what it is."""
    for call in message.get("tool_calls") or []:
        name = call["function"]["name"]
        yield "the call to", name
        for leaf in _leaves(call["function"]["arguments"]):
            yield f"an argument of `{name}`,", leaf


def _is_written(name: str, message: dict[str, Any], written: str) -> bool:
    """Returns whether a tool's name stands there as often as it is called or mentioned.

    A template may write the first of several calls alone, and the others may be like it.
    """
    texts = {text.strip() for _, text in _texts(message)}  # a thought may stand there under several keys
    values = [value if isinstance(value, str) else json.dumps(value) for _, value in _calls(message)]
    return sum(map(written.count, set(_forms(name)))) >= sum(text.count(name) for text in [*texts, *values])


def check_shown(conversation: dict[str, Any], text: str, turns: Mapping[int, tuple[int, int]]) -> None:
    """Checks that nothing of a conversation is lost where the chat template writes it.

    Args:
        conversation: The conversation.
        text: As the chat template writes it.
        turns: Where in it the assistant's turns are, from the first letter to behind the last one, by the number of the
            message, from 0.

    Raises:
        BadRow: Says which message is not shown whole.
    """
    for tool in conversation.get("tools") or []:
        name = tool["function"]["name"]
        if name not in text:
            raise BadRow(f"the chat template does not show the tool `{name}`; take another model, or leave out `tools`")
    ends = [0, *(place for _, turn in sorted(turns.items()) for place in turn), len(text)]
    others = "\n".join(text[start:stop] for start, stop in zip(ends[::2], ends[1::2], strict=True))
    for number, message in enumerate(conversation["messages"]):
        written = text[slice(*turns[number])] if number in turns else others
        cure = "take another model, or change the row"
        for what, said in [*_texts(message), *_calls(message)]:
            if not any(form in written for form in _forms(said)):
                raise BadRow(f"message {number + 1}: the chat template does not show {what} {reprlib.repr(said)}; {cure}")
        for what, name in _calls(message):
            if what == "the call to" and not _is_written(name, message, written):
                raise BadRow(f"message {number + 1}: the chat template does not show every call to `{name}`; {cure}")
