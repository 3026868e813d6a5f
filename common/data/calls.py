"""Calls of tools as data sets write them: OpenAI's objects, and the texts of Hermes, Glaive and ToolACE."""

import re
from collections.abc import Collection
from typing import Any

from common.data.files import plain
from common.data.literals import is_json, read_json_values, read_value
from common.errors import BadRow

MARKS = re.compile(r"<(tool_call|functioncall|function_call)>")
GLAIVE = re.compile(  # the arguments as JSON in single quotes
    r"""\{\s*"name"\s*:\s*"(?P<name>[^"]+)"\s*,\s*"arguments"\s*:\s*'(?P<arguments>.*)'\s*\}""", re.DOTALL
)
# Calls as JSON and nothing else, perhaps behind the mark of Mistral or Llama.
BARE = re.compile(r"(?:\[TOOL_CALLS\]|<\|python_tag\|>)?\s*([\[{].*[\]}])\s*(?:</s>|<\|eo[mt]_id\|>)?", re.DOTALL)
ARGUMENTS = ("arguments", "parameters", "args", "input")  # OpenAI's, Llama's, LangChain's, Anthropic's
RESPONSE = re.compile(r"<tool_response>(.*?)</tool_response>", re.DOTALL)
OPENING, CLOSING, QUOTES = "([{", ")]}", "'\""


# --- Objects --------------------------------------------------------------------------------------------------------------


def _arguments(name: str, arguments: Any, where: str) -> dict[str, Any]:
    """Returns the arguments of a call; OpenAI's API gives them as a JSON text."""
    if arguments is None or (isinstance(arguments, str) and not arguments.strip()):
        return {}
    if isinstance(arguments, str):
        try:
            arguments = read_value(arguments)
        except ValueError:
            raise BadRow(f"{where}: the arguments of `{name}` are not valid JSON; write a JSON object") from None
    if not isinstance(arguments, dict):
        raise BadRow(f"{where}: the arguments of `{name}` are a {type(arguments).__name__}; write a JSON object")
    if not is_json(arguments):
        raise BadRow(f"{where}: the arguments of `{name}` hold NaN, Infinity or too deep a nest; write JSON")
    return plain(arguments)


def read_call(call: Any, where: str) -> dict[str, Any]:
    """Reads a call.

    Args:
        call: `{"function": {"name": ..., "arguments": ...}}`, or name and arguments alone; the arguments, under one
            of `ARGUMENTS`, as an object or as a JSON text, where nothing is none.
        where: Which message it stands in, for errors.

    Returns:
        The call in OpenAI's form, its arguments an object; its `id` if it has one.

    Raises:
        BadRow: If it has no name, or its arguments are no object.
    """
    function = call.get("function", call) if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise BadRow(f'{where}: a call without a name; write {{"function": {{"name": ..., "arguments": {{...}}}}}}')
    given = next((function[key] for key in ARGUMENTS if function.get(key) is not None), None)
    made = {"name": function["name"], "arguments": _arguments(function["name"], given, where)}
    return {"type": "function", "function": made} | ({"id": call["id"]} if isinstance(call.get("id"), str) else {})


def read_calls(calls: Any, where: str) -> list[dict[str, Any]]:
    """Reads the calls of a message: a list of them or one, perhaps as JSON text; see `read_call`."""
    if isinstance(calls, str):
        try:
            calls = read_value(calls) if calls.strip() else []
        except ValueError:
            glaive = GLAIVE.fullmatch(calls.strip())
            if glaive is None:
                raise BadRow(
                    f"{where}: a call that is not JSON with a name and arguments ({calls.strip()[:80]!r}); correct it, or "
                    "remove the row"
                ) from None
            calls = [glaive.groupdict()]
    if isinstance(calls, dict):
        calls = [calls]
    if not isinstance(calls, list):
        raise BadRow(f"{where}: `tool_calls` is a {type(calls).__name__}; write a list of calls")
    return [read_call(call, where) for call in calls]


# --- Texts ----------------------------------------------------------------------------------------------------------------


