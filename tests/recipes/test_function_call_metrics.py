"""What counts as a right tool call: over all of BFCL's rows, and rule by rule."""

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import recipe_modules

BFCL = Path(__file__).parents[3] / "shared" / "data" / "bfcl"
needs_bfcl = pytest.mark.skipif(not BFCL.exists(), reason=f"needs the files of BFCL v4 in {BFCL}")

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


Calls = list[tuple[str, dict[str, Any]]]


def write(calls: Calls) -> str:
    blocks = (json.dumps({"name": name, "arguments": arguments}) for name, arguments in calls)
    return "\n".join(f"<tool_call>\n{block}\n</tool_call>" for block in blocks)


def read(recipe, text: str) -> Any:
    """Returns the calls of a completion in Qwen's form."""
    (qwen,) = (form for form in recipe["forms"].FORMS if form.name == "Qwen and Hermes")
    return qwen.read(text, [])


def mistake_in(recipe, text: str, row: dict[str, Any]) -> Any:
    request = recipe["calls"].to_request(row)
    calls = read(recipe, text)
    return recipe["metrics"].mistake_in(request, calls if request.answers else calls or [])


def kind_of(recipe, text: str, row: dict[str, Any]) -> str | None:
    mistake = mistake_in(recipe, text, row)
    return mistake and mistake.kind


# --- All rows of BFCL -----------------------------------------------------------------------------------------------------


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


# --- Rule by rule ---------------------------------------------------------------------------------------------------------

CALL = '<tool_call>\n{"name": "f", "arguments": {"x": 1}}\n</tool_call>'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("No tool fits.", []),
        (CALL, [("f", {"x": 1})]),
        (f"{CALL}\n{CALL}", [("f", {"x": 1}), ("f", {"x": 1})]),
        (f"Let me see. {CALL} Done.<|im_end|>", [("f", {"x": 1})]),
        ('<tool_call>{"arguments": {}, "name": "a.b"}</tool_call>', [("a.b", {})]),
        (
            '<tool_call>{"name": "f", "arguments": {"x": "</tool_call> \\" <think>"}}</tool_call>',
            [("f", {"x": '</tool_call> " <think>'})],
        ),
        (
            '<tool_call>{"name": "f", "arguments": {"x": [{"y": null}, 1e-9, true]}}</tool_call>',
            [("f", {"x": [{"y": None}, 1e-9, True]})],
        ),
        (
            '<tool_call>{"name": "f", "arguments": {"x": "caf\u00e9 \\u00e9 \U0001f600"}}</tool_call>',
            [("f", {"x": "caf\u00e9 \u00e9 \U0001f600"})],
        ),
        # Reasoning
        (f"<think>{CALL}</think>No.", []),
        (f"<think>\n\n</think>\n\n{CALL}", [("f", {"x": 1})]),
        (f"<think>Not {CALL}</think>{CALL}", [("f", {"x": 1})]),
        (f"<think>A <tool_call> is {{...}}</think>{CALL}", [("f", {"x": 1})]),
        (f"A <tool_call> it is, said the thought that the prompt began.</think>{CALL}", [("f", {"x": 1})]),
        (f"<think>I run out of tokens: {CALL}", []),
        (f"{CALL}<think>And now?", [("f", {"x": 1})]),
        # Not valid
        ("<tool_call>", None),
        ("<tool_call></tool_call>", None),
        ("<tool_call>\n\n</tool_call>", None),
        ("</tool_call>", None),
        (f"{CALL}</tool_call>", None),
        (f"{CALL}<tool_call>", None),
        (f"<tool_call>{CALL}</tool_call>", None),
        (CALL.removesuffix("</tool_call>"), None),
        (CALL.replace("</tool_call>", "<tool_call>"), None),
        (f"{CALL.removesuffix('</tool_call>')}{CALL}", None),
        (CALL.replace('"x": 1', '"x": 1,'), None),
        (CALL.replace('"', "'"), None),
        (CALL.replace("1}}", "1}"), None),
        (CALL.replace("1}}", "1}} and"), None),
        (CALL.replace("1", "NaN"), None),
        (CALL.replace("1", "-Infinity"), None),
        (CALL.replace("1", "0x1"), None),
        (CALL.replace("1", "2 * 3"), None),
        (CALL.replace('"x": 1', '"x": 1, "x": 2'), None),
        (CALL.replace('"name": "f"', '"name": "f", "name": "f"'), None),
        (CALL.replace('"name": "f"', '"name": "f", "id": 3'), None),
        (CALL.replace('"name": "f", ', ""), None),
        (CALL.replace('"f"', "null"), None),
        (CALL.replace('{"x": 1}', '"{\\"x\\": 1}"'), None),
        (CALL.replace('{"x": 1}', "[1]"), None),
        (CALL.replace('{"x": 1}', "null"), None),
        ('<tool_call>["f", {}]</tool_call>', None),
        ('<tool_call>[{"name": "f", "arguments": {}}]</tool_call>', None),
        ("<tool_call>f(x=1)</tool_call>", None),
        ("<tool_call>```json\n{}\n```</tool_call>", None),
        (CALL.replace("1", "[" * 5000), None),
        (CALL.replace("1", "9" * 5000), None),
    ],
)
def test_reading_calls(recipe, text: str, expected: Calls | None):
    assert read(recipe, text) == (None if expected is None else [recipe["calls"].Call(*call) for call in expected])


