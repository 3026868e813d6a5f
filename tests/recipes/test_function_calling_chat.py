"""A call is checked before it is run, in a chat with the demo's tools."""

import pytest
from conftest import recipe_modules
from function_calls import TIMER


@pytest.fixture(scope="module")
def recipe():
    with recipe_modules(
        "trl_function_calling",
        ["calls", "chat", "compare", "data", "forms", "metrics", "lesson.plain_chat", "lesson.synthetic", "tools"],
    ) as modules:
        yield modules


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (("set_alarm", {"seconds": 1}), "unknown function: `set_alarm`"),
        (("set_timer", {}), "missing argument: `seconds`"),
        (("set_timer", {"seconds": 1, "unit": "s"}), "unexpected argument: `unit`"),
        (("set_timer", {"seconds": "1"}), "wrong type: `seconds` must be integer, not string"),
        (("set_timer", {"seconds": True}), "wrong type: `seconds` must be integer, not boolean"),
    ],
)
def test_a_call_is_checked_before_it_is_run(recipe, call: tuple, line: str):
    assert str(recipe["compare"].schema_mistake(recipe["calls"].Call(*call), [TIMER])) == line


@pytest.mark.parametrize(
    ("written", "printed", "said"),
    [
        (
            ['<tool_call>{"name": "set_timer", "arguments": {"seconds": 9}}</tool_call>', "Done."],
            'set_timer: {"status": "started"}\n',
            ["assistant", "tool", "assistant"],
        ),
        (
            ['<tool_call>{"name": "set_timer", "arguments": {"seconds": "__import__(\'os\')"}}</tool_call>'],
            "(wrong type: `seconds` must be integer, not string: nothing is run)\n",
            ["assistant"],
        ),
        (["<tool_call>set_timer(seconds=9)</tool_call>"], "(not a valid call: nothing is run)\n", ["assistant"]),
        (["For how long?"], "", ["assistant"]),
    ],
)
def test_chat_runs_valid_calls_only(recipe, monkeypatch, capsys, written: list[str], printed: str, said: list[str]):
    texts = iter(written)
    monkeypatch.setattr(recipe["chat"], "answer", lambda *arguments: next(texts))
    messages = [{"role": "user", "content": "Tea."}]
    recipe["chat"].reply(None, None, messages, [recipe["tools"].schema(recipe["tools"].set_timer)])
    assert capsys.readouterr().out == printed
    assert [message["role"] for message in messages[1:]] == said
    assert next(texts, None) is None
