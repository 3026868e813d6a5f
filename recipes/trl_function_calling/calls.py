"""Calls of tools: as a model writes them, and as a row asks for them."""

import json
import re
from dataclasses import dataclass
from typing import Any

from common.data.files import is_deep

# {function: {parameter: [accepted values]}}, BFCL's form. "" among the values means that the parameter may be left out. The
# keys of an accepted object, also in a list, have lists of accepted values in turn; one with anything else is meant as it is.
Answer = dict[str, dict[str, list[Any]]]


@dataclass(frozen=True)
class Call:
    """A call of a tool."""

    name: str
    arguments: dict[str, Any]


# --- Reading --------------------------------------------------------------------------------------------------------------

TAG = re.compile(r"<think>|<tool_call>\s*|</tool_call>")
END = re.compile(r"\s*</tool_call>")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = dict(pairs)
    if len(keys) < len(pairs):
        raise ValueError("a key stands twice in an object")
    return keys


def _constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")  # Python's reader takes NaN and Infinity otherwise


DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant)


def _is_sound(call: dict[str, Any]) -> bool:
    """Returns whether a call can be written again: not nested without bound, and without halves of characters (`\\ud83d`)."""
    try:
        json.dumps(call, ensure_ascii=False).encode()
    except (UnicodeEncodeError, RecursionError):
        return False
    return not is_deep(call)


def parse_calls(text: str) -> list[Call] | None:
    """Reads the tool calls of a completion in the form of Qwen's chat templates.

    Args:
        text: A completion: blocks of `<tool_call>`, a JSON object with exactly `name` and `arguments`, `</tool_call>`, perhaps
            with text around them. Reasoning calls nothing; as in Qwen3's template it is all up to the last `</think>`, and
            all after a `<think>` that is never closed.

    Returns:
        The calls, [] if there are none, or None if a block is not closed or does not hold one valid call.
    """
    text = text.rpartition("</think>")[2]
    calls, position = [], 0
    while (tag := TAG.search(text, position)) and tag[0] != "<think>":
        if tag[0] == "</tool_call>":
            return None
        try:
            call, position = DECODER.raw_decode(text, tag.end())
        except (ValueError, RecursionError):  # a thousand opening brackets are a completion, too
            return None
        end = END.match(text, position)
        if not end or not isinstance(call, dict) or call.keys() != {"name", "arguments"}:
            return None
        if not isinstance(call["name"], str) or not isinstance(call["arguments"], dict) or not _is_sound(call):
            return None
        calls.append(Call(**call))
        position = end.end()
    return calls


# --- Asking ---------------------------------------------------------------------------------------------------------------


def accept_only(value: Any) -> Any:
    """Returns a value in the form of accepted values: a list of one for each key of its objects."""
    if isinstance(value, dict):
        return {key: [accept_only(item)] for key, item in value.items()}
    return [accept_only(item) for item in value] if isinstance(value, list) else value


def answers_of(calls: list[Call]) -> list[Answer]:
    """Returns the answers that accept exactly these calls.

    Args:
        calls: The right calls, of a data set that knows one right value for each argument.

    Returns:
        For each call each argument with its value. What the call leaves out is not accepted.
    """
    return [{call.name: accept_only(call.arguments)} for call in calls]


@dataclass(frozen=True)
class Request:
    """What a model is asked, and what is right.

    Attributes:
        messages: The conversation up to the turn that the model has to write.
        tools: The tools it may call.
        answers: The calls that are right; none where nothing is to be called.
        reply: The reference's text.
        kind: `call`, `no_call`, or the kind of a generated conversation.
    """

    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]]
    answers: list[Answer]
    reply: str
    kind: str


def to_request(row: dict[str, Any]) -> Request:
    """Makes a request of a row.

    Args:
        row: A conversation, whose last assistant turn is asked for; or messages to be continued with `answers` (see
            `bfcl.load_bfcl`).
    """
    messages, tools = row["messages"], row.get("tools") or []
    if "answers" in row:
        return Request(messages, tools, row["answers"], "", "call" if row["answers"] else "no_call")
    last = max(index for index, message in enumerate(messages) if message["role"] == "assistant")
    calls = [call.get("function", call) for call in messages[last].get("tool_calls") or []]
    return Request(
        messages=messages[:last],
        tools=tools,
        answers=answers_of([Call(call["name"], call["arguments"]) for call in calls]),
        reply=messages[last].get("content") or "",
        kind=row.get("kind") or ("call" if calls else "no_call"),
    )


def turns_of(row: dict[str, Any]) -> list[dict[str, Any]]:
    """Returns a row for each turn of a conversation that an evaluation asks for.

    Args:
        row: A conversation: all turns of the assistant are asked for, but for those with a `weight` of 0 and one that nobody
            spoke before. Of a generated one (it has a `kind`) and of one with `answers` it is the last alone.
    """
    if "answers" in row or "kind" in row:
        return [row]
    messages, asked = row["messages"], []
    for number, message in enumerate(messages):
        spoken = any(before["role"] != "system" for before in messages[:number])
        if message["role"] == "assistant" and message.get("weight") != 0 and spoken:
            asked.append(number)
    return [row | {"messages": messages[: number + 1]} for number in asked]
