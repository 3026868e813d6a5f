"""Conversations to tune on: read from a hub data set or a file, and checked row by row."""

import json
import reprlib
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from common.errors import fail, nearest, say

Conversation = dict[str, Any]  # `messages`, and perhaps `tools`, in the form of the chat templates (OpenAI's)
Row, Made = TypeVar("Row"), TypeVar("Made")
ROLES = ["system", "user", "assistant", "tool"]


class BadRow(ValueError):
    """A row that cannot be trained on; the text says why and what to do."""


# --- Reading ------------------------------------------------------------------------------------------------------------


def usable(
    rows: Sequence[tuple[str, Row]], make: Callable[[Row], Made], *, name: str, skip_bad_rows: bool = False
) -> list[tuple[str, Made]]:
    """Makes something of each row, and ends at the first of which nothing can be made, or leaves such rows out and says so.

    Args:
        rows: Where each row is, and the row.
        make: Makes something of a row; raises `BadRow` where it cannot.
        name: Of the data, for what is printed.
        skip_bad_rows: Leave out the rows that cannot be used, and say how many, instead of ending at the first.

    Returns:
        Where each row is, and what was made of it.

    Raises:
        SystemExit: With code 2 and one line that names the file and the row.
    """
    made, first = [], None
    for where, row in rows:
        try:
            made.append((where, make(row)))
        except BadRow as error:
            if not skip_bad_rows:
                fail(f"{where}: {error}")
            first = first or f"{where}: {error}"
    if not made:
        fail(f"{name} has no row that can be used; the first: {first}")
    if first:
        say(f"Left out {len(rows) - len(made)} of {len(rows)} rows of {name}. The first: {first}")
    return made


def load_conversations(
    name: str, convert: Callable[[dict], Conversation], *, config: str | None = None, skip_bad_rows: bool = False
) -> dict[str, list[Conversation]]:
    """Loads conversations from a hub data set or a local file and checks every row.

    Args:
        name: A hub id, a local file (jsonl, json, csv, parquet) or a local folder of such files.
        convert: Makes `messages` (and `tools`) of a row as it was read; raises `BadRow` where it cannot.
        config: Name of the hub data set's configuration, where it has several.
        skip_bad_rows: Leave out the rows that cannot be used, and say how many, instead of ending at the first.

    Returns:
        The conversations by split (see `rows.read_splits`), each with `where`, its file and row; a local file is one split.

    Raises:
        SystemExit: With code 2 and one line that names the file and the row.
    """
    from common.data.rows import read_splits  # imports data sets, which the form of a conversation does without

    def make(row: dict[str, Any]) -> Conversation:
        conversation = convert({key: value for key, value in row.items() if value is not None})
        check_conversation(conversation)
        return conversation

    conversations = {}
    for split, rows in read_splits(name, config).items():
        made = usable(rows, make, name=f"{name} ({split})", skip_bad_rows=skip_bad_rows)
        conversations[split] = [conversation | {"where": where} for where, conversation in made]
    return conversations


# --- Checking -----------------------------------------------------------------------------------------------------------


def _check_schema(schema: Any, what: str) -> None:
    """Checks the parts of a JSON schema that calls are compared by."""
    if not isinstance(schema, dict):
        raise BadRow(f"{what} is a {type(schema).__name__}; write a JSON schema, an object")
    kinds = {"properties": dict, "required": list, "enum": list}
    for key, kind in kinds.items():
        if not isinstance(schema.get(key, kind()), kind):
            raise BadRow(
                f"{what}: `{key}` is a {type(schema[key]).__name__}; write {'an object' if kind is dict else 'a list'}"
            )
    types = schema.get("type", [])
    for names, key in ((schema.get("required", []), "required"), ([types] if isinstance(types, str) else types, "type")):
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise BadRow(f"{what}: `{key}` is {reprlib.repr(schema[key])}; write names, as a JSON schema does")
    for name, part in schema.get("properties", {}).items():
        _check_schema(part, f"{what}, `{name}`")
    if "items" in schema:
        _check_schema(schema["items"], f"{what}, `items`")


