"""Which tools a completion calls, and what is wrong with the calls: one reading for the reward and for the evaluation.

Calls are compared with answers by the rules of the AST check of the Berkeley Function Calling Leaderboard (BFCL v4; Patil et
al., ICML 2025; bfcl_eval/eval_checker/ast_eval/ast_checker.py in https://github.com/ShishirPatil/gorilla), except that:

- Calls are matched with answers so that as many as possible fit; BFCL gives each answer the first call that fits, for good.
- Types, the loose comparison of strings, and integers for numbers hold at every depth; BFCL goes at most one level down, takes
  3.0 or true for 3 and 1 in an object, and rejects 3 for 3.0 in a list. Required keys of nested objects are required, too.
- A string of nothing but punctuation is compared as it is: BFCL takes "-" and "*" for the same.
- Where nothing is to be called, a malformed call is wrong; BFCL takes it for no call.
"""

import json
import re
import reprlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

# {function: {parameter: [accepted values]}}, BFCL's form. "" among the values means that the parameter may be left out. The
# keys of an accepted object, also in a list, have lists of accepted values in turn; one with anything else is meant as it is.
Answer = dict[str, dict[str, list[Any]]]

# From the furthest off to the nearest miss.
KINDS = (
    "malformed call",
    "wrong number of calls",
    "unknown function",
    "wrong function",
    "missing argument",
    "unexpected argument",
    "wrong type",
    "wrong value",
)


@dataclass(frozen=True)
class Call:
    """A call of a tool."""

    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True)
class Mistake:
    """What is wrong with the calls of a completion.

    Attributes:
        kind: One of `KINDS`, to be counted.
        detail: The names and values.
    """

    kind: str
    detail: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.detail}"


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
        if not isinstance(call["name"], str) or not isinstance(call["arguments"], dict):
            return None
        calls.append(Call(**call))
        position = end.end()
    return calls


# --- Comparing ------------------------------------------------------------------------------------------------------------

TYPES = {str: "string", int: "integer", float: "number", bool: "boolean", list: "array", dict: "object", type(None): "null"}


def _types(schema: dict[str, Any]) -> list[str]:
    """Returns the types that a schema allows; none means any."""
    types = schema.get("type", [])
    return [types] if isinstance(types, str) else types


def _has_type(value: Any, schema: dict[str, Any]) -> bool:
    types, found = _types(schema), TYPES[type(value)]
    return not types or found in types or (found == "integer" and "number" in types)


def _plain(text: str) -> str:
    """Returns a string without what BFCL ignores: case, spaces, the punctuation ,./-_*^ and which quotes are used."""
    return re.sub(r"[ ,./\-_*^]", "", text).lower().replace("'", '"') or text


def _is_equal(value: Any, accepted: Any, schema: dict[str, Any]) -> bool:
    """Returns whether two values that are not both arrays or both objects are equal."""
    if accepted == "":  # what may be left out may be given as nothing, too
        return value in ("", []) and _has_type(value, schema)
    if type(value) is str and type(accepted) is str:
        return _plain(value) == _plain(accepted)
    if {type(value), type(accepted)} == {int, float}:
        return value == accepted and _has_type(value, schema)
    return type(value) is type(accepted) and value == accepted


# reprlib shortens, and like repr it escapes what cannot be printed: a model may write anything.
def _choices(values: list[Any]) -> str:
    return " or ".join("nothing" if value == "" else reprlib.repr(value) for value in values)


def _name(text: str) -> str:
    return f"`{repr(text)[1:-1]}`"


def _nearness(mistake: Mistake) -> int:
    return KINDS.index(mistake.kind)


def _worst(mistakes: Iterable[Mistake | None]) -> Mistake | None:
    """Returns the worst of the mistakes in one thing, or None if there are none."""
    return min((mistake for mistake in mistakes if mistake), key=_nearness, default=None)


def _accept_only(value: Any) -> Any:
    """Returns a value in the form of accepted values: a list of one for each key of its objects."""
    if isinstance(value, dict):
        return {key: [_accept_only(item)] for key, item in value.items()}
    return [_accept_only(item) for item in value] if isinstance(value, list) else value


def _value_mistake(value: Any, accepted: list[Any], schema: dict[str, Any], path: str) -> Mistake | None:
    """Returns what is wrong with a value, or None if it equals one of the accepted ones."""
    inside = []
    for option in accepted:
        if isinstance(value, dict) and isinstance(option, dict):
            as_it_is = not all(isinstance(values, list) for values in option.values())
            mistake = _object_mistake(value, _accept_only(option) if as_it_is else option, schema, f"{path}.")
        elif isinstance(value, list) and isinstance(option, list) and len(value) == len(option):
            items = schema.get("items", {})
            pairs = enumerate(zip(value, option, strict=True))
            mistake = _worst(_value_mistake(item, [right], items, f"{path}[{i}]") for i, (item, right) in pairs)
        else:
            if _is_equal(value, option, schema):
                return None
            continue
        if mistake is None:
            return None
        inside.append(mistake)
    # The type is looked at last: where a data set accepts a value of another type than its tool declares, so does BFCL.
    if not _has_type(value, schema):
        return Mistake("wrong type", f"{_name(path)} must be {' or '.join(_types(schema))}, not {TYPES[type(value)]}")
    if inside:
        return max(inside, key=_nearness)
    choices = schema.get("enum", [])
    if choices and not any(_is_equal(value, choice, schema) for choice in choices):
        return Mistake("wrong value", f"{_name(path)} is {reprlib.repr(value)}, which is not {_choices(choices)}")
    return Mistake("wrong value", f"{_name(path)} is {reprlib.repr(value)} instead of {_choices(accepted)}")