INTEGER, NUMBER, BOOLEAN = {"type": "integer"}, {"type": "number"}, {"type": "boolean"}
STRING = {"type": "string"}
NUMBERS, STRINGS = {"type": "array", "items": NUMBER}, {"type": "array", "items": STRING}
UNIT = {"type": "string", "enum": ["celsius", "fahrenheit"]}
PERSON = {"type": "object", "properties": {"name": STRING, "age": INTEGER}, "required": ["name"]}
PEOPLE = {"type": "array", "items": PERSON}
ADA = {"name": ["Ada", "Ada L."], "age": [36, ""]}
TREE = {"type": "object", "properties": {"left": PERSON, "all": PEOPLE}}


@pytest.mark.parametrize(
    ("schema", "accepted", "value", "mistake"),
    [
        (INTEGER, [3], 3, None),
        (INTEGER, [3, 4], 4, None),
        (INTEGER, [3], 4, "wrong value: `x` is 4 instead of 3"),
        (INTEGER, [3, 5], 4, "wrong value: `x` is 4 instead of 3 or 5"),
        (INTEGER, [3, ""], 4, "wrong value: `x` is 4 instead of 3 or nothing"),
        (INTEGER, [3], 3.0, "wrong type: `x` must be integer, not number"),
        (INTEGER, [3], "3", "wrong type: `x` must be integer, not string"),
        (INTEGER, [1], True, "wrong type: `x` must be integer, not boolean"),
        (INTEGER, [0, ""], "", "wrong type: `x` must be integer, not string"),
        (INTEGER, [0], None, "wrong type: `x` must be integer, not null"),
        (NUMBER, [3.0], 3, None),
        (NUMBER, [3], 3.0, None),
        (NUMBER, [0.1], 0.1, None),
        (NUMBER, [0.1], 0.10001, "wrong value: `x` is 0.10001 instead of 0.1"),
        (NUMBER, [1.0], True, "wrong type: `x` must be number, not boolean"),
        (NUMBER, [1.0], "1.0", "wrong type: `x` must be number, not string"),
        (BOOLEAN, [True], True, None),
        (BOOLEAN, [True], False, "wrong value: `x` is False instead of True"),
        (BOOLEAN, [True], 1, "wrong type: `x` must be boolean, not integer"),
        (BOOLEAN, [True], "true", "wrong type: `x` must be boolean, not string"),
        (STRING, ["April 1, 2024"], "april 1 2024", None),
        (STRING, ["km/h"], "KMH", None),
        (STRING, ["the 'best'"], 'The "best"', None),
        (STRING, ["x^2 * y_1"], "x2y1", None),
        (STRING, ["Paris"], "Paris!", "wrong value: `x` is 'Paris!' instead of 'Paris'"),
        (STRING, ["Paris"], "", "wrong value: `x` is '' instead of 'Paris'"),
        (STRING, ["Paris", ""], "", None),
        (STRING, ["-"], "*", "wrong value: `x` is '*' instead of '-'"),
        (STRING, ["-", ""], "*", "wrong value: `x` is '*' instead of '-' or nothing"),
        (STRING, ["7"], 7, "wrong type: `x` must be string, not integer"),
        (STRING, ["7"], ["7"], "wrong type: `x` must be string, not array"),
        (STRING, ["\u00e9"], "\ud800", "wrong value: `x` is '\\ud800' instead of '\u00e9'"),
        (UNIT, ["celsius"], "Celsius", None),
        (UNIT, ["celsius"], "fahrenheit", "wrong value: `x` is 'fahrenheit' instead of 'celsius'"),
        (UNIT, ["celsius"], "kelvin", "wrong value: `x` is 'kelvin', which is not 'celsius' or 'fahrenheit'"),
        (NUMBERS, [[1.0, 2.5]], [1, 2.5], None),
        (NUMBERS, [[1, 2]], [2, 1], "wrong value: `x[0]` is 2 instead of 1"),
        (NUMBERS, [[1, 2], [2, 1]], [2, 1], None),
        (NUMBERS, [[1, 2]], [1], "wrong value: `x` is [1] instead of [1, 2]"),
        (NUMBERS, [[1, 2]], [1, "2"], "wrong type: `x[1]` must be number, not string"),
        (NUMBERS, [[1, 2]], [1, True], "wrong type: `x[1]` must be number, not boolean"),
        (NUMBERS, [[1, 2]], "[1, 2]", "wrong type: `x` must be array, not string"),
        (NUMBERS, [[1, 2], ""], [], None),
        (NUMBERS, [[1, 2]], [], "wrong value: `x` is [] instead of [1, 2]"),
        (STRINGS, [["New York", "L.A."]], ["new york", "LA"], None),
        ({"type": "array", "items": NUMBERS}, [[[1], [2, 3]]], [[1], [2, 3]], None),
        ({"type": "array", "items": NUMBERS}, [[[1], [2, 3]]], [[1], [2, 4]], "wrong value: `x[1][1]` is 4 instead of 3"),
        (PERSON, [ADA], {"name": "ada l", "age": 36}, None),
        (PERSON, [ADA], {"name": "Ada"}, None),
        (PERSON, [ADA], {"age": 36}, "missing argument: `x.name`"),
        (PERSON, [ADA], {"name": "Ada", "sex": "f"}, "unexpected argument: `x.sex`"),
        (PERSON, [ADA], {"name": "Ada", "age": 36.0}, "wrong type: `x.age` must be integer, not number"),
        (PERSON, [ADA], {"name": "Ada", "age": 37}, "wrong value: `x.age` is 37 instead of 36 or nothing"),
        (PERSON, [ADA], [ADA], "wrong type: `x` must be object, not array"),
        (PERSON, [ADA, {"name": ["Bob"]}], {"name": "Bob"}, None),
        (PERSON, [ADA, {"name": ["Bob"]}], {"name": "Eve"}, "wrong value: `x.name` is 'Eve' instead of 'Ada' or 'Ada L.'"),
        (PERSON, [{"name": "Ada", "age": 36}], {"name": "Ada", "age": 36}, None),  # values that are not in lists
        (PERSON, [{"name": "Ada", "age": 36}], {"name": "Ada"}, "missing argument: `x.age`"),
        (
            PERSON,
            [{"name": ["Bob"]}, ADA],
            {"name": "Eve", "age": 36},
            "wrong value: `x.name` is 'Eve' instead of 'Ada' or 'Ada L.'",
        ),
        (PERSON, [{"name": ["Ada"], "born": [1815]}], {"name": "Ada", "born": 1815}, None),
        ({"type": "object"}, [{"a": [1], "b": [""]}], {"a": 1}, None),
        ({"type": "object"}, [{"a": [1]}], {"a": True}, "wrong value: `x.a` is True instead of 1"),
        (PEOPLE, [[ADA, {"name": ["Bob"]}]], [{"name": "Ada", "age": 36}, {"name": "Bob"}], None),
        (
            PEOPLE,
            [[ADA, {"name": ["Bob"]}]],
            [{"name": "Bob"}, {"name": "Ada"}],
            "wrong value: `x[0].name` is 'Bob' instead of 'Ada' or 'Ada L.'",
        ),
        (PEOPLE, [[ADA]], [{"name": "Ada", "age": "36"}], "wrong type: `x[0].age` must be integer, not string"),
        (TREE, [{"left": [ADA], "all": [[ADA], ""]}], {"left": {"name": "Ada"}, "all": [{"name": "Ada", "age": 36}]}, None),
        (TREE, [{"left": [ADA], "all": [[ADA], ""]}], {"left": {"name": "Ada"}}, None),
        (
            TREE,
            [{"left": [ADA], "all": [[ADA], ""]}],
            {"left": {"name": "A"}},
            "wrong value: `x.left.name` is 'A' instead of 'Ada' or 'Ada L.'",
        ),
        # Accepted by the data set, whatever the tool declares.
        (STRING, ["", True], True, None),
        (NUMBER, ["", None], None, None),
        ({"type": ["string", "null"]}, [None], None, None),
        ({"type": ["string", "null"]}, [None], 3, "wrong type: `x` must be string or null, not integer"),
        ({}, [3], 3.0, None),
        ({}, [3], "3", "wrong value: `x` is '3' instead of 3"),
    ],
)
def test_comparing_a_value(recipe, schema: dict[str, Any], accepted: list[Any], value: Any, mistake: str | None):
    call, find_mistake = recipe["calls"].Call("f", {"x": value}), recipe["compare"].find_mistake
    parameters = {"type": "object", "properties": {"x": schema}, "required": ["x"]}
    tools = [{"type": "function", "function": {"name": "f", "parameters": parameters}}]
    found = find_mistake([call], tools, [{"f": {"x": accepted}}])
    assert (found and str(found)) == mistake
    assert found is None or found.kind in recipe["mistakes"].KINDS
    any_value = [{"type": "function", "function": {"name": "f", "parameters": {"properties": {"x": {}}}}}]
    assert find_mistake([call], any_value, [call]) is None


TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "set_timer",
            "description": "Sets a timer.",
            "parameters": {
                "type": "object",
                "properties": {"seconds": INTEGER, "label": STRING, "people": PEOPLE, "options": {"type": "object"}},
                "required": ["seconds"],
            },
        },
    },
    {"type": "function", "function": {"name": "clock.now", "description": "Tells the time."}},
]
SET = ("set_timer", {"seconds": 90})
NOW = ("clock.now", {})
ONE_OR_TWO = [{"set_timer": {"seconds": [1, 2]}}, {"set_timer": {"seconds": [1]}}]


@pytest.mark.parametrize(
    ("calls", "answers", "mistake"),
    [
        ([], [], None),
        (None, [], "malformed call: not closed, or no name with an object of arguments"),
        ([SET], [], "wrong number of calls: 1 instead of 0"),
        ([], [{"clock.now": {}}], "wrong number of calls: 0 instead of 1"),
        ([NOW], [{"clock.now": {}}], None),
        ([NOW, NOW, NOW], [{"clock.now": {}}] * 2, "wrong number of calls: 3 instead of 2"),
        ([NOW, SET], [{"set_timer": {"seconds": [90]}}, {"clock.now": {}}], None),
        (
            [NOW, NOW],
            [{"set_timer": {"seconds": [90]}}, {"clock.now": {}}],
            "wrong function: `clock.now` instead of `set_timer`",
        ),
        ([("clock_now", {})], [{"clock.now": {}}], "unknown function: `clock_now`"),
        ([("a\n", {})], [{"clock.now": {}}], "unknown function: `a\\n`"),
        ([("set_timer", {})], [{"set_timer": {"seconds": [90]}}], "missing argument: `seconds`"),
        ([("set_timer", {})], [{"set_timer": {"seconds": [90, ""]}}], "missing argument: `seconds`"),
        ([SET], [{"set_timer": {"seconds": [90], "label": ["tea"]}}], "missing argument: `label`"),
        ([SET], [{"set_timer": {"seconds": [90], "label": ["tea", ""]}}], None),
        ([("set_timer", {"seconds": 90, "label": "tea"})], [{"set_timer": {"seconds": [90]}}], "unexpected argument: `label`"),
        (
            [("set_timer", {"seconds": 90, "hue": 1})],
            [{"set_timer": {"seconds": [90], "hue": [1]}}],
            "unexpected argument: `hue`",
        ),
        ([("clock.now", {"zone": "UTC"})], [{"clock.now": {"zone": ["UTC"]}}], "unexpected argument: `zone`"),
        # Any order; and an answer that fits several calls must not take the only one that fits another.
        ([("set_timer", {"seconds": 1}), ("set_timer", {"seconds": 2})], ONE_OR_TWO, None),
        ([("set_timer", {"seconds": 2}), ("set_timer", {"seconds": 1})], ONE_OR_TWO, None),
        ([("set_timer", {"seconds": 1}), ("set_timer", {"seconds": 1})], ONE_OR_TWO, None),
        (
            [("set_timer", {"seconds": 2}), ("set_timer", {"seconds": 2})],
            ONE_OR_TWO,
            "wrong value: `seconds` is 2 instead of 1",
        ),
        # The nearest mistake of the calls that are left.
        (
            [("set_timer", {"seconds": 9}), ("set_timer", {"seconds": "9"})],
            [{"clock.now": {}}, {"set_timer": {"seconds": [90]}}],
            "wrong value: `seconds` is 9 instead of 90",
        ),
        (
            [SET, ("set_timer", {"seconds": 9})],
            [{"clock.now": {}}, {"set_timer": {"seconds": [90]}}],
            "wrong function: `set_timer` instead of `clock.now`",
        ),
        (
            [("set_timer", {"seconds": 9}), NOW],
            [{"clock.now": {}}, {"set_timer": {"seconds": [90]}}],
            "wrong value: `seconds` is 9 instead of 90",
        ),
    ],
)
def test_comparing_calls(recipe, calls: Calls | None, answers: list[dict[str, Any]], mistake: str | None):
    made = None if calls is None else [recipe["calls"].Call(*call) for call in calls]
    found = recipe["compare"].find_mistake(made, TOOLS, answers)
    assert (found and str(found)) == mistake
    assert found is None or found.kind in recipe["mistakes"].KINDS


