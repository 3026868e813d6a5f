"""Calls of tools, and what a row asks for: the turn of a conversation that a model has to write."""

from dataclasses import dataclass
from typing import Any

from common.data.turns import last_turn

# {function: {parameter: [accepted values]}}, BFCL's form. "" among the values means that the parameter may be left out. The
# keys of an accepted object, also in a list, have lists of accepted values in turn; one with anything else is meant as it is.
Accepted = dict[str, dict[str, list[Any]]]


@dataclass(frozen=True)
class Call:
    """A call of a tool."""

    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True)
class Request:
    """What a model is asked, and what is right.

    Attributes:
        messages: The conversation up to the turn that the model has to write.
        tools: The tools it may call, as they are shown to it.
        answers: The right calls: of a conversation exactly these, of BFCL the values that it accepts. Empty where nothing is to
            be called.
        reply: The reference's text.
        kind: `call`, `no_call`, the kind of a generated conversation, or `relevance`: BFCL's requests for any call.
        language: Whose syntax the arguments are in, `java` or `javascript`, which BFCL has a part in; empty for JSON.
        declared: The tools as a call is checked by, where they are shown in another way.
    """

    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]]
    answers: list[Call] | list[Accepted]
    reply: str
    kind: str
    language: str = ""
    declared: list[dict[str, Any]] | None = None


def calls_of(message: dict[str, Any]) -> list[Call]:
    """Returns the calls of a message in OpenAI's form."""
    calls = [call.get("function", call) for call in message.get("tool_calls") or []]
    return [Call(call["name"], call["arguments"]) for call in calls]


def to_request(row: dict[str, Any]) -> Request:
    """Makes a request of a row.

    Args:
        row: A conversation, whose last assistant turn is asked for; or messages to be continued with `answers` (see
            `bfcl.load_bfcl`).
    """
    messages, tools = row["messages"], row.get("tools") or []
    if "answers" in row:
        kind = row.get("kind") or ("call" if row["answers"] else "no_call")
        return Request(messages, tools, row["answers"], "", kind, row.get("language", ""), row.get("declared"))
    last = last_turn(messages)
    answers = calls_of(messages[last])
    kind = row.get("kind") or ("call" if answers else "no_call")
    return Request(messages[:last], tools, answers, messages[last].get("content") or "", kind)


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