def check_tools(tools: Any) -> list[str]:
    """Checks the tools that a row offers.

    Args:
        tools: JSON schemas in OpenAI's form.

    Returns:
        Their names.

    Raises:
        BadRow: Says which tool is wrong, and the cure.
    """
    if not isinstance(tools, list):
        raise BadRow(f"`tools` is a {type(tools).__name__}; write a list of tools")
    names = []
    for number, tool in enumerate(tools, start=1):
        function = tool.get("function") if isinstance(tool, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise BadRow(f'tool {number} has no name; write {{"type": "function", "function": {{"name": ..., ...}}}}')
        if not isinstance(function.get("parameters"), dict):
            raise BadRow(f"tool `{function['name']}` has no schema; give it `parameters`, a JSON schema of its arguments")
        _check_schema(function["parameters"], f"the schema of tool `{function['name']}`")
        names.append(function["name"])
    return names


def _read_arguments(function: dict[str, Any], where: str) -> dict[str, Any]:
    """Returns the arguments of a call; OpenAI's API gives them as a JSON text."""
    name, arguments = function["name"], function.get("arguments")
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except (ValueError, RecursionError):
            raise BadRow(f"{where}: the arguments of `{name}` are not valid JSON; write a JSON object") from None
    if not isinstance(arguments, dict):
        raise BadRow(f"{where}: the arguments of `{name}` are a {type(arguments).__name__}; write a JSON object")
    try:
        json.dumps(arguments, allow_nan=False)
    except (ValueError, RecursionError):
        raise BadRow(f"{where}: the arguments of `{name}` hold NaN, Infinity or too deep a nest; write JSON") from None
    return arguments


def _check_calls(calls: Any, offered: list[str], where: str) -> None:
    if not isinstance(calls, list):
        raise BadRow(f"{where}: `tool_calls` is a {type(calls).__name__}; write a list of calls")
    for call in calls:
        function = call.get("function", call) if isinstance(call, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise BadRow(f'{where}: a call without a name; write {{"function": {{"name": ..., "arguments": {{...}}}}}}')
        function["arguments"] = _read_arguments(function, where)
        name = function["name"]
        if name not in offered:
            hint = nearest(name, offered) or (f"; there is: {', '.join(offered)}" if offered else "; the row has no `tools`")
            raise BadRow(f"{where}: a call to `{name}`, which is not among the row's tools{hint}")


def check_conversation(conversation: Conversation) -> None:
    """Checks a conversation: known roles, texts, an assistant turn, and calls that fit the tools offered.

    Arguments given as a JSON text, as OpenAI's API does, are turned into objects, in place.

    Args:
        conversation: `messages`, and perhaps `tools`.

    Raises:
        BadRow: Says which message is wrong, and the cure.
    """
    messages = conversation.get("messages")
    if not isinstance(messages, list) or not messages:
        raise BadRow("no `messages`; write a list of {role, content}")
    offered = check_tools(conversation.get("tools") or [])
    for number, message in enumerate(messages, start=1):
        where = f"message {number}"
        role = message.get("role") if isinstance(message, dict) else None
        if role not in ROLES:
            word = reprlib.repr(role).strip("'")
            raise BadRow(f"{where}: unknown role `{word}`{nearest(word, ROLES) or '; use one of ' + ', '.join(ROLES)}")
        calls = message.get("tool_calls") or []
        for key, may_lack in (("content", role == "assistant" and bool(calls)), ("thinking", True)):
            if key in message and message[key] is None and may_lack:  # as OpenAI's API writes a turn of calls alone
                del message[key]
            text = message.get(key, "" if may_lack else None)
            if not isinstance(text, str):
                raise BadRow(f"{where}: the {key} must be a text, not {type(text).__name__}; write a text or remove the row")
        _check_calls(calls, offered, where)
        if role == "assistant" and not calls and not message["content"].strip():
            raise BadRow(f"{where}: an empty answer, which would be learned; fill it in or remove the row")
    if all(message["role"] != "assistant" for message in messages):
        raise BadRow("no assistant turn, so there is nothing to learn from; add one or remove the row")
    if all(message["role"] == "assistant" for message in messages):
        raise BadRow("nothing stands before what the assistant says; add what is asked, or remove the row")
