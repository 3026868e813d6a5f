"""Readers of calls, one for each way in which chat templates write them.

Forms that are JSON between marks are read here, strictly: a mark may stand in a string, and what is cut, has a key twice or
anything beside name and arguments is no call. Those in which an argument is a text, to be read by the type that its tool
declares, are read by transformers with TRL's response templates (`trl.chat_template_utils.add_response_schema`).
"""

import copy
import json
import re
from functools import cache
from typing import Any

from common.data.calls import split_calls
from common.data.files import is_deep, object_of
from common.errors import BadRow

from calls import Call

Tools = list[dict[str, Any]]
Calls = list[Call] | None  # None: malformed

# --- JSON between marks ---------------------------------------------------------------------------------------------------


def _constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")  # Python's reader takes NaN and Infinity otherwise


DECODER = json.JSONDecoder(object_pairs_hook=object_of, parse_constant=_constant)


def _is_sound(value: Any) -> bool:
    """Returns whether a value can be written again: not nested without bound, and without halves of characters (`\\ud83d`)."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except (UnicodeEncodeError, RecursionError):
        return False
    return not is_deep(value)


def _call(value: Any, arguments: str = "arguments", more: frozenset[str] = frozenset()) -> Call | None:
    """Returns the call that an object is: its name and arguments, and nothing else but what may stand beside them."""
    if not isinstance(value, dict) or value.keys() - more != {"name", arguments} or not _is_sound(value):
        return None
    if not isinstance(value["name"], str) or not isinstance(value[arguments], dict):
        return None
    return Call(value["name"], value[arguments])


def read_json(text: str, begin: re.Pattern[str], end: re.Pattern[str], *, listed: bool = False) -> Calls:
    """Reads calls that are JSON between marks.

    Args:
        text: What is said.
        begin: What stands before the JSON of a call; with a group `name` before the arguments alone.
        end: What must stand behind it.
        listed: Whether calls stand in a list, where they may have an `id`, too.
    """
    calls, position = [], 0
    while (mark := begin.search(text, position)) and mark[0] != "<think>":
        name = mark.groupdict().get("name")
        try:
            value, position = DECODER.raw_decode(text, mark.end())
        except (ValueError, RecursionError):  # a thousand opening brackets are a completion, too
            return None
        closed = end.match(text, position)
        made = value if listed and isinstance(value, list) else [{"name": name, "arguments": value} if name else value]
        found = [_call(one, more=frozenset({"id"} if listed else {})) for one in made]
        if closed is None or None in found:
            return None
        calls, position = calls + found, closed.end()
    return calls


HERMES = re.compile(r"<think>|<tool_call>\s*|</tool_call>"), re.compile(r"\s*</tool_call>")
GPT_OSS = (
    re.compile(
        r"to=functions\.(?P<name>[\w.-]+)\s*(?:<\|channel\|>commentary)?\s*(?:<\|constrain\|>)?(?:json)?\s*<\|message\|>\s*"
    ),
    re.compile(r"\s*$"),
)
MISTRAL = (
    re.compile(r"\[TOOL_CALLS\]\s*(?=\[)|^\s*(?=\[\s*\{)|\[TOOL_CALLS\](?P<name>[\w.-]+)(?:\[CALL_ID\]\w+)?(?:\[ARGS\])?\s*"),
    re.compile(r"\s*(?=\[TOOL_CALLS\]|$)"),
)
DEEPSEEK = (
    re.compile(
        r"<｜tool▁call▁begin｜>(?:function<｜tool▁sep｜>)?(?P<name>[\w.-]+)(?:<｜tool▁sep｜>)?(?:\s*```json)?\s*"  # noqa: RUF001
    ),
    re.compile(r"\s*(?:```\s*)?<｜tool▁call▁end｜>"),  # noqa: RUF001
)


BETWEEN = re.compile(r"[;\s]*")


def read_llama(text: str, tools: Tools) -> Calls:
    """Reads the form of Llama 3: `{"name": ..., "parameters": {...}}` and nothing else; its models separate several by `;`."""
    calls, text, position = [], text.strip().removeprefix("<|python_tag|>"), 0
    while position < len(text):
        try:
            value, position = DECODER.raw_decode(text, position)
        except (ValueError, RecursionError):
            return None
        call = _call(value, "parameters", frozenset({"type"}))
        if call is None:
            return None
        calls.append(call)
        position = BETWEEN.match(text, position).end()
    return calls


def read_lfm2(text: str, tools: Tools) -> Calls:
    """Reads the form of LFM2: a list of calls as Python writes them, `[get_weather(city='Oslo')]`, between two marks."""
    calls, rest = [], text
    while "<|tool_call_start|>" in rest:
        block, closed, rest = rest.partition("<|tool_call_start|>")[2].partition("<|tool_call_end|>")
        try:
            _, found = split_calls(block, re.findall(r"([\w.-]+)\(", block), "")
        except BadRow:
            return None
        if not closed or not found:
            return None
        calls += [Call(call["function"]["name"], call["function"]["arguments"]) for call in found]
    return calls


# --- By TRL's response templates ------------------------------------------------------------------------------------------


MOST, LONGEST = 1000, 100_000  # calls, or arguments, of one completion; its characters
BLANK = re.compile(r"\s{1000}")


@cache
def _response_template(name: str) -> Any:
    """Returns one of TRL's response templates, or ours for a template that TRL has none for."""
    from transformers.utils.chat_parsing.response_templates import load_response_template
    from trl import chat_template_utils  # seconds, which completions in JSON do without

    if name == "muse":
        template = copy.deepcopy(chat_template_utils.qwen3_5_template)
        template["fields"]["tool_calls"] |= {
            "open_pattern": r'<atem:invoke name="(?P<name>[^"]+)">',
            "close_pattern": r"</atem:invoke>\s*",
        }
        pattern = r'<atem:parameter name="(?P<key>[^"]+)">(?P<value>.*?)</atem:parameter>'
        template["fields"]["tool_calls"]["content_args"]["tag_pattern"] = pattern
        return load_response_template(template)
    template = copy.deepcopy(getattr(chat_template_utils, f"{name}_template"))
    if name == "gemma4":  # names with a dot or a hyphen, too
        template["fields"]["tool_calls"]["open_pattern"] = r"<\|tool_call>call:(?P<name>[\w.-]+)"
    return load_response_template(template)


def read_typed(text: str, tools: Tools, name: str, marks: tuple[str, ...]) -> Calls:
    """Reads calls whose arguments are texts, by one of TRL's response templates.

    Args:
        text: What is said.
        tools: Say of which type an argument is.
        name: See `_response_template`.
        marks: What begins a call and ends it, and what begins and ends an argument: none may be left over.
    """
    from transformers.utils.chat_parsing import parse_response

    text = text.partition("<think>")[0]
    num_calls, *others = map(text.count, marks)
    # What is not closed would be searched for again and again.
    if others[0] != num_calls or others[1:2] != others[2:] or max([num_calls, *others]) > MOST:
        return None
    if len(text) > LONGEST or BLANK.search(text):
        return None
    typed = None if name == "gemma4" else tools  # Gemma's form shows what is a text and what is none
    try:
        found = parse_response(text, _response_template(name), prefix="", tools=typed).get("tool_calls") or []
        calls = [Call(call["function"]["name"], call["function"]["arguments"]) for call in found]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    if not all(isinstance(call.arguments, dict) and _is_sound(call.arguments) for call in calls):
        return None
    written = sum(len(call.arguments) for call in calls)
    return calls if len(calls) == num_calls and others[1:2] in ([], [written]) else None