def _object_mistake(value: dict[str, Any], accepted: dict[str, list[Any]], schema: dict[str, Any], path: str) -> Mistake | None:
    """Returns what is wrong with an object: the arguments of a call, or an object among them."""
    required = schema.get("required", [])
    for key in [*required, *accepted]:
        if key not in value and (key in required or "" not in accepted[key]):
            return Mistake("missing argument", _name(path + key))
    schemas = schema.get("properties", {})
    for key in value:
        # A call has the arguments that its tool declares; an object among them may have more, such as the headers of a request.
        if key not in accepted or (not path and key not in schemas):
            return Mistake("unexpected argument", _name(path + key))
    return _worst(_value_mistake(value[key], accepted[key], schemas.get(key, {}), path + key) for key in value)


def _call_mistake(call: Call, answer: Answer, schemas: dict[str, dict[str, Any]]) -> Mistake | None:
    ((name, accepted),) = answer.items()
    if call.name not in schemas:
        return Mistake("unknown function", _name(call.name))
    if call.name != name:
        return Mistake("wrong function", f"{_name(call.name)} instead of {_name(name)}")
    return _object_mistake(call.arguments, accepted, schemas[name], "")


def _match(fitting: list[list[int]]) -> dict[int, int]:
    """Matches as many calls with answers as possible, by augmenting paths (Berge 1957), given those that each call fits."""
    matched: dict[int, int] = {}

    def place(call: int, tried: set[int]) -> bool:
        for answer in fitting[call]:
            if answer not in tried:
                tried.add(answer)
                if answer not in matched or place(matched[answer], tried):
                    matched[answer] = call
                    return True
        return False

    for call in range(len(fitting)):
        place(call, set())
    return matched


def find_mistake(calls: list[Call] | None, tools: list[dict[str, Any]], answers: list[Answer]) -> Mistake | None:
    """Compares the calls of a completion with the right ones, in any order.

    Args:
        calls: What `parse_calls` returned.
        tools: The tools that could be called: JSON schemas in OpenAI's form.
        answers: The right calls; none if nothing is to be called.

    Returns:
        None if the calls are exactly right, else the mistake that is nearest to a right answer.
    """
    if calls is None:
        return Mistake("malformed call", "not closed, or not a JSON object with `name` and `arguments`")
    if len(calls) != len(answers):
        return Mistake("wrong number of calls", f"{len(calls)} instead of {len(answers)}")
    schemas = {tool["function"]["name"]: tool["function"].get("parameters", {}) for tool in tools}
    mistakes = [[_call_mistake(call, answer, schemas) for answer in answers] for call in calls]
    matched = _match([[number for number, mistake in enumerate(row) if mistake is None] for row in mistakes])
    if len(matched) == len(calls):
        return None
    left = [row for call, row in enumerate(mistakes) if call not in matched.values()]
    return max((row[answer] for row in left for answer in range(len(answers)) if answer not in matched), key=_nearness)


def schema_mistake(call: Call, tools: list[dict[str, Any]]) -> Mistake | None:
    """Returns what in a call does not fit the tools offered, to be asked before anything is run.

    Args:
        call: What a model wrote.
        tools: The tools offered; of their schemas the types and choices of the arguments themselves are checked.

    Returns:
        The first mistake, or None.
    """
    schemas = {tool["function"]["name"]: tool["function"]["parameters"] for tool in tools}
    if call.name not in schemas:
        return Mistake("unknown function", _name(call.name))
    parameters = schemas[call.name].get("properties", {})
    for name in schemas[call.name].get("required", []):
        if name not in call.arguments:
            return Mistake("missing argument", _name(name))
    for name, value in call.arguments.items():
        if name not in parameters:
            return Mistake("unexpected argument", _name(name))
        if not _has_type(value, parameters[name]):
            return Mistake("wrong type", f"{_name(name)} must be {' or '.join(_types(parameters[name]))}")
        if value not in parameters[name].get("enum", [value]):
            return Mistake("wrong value", f"{_name(name)} is {reprlib.repr(value)}, not {_choices(parameters[name]['enum'])}")
    return None


def answers_of(calls: list[Call]) -> list[Answer]:
    """Returns the answers that accept exactly these calls.

    Args:
        calls: The right calls, of a data set that knows one right value for each argument.

    Returns:
        For each call each argument with its value. What the call leaves out is not accepted.
    """
    return [{call.name: _accept_only(call.arguments)} for call in calls]
