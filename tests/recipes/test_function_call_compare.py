"""What counts as a right tool call, rule by rule."""

from typing import Any

import pytest
from conftest import recipe_modules
from function_calls import Calls


@pytest.fixture(scope="module")
def recipe():
    names = ["calls", "forms", "mistakes", "compare", "code_values", "bfcl", "leaderboard", "metrics"]
    with recipe_modules("trl_function_calling", names) as modules:
        yield modules


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