def test_calls_of_a_conversation_accept_these_calls_only(recipe):
    make, find_mistake = recipe["calls"].Call, recipe["compare"].find_mistake
    people = [{"name": "Ada", "age": 36}, {"name": "Bob"}]
    options = {"loud": True, "tags": ["a", "b"], "more": {"of": [{"it": [1, [2]]}], "none": None, "empty": {}, "no": []}}
    gold_call = make("set_timer", {"seconds": 90, "people": people, "options": options})
    answers = [gold_call, make("clock.now", {})]
    assert find_mistake([make("clock.now", {}), gold_call], TOOLS, answers) is None

    kinds = []
    for change in (
        {"label": "tea"},
        {"people": [*people, people[0]]},
        {"people": [{**people[0], "age": 35}, people[1]]},
        {"people": [people[0], {**people[1], "age": 36}]},
        {"options": {**options, "tags": ["b", "a"]}},
        {"options": {**options, "tags": "a"}},
        {"options": {**options, "more": {**options["more"], "of": [{"it": [1, [3]]}]}}},
        {"options": {**options, "more": {**options["more"], "no": {}}}},
        {"options": {key: value for key, value in options.items() if key != "more"}},
    ):
        wrong = make("set_timer", {**gold_call.arguments, **change})
        kinds.append(find_mistake([wrong], TOOLS, answers[:1]).kind)
    unexpected, missing, value = "unexpected argument", "missing argument", "wrong value"
    assert kinds == [unexpected, value, value, unexpected, value, value, value, value, missing]


