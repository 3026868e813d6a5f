"""What counts as a right tool call, over all of BFCL's rows."""

import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from conftest import recipe_modules
from function_calls import BFCL, Calls, kind_of, mistake_in, needs_bfcl, write

# The tool says that these are required, the answer that they may be left out. BFCL asks for them, and so does the metric.
REQUIRED_THOUGH_OPTIONAL = {
    ("simple_python_17", "formatted"),
    ("simple_python_200", "fuel_efficiency"),
    ("parallel_88", "initial_velocity"),
}


@pytest.fixture(scope="module")
def recipe():
    names = ["calls", "forms", "mistakes", "compare", "code_values", "bfcl", "leaderboard", "metrics"]
    with recipe_modules("trl_function_calling", names) as modules:
        yield modules


@pytest.fixture(scope="module")
def rows(recipe) -> dict[str, dict[str, Any]]:
    """The rows of BFCL in which something is to be called, by BFCL's id."""
    categories = recipe["bfcl"].load_bfcl(BFCL)
    return {f"{name}_{i}": row for name in ("simple_python", "parallel") for i, row in enumerate(categories[name])}


def first_accepted(accepted: Any, required: list[str] = ()) -> Any:
    """Returns an accepted value as a model should write it: of each key the first value, or none where "" stands first."""
    if isinstance(accepted, dict):
        values = {key: values for key, values in accepted.items() if values[0] != "" or key in required}
        return {key: first_accepted(next(value for value in values[key] if value != "")) for key in values}
    return [first_accepted(item) for item in accepted] if isinstance(accepted, list) else accepted


def required_of(row: dict[str, Any]) -> list[str]:
    (tool,) = row["tools"]  # these categories offer one tool
    return tool["function"]["parameters"]["required"]


def gold(row: dict[str, Any]) -> Calls:
    required = required_of(row)
    return [(name, first_accepted(accepted, required)) for answer in row["answers"] for name, accepted in answer.items()]


def with_each(row: dict[str, Any], change: Callable[..., Iterator[dict[str, Any]]]) -> Iterator[str]:
    """Yields the gold calls with the arguments of one of them changed, in each way that `change(arguments, accepted)` gives."""
    calls = gold(row)
    for i, (name, arguments) in enumerate(calls):
        for changed in change(arguments, row["answers"][i][name]):
            yield write([*calls[:i], (name, changed), *calls[i + 1 :]])