def _split_top(text: str, where: str) -> list[str]:
    """Splits a text at the commas that stand in no brackets and no quotes."""
    parts, depth, quote, start, position = [], 0, "", 0, 0
    while position < len(text):
        sign = text[position]
        if quote:
            position += sign == "\\"
            quote = "" if sign == quote else quote
        elif sign in QUOTES:
            quote = sign
        elif sign in OPENING or sign in CLOSING:
            depth += 1 if sign in OPENING else -1
        elif sign == "," and not depth:
            parts.append(text[start:position])
            start = position + 1
        position += 1
    if quote or depth:
        raise BadRow(f"{where}: a call with a quote or a bracket that is not closed ({text[:80]!r}); correct it")
    return [part.strip() for part in [*parts, text[start:]] if part.strip()]


def _python_calls(text: str, offered: Collection[str], where: str) -> list[dict[str, Any]]:
    """Reads calls as ToolACE and Llama write them, `[get_weather(city="Oslo"), now()]`; none if it is another text."""
    begins = re.match(r"\[\s*([^\[\](){}\"']+?)\s*\(", text)
    if begins is None or begins[1] not in offered:
        return []
    if not text.endswith(")]"):
        raise BadRow(f"{where}: {text[:80]!r} begins like calls and ends otherwise; write `[name(argument=value)]` alone")
    calls = []
    for written in _split_top(text[1:-1], where):
        name, _, arguments = written.partition("(")
        pairs = {}
        for argument in _split_top(arguments.removesuffix(")"), where):
            key, equals, value = argument.partition("=")
            try:
                pairs[key.strip()] = read_value(value.strip())
            except ValueError:
                equals = ""
            if not equals:
                raise BadRow(f"{where}: `{argument[:80]}` is no argument of a call; write `name=value`, or JSON")
        calls.append(read_call({"name": name.strip(), "arguments": pairs}, where))
    return calls


def _json_calls(text: str, offered: Collection[str], where: str) -> list[dict[str, Any]]:
    """Reads calls that are JSON and nothing else, as Mistral and Llama write them; none if it is another text."""
    found = BARE.fullmatch(text)
    values = (read_json_values(found[1]) or []) if found else []
    calls = [call for value in values for call in (value if isinstance(value, list) else [value])]
    for call in calls:
        function = call.get("function", call) if isinstance(call, dict) else None
        keys = function.keys() if isinstance(function, dict) else set()
        if len(keys & {"arguments", "parameters"}) != 1 or keys - {"name", "arguments", "parameters", "type", "id"}:
            return []
        if function.get("name") not in offered:
            return []
    return read_calls(calls, where)


def split_calls(text: str, offered: Collection[str], where: str) -> tuple[str, list[dict[str, Any]]]:
    """Takes the calls out of what the assistant writes.

    Args:
        text: Perhaps with `<tool_call>` blocks (Hermes, Qwen), `<functioncall>` (Glaive), or calls and nothing else, as Python
            writes them (ToolACE) or as JSON (Mistral, Llama). What it thinks first, in `<think>`, calls nothing.
        offered: Names of the tools.
        where: Which message it is, for errors.

    Returns:
        The text before the calls, and the calls in OpenAI's form.

    Raises:
        BadRow: If a call cannot be read, or a text follows that the chat template would write before it.
    """
    mark = MARKS.search(text, max(0, text.find("</think>")) if text.lstrip().startswith("<think>") else 0)
    if mark is None:
        alone = text.strip()
        calls = (_python_calls(alone, offered, where) or _json_calls(alone, offered, where)) if offered else []
        return ("", calls) if calls else (text, [])
    before, calls, rest = text[: mark.start()], [], text[mark.start() :]
    while mark := MARKS.match(rest):
        block, _, rest = rest[mark.end() :].partition(f"</{mark[1]}>")
        written = block.replace("<|endoftext|>", "").strip()
        found = read_calls(written, where)
        if not found:
            raise BadRow(f"{where}: an empty <{mark[1]}>; write the call, or remove the row")
        calls, rest = calls + found, rest.lstrip()
    if rest.replace("<|endoftext|>", "").strip():
        raise BadRow(
            f"{where}: {rest.strip()[:40]!r} stands behind a call, where the chat template would not write it; put it before, "
            "or remove the row"
        )
    return before.strip(), calls


def split_results(text: str) -> list[str]:
    """Returns the results of a tool's turn, each by itself: Hermes puts several in `<tool_response>` blocks of one turn."""
    found = RESPONSE.findall(text)
    if found and not RESPONSE.sub("", text).strip():
        return [result.strip() for result in found]
    return [text]