# --- Loading BFCL ---------------------------------------------------------------------------------------------------------

ROW = {
    "id": "simple_python_0",
    "question": [[{"role": "user", "content": "Where?"}]],
    "function": [
        {
            "name": "geo.find",
            "description": "Finds.",
            "parameters": {
                "type": "dict",
                "properties": {
                    "type": {"type": "any", "description": "dict or float"},
                    "place": {"type": "tuple", "items": {"type": "float"}, "default": [0.5]},
                    "items": {"type": "array", "items": {"type": "dict", "properties": {"properties": {"type": "integer"}}}},
                },
                "required": ["type"],
            },
        }
    ],
}
ANSWER = {"id": "simple_python_0", "ground_truth": [{"geo.find": {"type": ["town"], "place": ["", [0.5, 1.0]]}}]}


def save(path: Path, *rows: dict[str, Any] | str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows))


@pytest.mark.parametrize("answers", ["BFCL_v4_simple_python_answers.json", "possible_answer/BFCL_v4_simple_python.json"])
def test_rows_of_bfcl_get_json_schemas(recipe, tmp_path: Path, answers: str):
    save(tmp_path / "BFCL_v4_simple_python.json", ROW, "")
    save(tmp_path / answers, ANSWER)
    save(tmp_path / "BFCL_v4_live_irrelevance.json", {**ROW, "id": "live_irrelevance_0-0-0"})
    save(tmp_path / "BFCL_v4_memory.json", "not for the AST check")
    properties = {
        "type": {"type": "string", "description": "dict or float"},
        "place": {"type": "array", "items": {"type": "number"}, "default": [0.5]},
        "items": {"type": "array", "items": {"type": "object", "properties": {"properties": {"type": "integer"}}}},
    }
    parameters = {"type": "object", "properties": properties, "required": ["type"]}
    row = {
        "where": f"{tmp_path}/BFCL_v4_simple_python.json, line 1",
        "messages": [{"role": "user", "content": "Where?"}],
        "tools": [{"type": "function", "function": {"name": "geo.find", "description": "Finds.", "parameters": parameters}}],
        "answers": ANSWER["ground_truth"],
    }
    other = {**row, "where": f"{tmp_path}/BFCL_v4_live_irrelevance.json, line 1", "answers": []}
    expected = {"simple_python": [row], "live_irrelevance": [other]}
    assert recipe["bfcl"].load_bfcl(str(tmp_path)) == expected