def with_each_leaf(value: Any, change: Callable[[Any], Any]) -> Iterator[Any]:
    """Yields the value with one number, string, ... in it changed, at any depth."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from ({**value, key: changed} for changed in with_each_leaf(item, change))
    elif isinstance(value, list):
        for i, item in enumerate(value):
            yield from ([*value[:i], changed, *value[i + 1 :]] for changed in with_each_leaf(item, change))
    else:
        yield change(value)


@needs_bfcl
def test_every_gold_answer_of_bfcl_is_right(recipe, rows):
    assert len(rows) == 600
    assert {name: mistake for name, row in rows.items() if (mistake := mistake_in(recipe, write(gold(row)), row))} == {}
    reversed_and_in_text = {
        name: f"<think>Hm: {write(gold(row))}</think>\nI call:\n{write(gold(row)[::-1])}\nDone." for name, row in rows.items()
    }
    assert [name for name, text in reversed_and_in_text.items() if mistake_in(recipe, text, rows[name])] == []


@needs_bfcl
def test_every_accepted_value_of_bfcl_is_right_and_what_may_be_left_out_may_be_left_out(recipe, rows):
    asked_for = set()
    for name, row in rows.items():
        calls = gold(row)
        for i, ((function, arguments), answer) in enumerate(zip(calls, row["answers"], strict=True)):
            for parameter, accepted in answer[function].items():
                without = {key: value for key, value in arguments.items() if key != parameter}
                for changed in [without, *({**without, parameter: first_accepted(v)} for v in accepted if v != "")]:
                    mistake = mistake_in(recipe, write([*calls[:i], (function, changed), *calls[i + 1 :]]), row)
                    if changed is not without or "" in accepted:
                        if mistake is not None:
                            assert str(mistake) == f"missing argument: `{parameter}`"
                            asked_for.add((name, parameter))
                    else:
                        assert mistake is not None, f"{name} without {parameter}"
    assert asked_for == REQUIRED_THOUGH_OPTIONAL


def unknown_function(row: dict[str, Any]) -> Iterator[str]:
    calls = gold(row)
    for i, (name, arguments) in enumerate(calls):
        yield write([*calls[:i], (f"{name}_now", arguments), *calls[i + 1 :]])


def wrong_count(row: dict[str, Any]) -> Iterator[str]:
    calls = gold(row)
    yield from (write([*calls, calls[0]]), write(calls[:-1]), write([]), "Which one do you mean?")


def missing_argument(row: dict[str, Any]) -> Iterator[str]:
    for key in required_of(row):
        yield from with_each(row, lambda arguments, _, key=key: [{k: v for k, v in arguments.items() if k != key}])


def unexpected_argument(row: dict[str, Any]) -> Iterator[str]:
    yield from with_each(row, lambda arguments, _: [{**arguments, "surprise": 1}])


def another_type(value: Any) -> Any:
    return 7 if isinstance(value, str) else json.dumps(value)


def wrong_type(row: dict[str, Any]) -> Iterator[str]:
    for key, schema in row["tools"][0]["function"]["parameters"]["properties"].items():
        changes = [another_type, lambda value: None, *([float] if schema["type"] == "integer" else [])]
        for change in changes:
            yield from with_each(row, lambda a, _, key=key, change=change: [{**a, key: change(a[key])}] if key in a else [])


def wrong_type_inside(row: dict[str, Any]) -> Iterator[str]:
    yield from with_each(row, lambda arguments, _: with_each_leaf(arguments, another_type))


def another_value(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    return f"{value} not" if isinstance(value, str) else value + 1009


def wrong_value(row: dict[str, Any]) -> Iterator[str]:
    def change(arguments: dict[str, Any], accepted: dict[str, list[Any]]) -> Iterator[dict[str, Any]]:
        free = [key for key, value in arguments.items() if isinstance(value, bool) and (not value) in accepted[key]]
        bound = {key: value for key, value in arguments.items() if key not in free}
        yield from ({**arguments, **changed} for changed in with_each_leaf(bound, another_value))
        for key, value in arguments.items():
            if isinstance(value, list):
                yield {**arguments, key: [*value, *value[:1]]}
            if isinstance(value, list) and len(value) > 1:  # [] is nothing, which may be right
                yield {**arguments, key: value[:-1]}

    yield from with_each(row, change)


def malformed(row: dict[str, Any]) -> Iterator[str]:
    text = write(gold(row))
    yield text.removesuffix("</tool_call>")
    yield text.replace("}\n</tool_call>", "\n</tool_call>")
    yield text.replace('"name"', "'name'")
    yield text + "\n<tool_call>\n</tool_call>"
    yield text.replace('"arguments": {', '"parameters": {')
    yield text.replace('"arguments": {', '"arguments": {"seed": NaN, ')


@needs_bfcl
@pytest.mark.parametrize(
    ("variants", "kinds"),
    [
        (unknown_function, ["unknown function"]),
        (wrong_count, ["wrong number of calls"]),
        (missing_argument, ["missing argument"]),
        (unexpected_argument, ["unexpected argument"]),
        (wrong_type, ["wrong type"]),
        (wrong_type_inside, ["wrong type", "wrong value"]),  # some objects do not say what is in them
        (wrong_value, ["wrong value"]),
        (malformed, ["malformed call"]),
    ],
)
def test_every_wrong_answer_to_bfcl_gets_its_kind_of_mistake(recipe, rows, variants: Callable, kinds: list[str]):
    for name, row in rows.items():
        texts = list(variants(row))
        assert texts, f"{name} has no such variant"
        for text in texts:
            assert kind_of(recipe, text, row) in kinds, f"{name}: {text}"


@needs_bfcl
def test_another_tool_that_is_offered_is_the_wrong_function(recipe, rows):
    for row in rows.values():
        other = {"type": "function", "function": {"name": "other", "description": "", "parameters": {"type": "object"}}}
        _, *calls = gold(row)
        two_tools = {**row, "tools": [*row["tools"], other]}
        assert kind_of(recipe, write(gold(row)), two_tools) is None
        assert kind_of(recipe, write([("other", {}), *calls]), two_tools) == "wrong function"


@needs_bfcl
def test_where_nothing_is_to_be_called_any_call_is_wrong(recipe):
    irrelevance = recipe["bfcl"].load_bfcl(BFCL)["irrelevance"]
    assert len(irrelevance) == 240
    for row in irrelevance:
        assert row["answers"] == []
        assert kind_of(recipe, "None of my tools can do that.", row) is None
        for tool in row["tools"]:
            text = write([(tool["function"]["name"], {})])
            assert kind_of(recipe, text, row) == "wrong number of calls"
            assert kind_of(recipe, text[:-1], row) is None  # malformed: to BFCL no call


@needs_bfcl
def test_gold_calls_make_their_own_answers(recipe, rows):
    for name, row in rows.items():
        calls = [recipe["calls"].Call(*call) for call in gold(row)]
        before = copy.deepcopy(calls)
        assert recipe["compare"].find_mistake(calls, row["tools"], calls) is None, name
        for text in wrong_value(row):
            assert kind_of(recipe, text, {**row, "answers": calls}) == "wrong value", f"{name}: {text}"
        assert calls == before
