"""Which arguments BFCL accepts: the rules of the AST check of the Berkeley Function Calling Leaderboard (v4).

Patil et al., ICML 2025; bfcl_eval/eval_checker/ast_eval/ast_checker.py in https://github.com/ShishirPatil/gorilla. For a
parameter several values may be accepted, and strings are compared without case, spaces and some punctuation. In what the
verdicts differ from the official ones is listed in the README, with the counts that benchmarks/bfcl_checker.py prints.
"""

import re
from typing import Any

from mistakes import Mistake, has_type, name_of, nearness, shown, worst, wrong_type


def _plain(text: str) -> str:
    """Returns a string without what BFCL ignores: case, spaces, the punctuation ,./-_*^ and which quotes are used."""
    return re.sub(r"[ ,./\-_*^]", "", text).lower().replace("'", '"') or text


def _is_equal(value: Any, accepted: Any, schema: dict[str, Any]) -> bool:
    """Returns whether two values that are not both arrays or both objects are equal."""
    if accepted == "":  # what may be left out may be given as nothing, too
        return value in ("", []) and has_type(value, schema)
    if type(value) is str and type(accepted) is str:
        return _plain(value) == _plain(accepted)
    if {type(value), type(accepted)} == {int, float}:
        return value == accepted and has_type(value, schema)
    return type(value) is type(accepted) and value == accepted


def _choices(values: list[Any]) -> str:
    return " or ".join("nothing" if value == "" else shown(value) for value in values)


def _as_accepted(value: Any) -> Any:
    """Returns a value in the form of accepted values: a list of one for each key of its objects."""
    if isinstance(value, dict):
        return {key: [_as_accepted(item)] for key, item in value.items()}
    return [_as_accepted(item) for item in value] if isinstance(value, list) else value


def _value_mistake(value: Any, accepted: list[Any], schema: dict[str, Any], path: str) -> Mistake | None:
    """Returns what is wrong with a value, or None if it equals one of the accepted ones."""
    inside = []
    for option in accepted:
        if isinstance(value, dict) and isinstance(option, dict):
            as_it_is = not all(isinstance(values, list) for values in option.values())
            mistake = accepted_mistake(value, _as_accepted(option) if as_it_is else option, schema, f"{path}.")
        elif isinstance(value, list) and isinstance(option, list) and len(value) == len(option):
            items = schema.get("items", {})
            pairs = enumerate(zip(value, option, strict=True))
            mistake = worst(_value_mistake(item, [right], items, f"{path}[{i}]") for i, (item, right) in pairs)
        else:
            if _is_equal(value, option, schema):
                return None
            continue
        if mistake is None:
            return None
        inside.append(mistake)
    # The type is looked at last: where a data set accepts a value of another type than its tool declares, so does BFCL.
    if not has_type(value, schema):
        return wrong_type(value, schema, path)
    if inside:
        return max(inside, key=nearness)
    choices = schema.get("enum", [])
    if choices and not any(_is_equal(value, choice, schema) for choice in choices):
        return Mistake("wrong value", f"{name_of(path)} is {shown(value)}, which is not {_choices(choices)}")
    return Mistake("wrong value", f"{name_of(path)} is {shown(value)} instead of {_choices(accepted)}")


def _argument_mistake(value: Any, accepted: list[Any], schema: dict[str, Any], path: str) -> Mistake | None:
    """Returns what is wrong with an argument.

    Where values of another type are accepted than the tool declares, such as a variable's name, a text is compared as it is.
    """
    first = next((option for option in accepted if option != ""), None)
    if isinstance(value, str) and first is not None and not has_type(first, schema):
        if value in accepted:
            return None
        return Mistake("wrong value", f"{name_of(path)} is {shown(value)} instead of {_choices(accepted)}")
    return _value_mistake(value, accepted, schema, path)


def accepted_mistake(
    value: dict[str, Any], accepted: dict[str, list[Any]], schema: dict[str, Any], path: str
) -> Mistake | None:
    """Compares an object with the accepted values of its keys: the arguments of a call, or an object among them.

    Args:
        value: The object.
        accepted: The accepted values of each key; "" among them: it may be left out.
        schema: Its JSON schema.
        path: Where it stands among the arguments, for the mistake; empty for the arguments themselves.

    Returns:
        The worst mistake, or None.
    """
    required = schema.get("required", [])
    for key in [*required, *accepted]:
        if key not in value and (key in required or "" not in accepted[key]):
            return Mistake("missing argument", name_of(path + key))
    schemas = schema.get("properties", {})
    for key in value:
        # A call has the arguments that its tool declares; an object among them may have more, such as the headers of a request.
        if key not in accepted or (not path and key not in schemas):
            return Mistake("unexpected argument", name_of(path + key))
    compare = _value_mistake if path else _argument_mistake
    return worst(compare(value[key], accepted[key], schemas.get(key, {}), path + key) for key in value)