@needs_bfcl
def test_every_schema_of_bfcl_has_types_of_json_schema(recipe):
    def types(schema: dict[str, Any]) -> Iterator[str]:
        yield schema["type"]
        for parameter in schema.get("properties", {}).values():
            yield from types(parameter)
        if "items" in schema:
            yield from types(schema["items"])

    categories = recipe["bfcl"].load_bfcl(BFCL)
    assert {name: len(rows) for name, rows in categories.items()} == {"simple_python": 400, "parallel": 200, "irrelevance": 240}
    tools = [tool["function"] for rows in categories.values() for row in rows for tool in row["tools"]]
    found = {name for tool in tools for name in types(tool["parameters"])}
    assert found == {"object", "array", "string", "integer", "number", "boolean"}
    assert all(tool["parameters"]["type"] == "object" for tool in tools)
    assert sum("." in tool["name"] for tool in tools) > 100


@pytest.mark.parametrize(
    ("rows", "answers", "where", "what"),
    [
        ([ROW, "{"], [ANSWER], "BFCL_v4_simple_python.json, line 2", "not valid JSON"),
        (["", "3"], [ANSWER], "BFCL_v4_simple_python.json, line 2", "not a JSON object"),
        ([{"id": "a", "question": []}], [ANSWER], "BFCL_v4_simple_python.json, line 1", "no `function`"),
        ([ROW], [ANSWER, "]"], "BFCL_v4_simple_python_answers.json, line 2", "not valid JSON"),
        ([ROW], [{"id": "simple_python_0"}], "BFCL_v4_simple_python_answers.json, line 1", "no `ground_truth`"),
        (
            [ROW, {**ROW, "id": "simple_python_1"}],
            [ANSWER],
            "BFCL_v4_simple_python.json, line 2",
            "simple_python_1 has no answer",
        ),
        ([ROW], None, "BFCL_v4_simple_python.json, line 1", "simple_python_0 has no answer"),
        (None, [ANSWER], "", "has no file of BFCL"),
    ],
)
def test_a_broken_folder_is_one_line(recipe, tmp_path: Path, capsys, rows, answers, where: str, what: str):
    if rows is not None:
        save(tmp_path / "BFCL_v4_simple_python.json", *rows)
    if answers is not None:
        save(tmp_path / "BFCL_v4_simple_python_answers.json", *answers)
    with pytest.raises(SystemExit) as stopped:
        recipe["bfcl"].load_bfcl(tmp_path)
    assert stopped.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {tmp_path / where}")
    assert what in line


