"""What is wrong with the calls of a completion, and how many have nothing wrong.

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

from common.data.conversations import check_conversation
from common.data.formats import Conversation
from common.errors import BadRow
from common.measure.statistics import share

from calls import Answer, Call, Request, accept_only, parse_calls, to_request, turns_of

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


def _value_mistake(value: Any, accepted: list[Any], schema: dict[str, Any], path: str) -> Mistake | None:
    """Returns what is wrong with a value, or None if it equals one of the accepted ones."""
    inside = []
    for option in accepted:
        if isinstance(value, dict) and isinstance(option, dict):
            as_it_is = not all(isinstance(values, list) for values in option.values())
            mistake = _object_mistake(value, accept_only(option) if as_it_is else option, schema, f"{path}.")
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


def check_gold(conversation: Conversation) -> None:
    """Checks that the calls of a conversation are right by the rules of the score; else the perfect model would score below 1.

    Args:
        conversation: One that `common.data.conversations.check_conversation` has passed.

    Raises:
        BadRow: Says which call is not, and why.
    """
    for turn in turns_of(conversation):
        request = to_request(turn)
        gold = [call.get("function", call) for call in turn["messages"][len(request.messages)].get("tool_calls") or []]
        mistake = find_mistake([Call(call["name"], call["arguments"]) for call in gold], request.tools, request.answers)
        if mistake:
            raise BadRow(
                f"message {len(request.messages) + 1}: the call is wrong by the rules of the score ({mistake}); mend it, or "
                "the schema of its tool"
            )


# --- All of them ----------------------------------------------------------------------------------------------------------


def reply_of(completion: str) -> str:
    """Returns what a completion says, without the empty thoughts that Qwen3 begins with."""
    return completion.rpartition("</think>")[2].strip()


def _is_correct(request: Request, completion: str, mistake: Mistake | None) -> bool:
    """Returns whether the calls are right, or, where there is a reply and nothing to call, whether it is the expected one."""
    return mistake is None if request.answers or not request.reply else reply_of(completion) == request.reply


# What a row of `recipes score` holds beside `completion`.
REFERENCE = {
    "messages": "the conversation: its last assistant turn is what is right; or, with `answers`, what comes before it",
    "tools": "the tools that may be called, JSON schemas in OpenAI's form (may be left out)",
    "answers": "BFCL's form, in the place of a right turn: {function: {parameter: [accepted values]}} (may be left out)",
}


def read_reference(row: dict[str, Any]) -> dict[str, Any]:
    """Makes what `score` takes of a row of a file.

    Raises:
        BadRow: If there are no messages that can be used, or the right calls are not right by the rules of the score.
    """
    kept = {name: row[name] for name in REFERENCE if row.get(name) is not None}
    for name, value in kept.items():
        if isinstance(value, str):
            try:
                kept[name] = json.loads(value)
            except ValueError:
                raise BadRow(f"`{name}` is a text that is not JSON; write a list") from None
    if "answers" not in kept:
        check_conversation(kept)
        check_gold(kept)
    elif not isinstance(kept.get("messages"), list) or not isinstance(kept["answers"], list):
        raise BadRow("`messages` and `answers` must be lists")
    return kept


def score(rows: list[dict[str, Any]], completions: list[str]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Scores completions by BFCL's rules.

    Args:
        rows: What was asked; see `calls.to_request`. Turns of one conversation have its number as `conversation`.
        completions: What the model wrote, one text for each.

    Returns:
        The metrics, each over the requests it applies to, with their 95 % intervals; and for each row whether it is `correct`,
        and what the `mistake` in its calls is (None: nothing).
        Where calls are right: `exact_call`, of these `parallel_call` where there are several, `function_name`, `valid_json`,
        `relevance` (anything was called). Where none is: `irrelevance` (nothing was called). For generated conversations also
        `asks_back` and `final_answer`, whether the text is the expected one.
    """
    requests, calls = [to_request(row) for row in rows], [parse_calls(text) for text in completions]
    mistakes = [find_mistake(made, asked.tools, asked.answers) for asked, made in zip(requests, calls, strict=True)]
    needed = [number for number, request in enumerate(requests) if request.answers]
    # By the number of the row.
    metrics = {
        "exact_call": {number: mistakes[number] is None for number in needed},
        "parallel_call": {number: mistakes[number] is None for number in needed if len(requests[number].answers) > 1},
        "function_name": {number: _names_called(calls[number]) == _names_asked(requests[number]) for number in needed},
        "valid_json": {number: bool(calls[number]) for number in needed},
        "relevance": {number: "<tool_call>" in completions[number] for number in needed},
        "irrelevance": {
            number: calls[number] == [] for number, asked in enumerate(requests) if asked.kind in ("no_tool", "no_call")
        },
    }
    for name, kind in {"asks_back": "missing_argument", "final_answer": "answer"}.items():
        asked_so = [number for number, request in enumerate(requests) if request.kind == kind]
        metrics[name] = {number: reply_of(completions[number]) == requests[number].reply for number in asked_so}
    verdicts = [
        {"correct": _is_correct(request, text, mistake), "mistake": mistake and str(mistake)}
        for request, text, mistake in zip(requests, completions, mistakes, strict=True)
    ]
    groups = [row.get("conversation", number) for number, row in enumerate(rows)]
    shares = {
        name: share(list(values.values()), [groups[number] for number in values]) for name, values in metrics.items() if values
    }
    return shares, verdicts


def _names_called(calls: list[Call] | None) -> list[str]:
    return sorted(call.name for call in calls or [])


def _names_asked(request: Request) -> list[str]:
    return sorted(name for answer in request.answers for name in answer)
