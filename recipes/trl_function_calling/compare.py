"""What is wrong with the calls of a completion: calls are right that are exactly those of the conversation, in any order.

BFCL accepts several values, and strings that differ in case or punctuation: its rules are in bfcl_rules.py.
"""

from typing import Any

from bfcl_rules import accepted_mistake
from calls import Accepted, Call
from mistakes import Mistake, has_type, name_of, nearness, shown, worst, wrong_type


def _value_mistake(value: Any, right: Any, schema: dict[str, Any], path: str) -> Mistake | None:
    """Returns what makes a value another one than the right one; 3 and 3.0 are the same number where the tool wants numbers."""
    if isinstance(value, dict) and isinstance(right, dict):
        return _object_mistake(value, right, schema, f"{path}.")
    if isinstance(value, list) and isinstance(right, list) and len(value) == len(right):
        pairs = enumerate(zip(value, right, strict=True))
        return worst(_value_mistake(one, other, schema.get("items", {}), f"{path}[{i}]") for i, (one, other) in pairs)
    numbers = {type(value), type(right)} == {int, float} and has_type(value, schema)
    if value == right and (type(value) is type(right) or numbers):
        return None
    if not has_type(value, schema):
        return wrong_type(value, schema, path)
    choices = schema.get("enum", [])
    if choices and value not in choices:
        listed = " or ".join(map(shown, choices))
        return Mistake("wrong value", f"{name_of(path)} is {shown(value)}, which is not {listed}")
    return Mistake("wrong value", f"{name_of(path)} is {shown(value)} instead of {shown(right)}")


def _object_mistake(value: dict[str, Any], right: dict[str, Any], schema: dict[str, Any], path: str) -> Mistake | None:
    """Returns what makes an object another one: the arguments of a call, or an object among them."""
    for key in [*schema.get("required", []), *right]:
        if key not in value:
            return Mistake("missing argument", name_of(path + key))
    schemas = schema.get("properties", {})
    for key in value:
        # A call has the arguments that its tool declares; an object among them may have more, such as the headers of a request.
        if key not in right or (not path and key not in schemas):
            return Mistake("unexpected argument", name_of(path + key))
    return worst(_value_mistake(value[key], right[key], schemas.get(key, {}), path + key) for key in value)


def _call_mistake(call: Call, answer: Call | Accepted, schemas: dict[str, dict[str, Any]]) -> Mistake | None:
    name, right = (answer.name, answer.arguments) if isinstance(answer, Call) else next(iter(answer.items()))
    if call.name not in schemas:
        return Mistake("unknown function", name_of(call.name))
    if call.name != name:
        return Mistake("wrong function", f"{name_of(call.name)} instead of {name_of(name)}")
    compare = _object_mistake if isinstance(answer, Call) else accepted_mistake
    return compare(call.arguments, right, schemas[name], "")


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


def find_mistake(calls: list[Call] | None, tools: list[dict[str, Any]], answers: list[Call] | list[Accepted]) -> Mistake | None:
    """Compares the calls of a completion with the right ones, in any order.

    Args:
        calls: What `forms.Form.read` returned.
        tools: The tools that could be called: JSON schemas in OpenAI's form.
        answers: The right calls, or BFCL's accepted values; none if nothing is to be called.

    Returns:
        None if the calls are exactly right, else the mistake that is nearest to a right answer.
    """
    if calls is None:
        return Mistake("malformed call", "not closed, or no name with an object of arguments")
    if len(calls) != len(answers):
        return Mistake("wrong number of calls", f"{len(calls)} instead of {len(answers)}")
    schemas = {tool["function"]["name"]: tool["function"].get("parameters", {}) for tool in tools}
    mistakes = [[_call_mistake(call, answer, schemas) for answer in answers] for call in calls]
    matched = _match([[number for number, mistake in enumerate(row) if mistake is None] for row in mistakes])
    if len(matched) == len(calls):
        return None
    left = [row for call, row in enumerate(mistakes) if call not in matched.values()]
    return max((row[answer] for row in left for answer in range(len(answers)) if answer not in matched), key=nearness)


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
        return Mistake("unknown function", name_of(call.name))
    parameters = schemas[call.name].get("properties", {})
    for name in schemas[call.name].get("required", []):
        if name not in call.arguments:
            return Mistake("missing argument", name_of(name))
    for name, value in call.arguments.items():
        if name not in parameters:
            return Mistake("unexpected argument", name_of(name))
        if not has_type(value, parameters[name]):
            return wrong_type(value, parameters[name], name)
        choices = parameters[name].get("enum") or [value]
        if value not in choices:
            return Mistake("wrong value", f"{name_of(name)} is {shown(value)}, not {' or '.join(map(shown, choices))}")
    return None