# --- Java, JavaScript, and the leaderboard --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("language", "schema", "text", "value"),
    [
        ("java", {"type": "integer"}, "-42", -42),
        ("java", {"type": "integer"}, "42L", "42L"),
        ("java", {"type": "long"}, "42L", 42),
        ("java", {"type": "long"}, "42", "42"),
        ("java", {"type": "float"}, "3.5f", 3.5),
        ("java", {"type": "double"}, "1e-3", 0.001),
        ("java", {"type": "boolean"}, "true", True),
        ("java", {"type": "boolean"}, "True", "True"),
        ("java", {"type": "String"}, '"a"', '"a"'),
        ("java", {"type": "any"}, "7", "7"),
        ("java", {"type": "Array", "items": {"type": "integer"}}, "new int[]{1, 2}", [1, 2]),
        ("java", {"type": "Array", "items": {"type": "String"}}, 'new String[] {"a, b", "c"}', ["a, b", "c"]),
        ("java", {"type": "Array", "items": {"type": "String"}}, "names", "names"),
        ("java", {"type": "ArrayList", "items": {"type": "long"}}, "new ArrayList<>(Arrays.asList(1L, 2L))", [1, 2]),
        (
            "java",
            {"type": "ArrayList", "items": {"type": "any"}},
            'new ArrayList<>(Arrays.asList("a", 1, true))',
            ["a", 1, True],
        ),
        (
            "java",
            {"type": "ArrayList", "items": {"type": "String"}},
            'new ArrayList<String>() {{ add("a"); add("b"); }}',
            ["a", "b"],
        ),
        ("java", {"type": "ArrayList", "items": {"type": "String"}}, "new ArrayList<>()", []),
        ("java", {"type": "HashMap"}, 'new HashMap<String, Object>() {{ put("a", 1); put("b", "c"); }}', {"a": 1, "b": "c"}),
        ("java", {"type": "HashMap"}, "new HashMap<>()", {}),
        ("java", {"type": "HashMap"}, "System.exit(1)", "System.exit(1)"),
        ("javascript", {"type": "String"}, "'a'", "a"),
        ("javascript", {"type": "String"}, "a", "a"),
        ("javascript", {"type": "float"}, "3.5", 3.5),
        ("javascript", {"type": "Bigint"}, "12n", 12),
        ("javascript", {"type": "Boolean"}, "false", False),
        ("javascript", {"type": "array", "items": {"type": "String"}}, "['a', \"b\"]", ["a", "b"]),
        ("javascript", {"type": "array", "items": {"type": "integer"}}, "new Array(1, 2)", [1, 2]),
        ("javascript", {"type": "array", "items": {"type": "String"}}, "myList", "myList"),
        ("javascript", {"type": "dict"}, "{a: 1, 'b': [true, {c: 'd'}]}", {"a": 1, "b": [True, {"c": "d"}]}),
        ("javascript", {"type": "any"}, "(x) => x", "(x) => x"),
    ],
)
def test_literals_of_other_languages(recipe, language: str, schema: dict[str, Any], text: str, value: Any):
    found = recipe["code_values"].read_literal(text, schema, language)
    assert (type(found), found) == (type(value), value)


JAVA = {
    "id": "simple_java_0",
    "question": [[{"role": "user", "content": "Filter."}]],
    "function": [
        {
            "name": "Table.filter",
            "description": "Filters.",
            "parameters": {
                "type": "dict",
                "properties": {
                    "names": {"type": "Array", "items": {"type": "String"}, "description": "Names."},
                    "limit": {"type": "long", "description": "Limit."},
                },
                "required": ["names", "limit"],
            },
        }
    ],
}
JAVA_ANSWER = {"id": "simple_java_0", "ground_truth": [{"Table.filter": {"names": [["a", "b"]], "limit": [5]}}]}


