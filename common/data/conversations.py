"""Conversations to tune on: read from a hub data set or a file, and checked row by row."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from common.errors import fail, nearest, say

Conversation = dict[str, Any]  # `messages`, and perhaps `tools`, in the form of the chat templates (OpenAI's)
ROLES = ["system", "user", "assistant", "tool"]


class BadRow(ValueError):
    """A row that cannot be trained on; the text says why and what to do."""


# --- Reading ------------------------------------------------------------------------------------------------------------


def _without_none(value: Any) -> Any:
    """Drops keys without a value: Arrow gives every row the keys of all the others, filled with None."""
    if isinstance(value, dict):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    return [_without_none(item) for item in value] if isinstance(value, list) else value


def read_json(path: Path) -> Iterable[tuple[str, dict]]:
    """Yields where a row is, and the row, as written: Arrow would mix the keys of different tools."""
    if path.suffix == ".json":
        try:
            rows = json.loads(path.read_text())
        except ValueError as error:
            fail(f"{path} is not valid JSON ({error}); write a list of objects, or a jsonl with one object a line")
        if not isinstance(rows, list):
            fail(f"{path} holds a {type(rows).__name__}; write a list of objects, or a jsonl with one object a line")
        lines = [(f"{path}, row {number}", row) for number, row in enumerate(rows, start=1)]
    else:
        lines = []
        for number, line in enumerate(path.read_text().split("\n"), start=1):
            try:
                if line.strip():
                    lines.append((f"{path}, line {number}", json.loads(line)))
            except json.JSONDecodeError as error:
                fail(f"{path}, line {number}: not valid JSON ({error.msg}); write one JSON object a line")
    for where, row in lines:
        if not isinstance(row, dict):
            fail(f"{where}: not a JSON object; write one {{...}} a line")
    if not lines:
        fail(f"{path} is empty; it needs at least one row")
    return lines


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
        The conversations by split (see `load_rows`), each with `where`, its file and row; a local file is one split, `train`.

    Raises:
        SystemExit: With code 2 and one line that names the file and the row.
    """
    from common.data.rows import load_rows  # imports data sets, which the form of a conversation does without

    path = Path(name)
    if path.is_file() and path.suffix in (".jsonl", ".json"):
        splits = {"train": read_json(path)}
    else:
        splits = {
            split: [(f"{name} ({split}), row {number}", _without_none(row)) for number, row in enumerate(rows, start=1)]
            for split, rows in load_rows(name, [], config).items()
        }
    conversations = {}
    for split, rows in splits.items():
        conversations[split], first = [], None
        for where, row in rows:
            try:
                conversation = convert(row)
                check_conversation(conversation)
                conversations[split].append(conversation | {"where": where})
            except BadRow as error:
                if not skip_bad_rows:
                    fail(f"{where}: {error}")
                first = first or f"{where}: {error}"
        if first:
            say(f"Left out {len(rows) - len(conversations[split])} of {len(rows)} rows of {name} ({split}). The first: {first}")
        if not conversations[split]:
            fail(f"{name} ({split}) has no row that can be used. The first: {first}")
    return conversations


# --- Checking -----------------------------------------------------------------------------------------------------------


def _check_tools(tools: Any) -> list[str]:
    if not isinstance(tools, list):
        raise BadRow(f"`tools` is a {type(tools).__name__}; write a list of tools")
    names = []
    for number, tool in enumerate(tools, start=1):
        function = tool.get("function") if isinstance(tool, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise BadRow(f'tool {number} has no name; write {{"type": "function", "function": {{"name": ..., ...}}}}')
        if not isinstance(function.get("parameters"), dict):
            raise BadRow(f"tool `{function['name']}` has no schema; give it `parameters`, a JSON schema of its arguments")
        names.append(function["name"])
    return names


def _check_call(call: Any, offered: list[str], where: str) -> None:
    function = call.get("function", call) if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise BadRow(f'{where}: a call without a name; write {{"function": {{"name": ..., "arguments": {{...}}}}}}')
    name, arguments = function["name"], function.get("arguments")
    if not isinstance(arguments, dict):
        raise BadRow(f"{where}: the arguments of `{name}` are a {type(arguments).__name__}; write a JSON object")
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
    offered = _check_tools(conversation.get("tools") or [])
    for number, message in enumerate(messages, start=1):
        where = f"message {number}"
        role = message.get("role") if isinstance(message, dict) else None
        if role not in ROLES:
            raise BadRow(f"{where}: unknown role `{role}`{nearest(str(role), ROLES) or '; use one of ' + ', '.join(ROLES)}")
        calls = message.get("tool_calls") or []
        if not isinstance(message.get("content", "" if calls else None), str):
            raise BadRow(f"{where}: the content must be a text, not {type(message.get('content')).__name__}")
        for call in calls:
            function = call.get("function", call) if isinstance(call, dict) else {}
            if isinstance(function, dict) and isinstance(function.get("arguments"), str):
                try:
                    function["arguments"] = json.loads(function["arguments"])
                except ValueError:
                    raise BadRow(f"{where}: the arguments of `{function.get('name')}` are not valid JSON") from None
            _check_call(call, offered, where)
    if all(message["role"] != "assistant" for message in messages):
        raise BadRow("no assistant turn, so there is nothing to learn from; add one or remove the row")