def test_java_is_asked_for_as_texts_and_checked_as_values(recipe, tmp_path: Path):
    save(tmp_path / "BFCL_v4_simple_java.json", JAVA)
    save(tmp_path / "BFCL_v4_simple_java_answers.json", JAVA_ANSWER)
    (row,) = recipe["bfcl"].load_bfcl(tmp_path)["simple_java"]
    shown = row["tools"][0]["function"]["parameters"]["properties"]
    assert {name: parameter["type"] for name, parameter in shown.items()} == {"names": "string", "limit": "string"}
    assert shown["names"]["description"] == "Names. Written as a text in java's syntax; its type is Array of String."
    for arguments, kind in (
        ({"names": 'new String[]{"a", "b"}', "limit": "5L"}, None),
        ({"names": 'new String[]{"a", "b"}', "limit": "5"}, "wrong type"),
        ({"names": 'new String[]{"a", "c"}', "limit": "5L"}, "wrong value"),
        ({"names": ["a", "b"], "limit": "5L"}, "wrong type"),
        ({"names": 'new String[]{"a", "b"}', "limit": 5}, "wrong type"),
    ):
        assert kind_of(recipe, write([("Table.filter", arguments)]), row) == kind, arguments


def test_any_call_is_relevant(recipe, tmp_path: Path):
    save(tmp_path / "BFCL_v4_live_relevance.json", ROW, ROW, ROW, ROW)
    rows = recipe["bfcl"].load_bfcl(tmp_path)["live_relevance"]
    metrics, verdicts = recipe["metrics"].score(rows, [write([("other", {})]), "No.", "<tool_call>{", write([NOW, SET])])
    assert [verdict["correct"] for verdict in verdicts] == [True, False, False, True]
    assert metrics["relevance"]["value"] == 0.5
    assert list(metrics) == ["relevance"]


def test_the_leaderboard_s_means(recipe):
    """Worked out by hand from the leaderboard's own formulas."""

    def result(right: int, count: int, metric: str = "exact_call") -> dict[str, Any]:
        return {"metrics": {metric: {"value": right / count, "low": right / count, "high": right / count}}, "count": count}

    results = {
        "simple_python": result(200, 400),  # 1/2
        "simple_java": result(25, 100),  # 1/4
        "simple_javascript": result(0, 50),  # 0: together 1/4
        "multiple": result(150, 200),  # 3/4
        "parallel": result(100, 200),  # 1/2
        "parallel_multiple": result(50, 200),  # 1/4
        "live_simple": result(129, 258),
        "live_multiple": result(351, 1053),
        "live_parallel": result(4, 16),
        "live_parallel_multiple": result(24, 24),
        "irrelevance": result(240, 240, "irrelevance"),
        "live_irrelevance": result(221, 884, "irrelevance"),
        "live_relevance": result(12, 16, "relevance"),
    }
    means, missing = recipe["leaderboard"].leaderboard(results)
    assert missing == []
    assert {name: round(mean["value"], 6) for name, mean in means.items()} == {
        "non_live_ast_acc": round((1 / 4 + 3 / 4 + 1 / 2 + 1 / 4) / 4, 6),
        "live_acc": round((129 + 351 + 4 + 24) / (258 + 1053 + 16 + 24), 6),
        "relevance_detection": 0.75,
        "irrelevance_detection": (1 + 1 / 4) / 2,
    }
    del results["simple_java"], results["live_relevance"]
    means, missing = recipe["leaderboard"].leaderboard(results)
    assert list(means) == ["live_acc", "irrelevance_detection"]
    assert missing == [
        "No non_live_ast_acc: it needs simple_java, too.",
        "No relevance_detection: it needs live_relevance, too.",
    ]


@needs_bfcl
def test_a_whole_category_is_asked(tmp_path: Path):
    with recipe_modules("trl_function_calling", ["data", "arguments"]) as modules:
        settings = modules["arguments"].CallingArguments(dataset_name=str(BFCL), num_held_out=4)
        train, validation, held_out = modules["data"].load_data(settings, seed=0)
    assert (train, validation) == ([], [])
    assert {name: len(rows) for name, rows in held_out.items()} == {"simple_python": 400, "parallel": 200, "irrelevance": 240}
