"""Each form of a conversation: what is read of its rows."""

import json
from math import nan

from common.data.formats import recognise
from common.errors import BadRow

import pytest
from conversation_rows import ASK, CALL, CALLED, TOOL, WEATHER, messages_of, said


def test_anthropics_parts_stand_beside_the_text():
    text, result = {"type": "text", "text": "I look."}, {"type": "tool_result", "tool_use_id": "1", "content": "Rain."}
    thought = {"type": "thinking", "thinking": "Oslo?", "signature": "a"}
    call = {"type": "tool_use", "id": "1", **CALL["function"]}
    call["input"] = call.pop("arguments")
    turns = [ASK, {"role": "assistant", "content": [thought, text, call]}, {"role": "user", "content": [result, text]}]
    turns += [{"role": "assistant", "content": [text]}]
    looks = {"role": "assistant", "content": "I look."}
    assert messages_of({"messages": turns, "tools": [{"name": "get_weather", "input_schema": WEATHER}]}) == [
        ASK,
        looks | {"reasoning_content": "Oslo?", "tool_calls": [CALL | {"id": "1"}]},
        {"role": "tool", "content": "Rain.", "tool_call_id": "1"},
        {"role": "user", "content": "I look."},
        looks,
    ]


@pytest.mark.parametrize(
    "row",
    [
        pytest.param({"messages": [ASK, {"role": "assistant", "content": None, "tool_calls": [CALL]}]}, id="no content"),
        pytest.param(
            {"messages": [ASK, {"role": "assistant", "function_call": CALL["function"] | {"arguments": '{"city": "Oslo"}'}}]},
            id="function_call",
        ),
        pytest.param(
            {"messages": [ASK, {"role": "assistant", "tool_calls": [CALL["function"]]}]}, id="a call without its function"
        ),
        pytest.param(
            {
                "conversations": [
                    {"from": "human", "value": ASK["content"]},
                    {"from": "function_call", "value": json.dumps(CALL)},
                ]
            },
            id="a turn of its own",
        ),
        pytest.param(
            {"conversations": [ASK, {"role": "assistant", "content": f"<tool_call>{CALL['function']}</tool_call>"}]},
            id="Hermes, as Python writes it",
        ),
        pytest.param(
            {
                "conversations": [
                    {"from": "human", "value": ASK["content"]},
                    {"from": "gpt", "value": f"<tool_call>\n{json.dumps(CALL['function'])}"},
                ]
            },
            id="Hermes, not closed",
        ),
        pytest.param(
            {
                "messages": [
                    ASK,
                    {
                        "role": "assistant",
                        "content": '<functioncall> {"name": "get_weather", "arguments": \'{"city": "Oslo"}\'} <|endoftext|>',
                    },
                ]
            },
            id="Glaive",
        ),
        pytest.param({"messages": [ASK, {"role": "assistant", "content": "[get_weather(city='Oslo')]"}]}, id="ToolACE"),
        pytest.param({"query": ASK["content"], "answers": json.dumps([CALL["function"]])}, id="xLAM"),
        pytest.param({"messages": [ASK, {"role": "assistant", "content": json.dumps(CALL["function"])}]}, id="JSON alone"),
        pytest.param(
            {"messages": [ASK, {"role": "assistant", "content": f"[TOOL_CALLS] [{json.dumps(CALL['function'])}]</s>"}]},
            id="Mistral",
        ),
        pytest.param(
            {
                "messages": [
                    ASK,
                    {
                        "role": "assistant",
                        "content": '<|python_tag|>{"type": "function", "name": "get_weather", "parameters": {"city": "Oslo"}}',
                    },
                ]
            },
            id="Llama",
        ),
        pytest.param(
            {"messages": [ASK, {"role": "assistant", "tool_calls": [{"name": "get_weather", "args": {"city": "Oslo"}}]}]},
            id="LangChain",
        ),
        pytest.param({"prompt": [ASK], "completion": [{"role": "assistant", "tool_calls": [CALL]}]}, id="TRL"),
    ],
)
def test_calls_in_every_form(row: dict):
    assert messages_of(row | {"tools": [TOOL]}) == CALLED
    assert messages_of(row | {"tools": json.dumps(TOOL["function"])}) == CALLED  # a single tool, flat, as text


@pytest.mark.parametrize(
    ("row", "turns"),
    [
        ({"Instruction": "Name it.", "input": "Norway", "OUTPUT": "Oslo"}, ["Name it.\nNorway", "Oslo"]),
        ({"instruction": "Name it.", "input": "", "output": "Oslo", "history": []}, ["Name it.", "Oslo"]),
        (
            {"instruction": "Sum up.", "context": "Long.", "response": "Short.", "category": "sums"},
            ["Sum up.\nLong.", "Short."],
        ),
        ({"instruction": "C?", "output": "D", "history": [["A?", "B"]]}, ["A?", "B", "C?", "D"]),
        ({"query": "C?", "response": "D", "history": '[["A?", "B"]]'}, ["A?", "B", "C?", "D"]),
        ({"input": "A?", "output": "B"}, ["A?", "B"]),
        ({"instruction": "A?", "input": nan, "output": "B", "system": nan, "history": nan, "tools": nan}, ["A?", "B"]),
        ({"Prompt ": "A?", "Completion": "B"}, ["A?", "B"]),
        ({"problem": "A?", "solution": 1.5}, ["A?", "1.5"]),
        ({"question": "A?", "answer": True}, ["A?", "true"]),
        ({"conversation": [{"human": "A?", "assistant": "B"}, {"human": "C?", "assistant": "D"}]}, ["A?", "B", "C?", "D"]),
        ({"question": "A?", "answer": 10**30}, ["A?", str(10**30)]),
        ({"prompt": [{"role": "user", "content": "A?"}], "reward_model": {"ground_truth": "3", "style": "rule"}}, ["A?", "3"]),
        ({"Body": "2 and 3.", "Question": "A?", "Answer": "5"}, ["A?\n2 and 3.", "5"]),
        ({"question": "A? (A) 1 (B) 2", "choices": ["1", "2"], "answer": "B"}, ["A? (A) 1 (B) 2", "B"]),
        ({"question": "A?", "options": {"A": "Oslo", "B": "Rome"}, "answer": "Oslo"}, ["A?", "Oslo"]),
        ({"question": "A?", "options": [], "answer": 2}, ["A?", "2"]),
        ({"question": "A?", "options": ["A) 2", "B) $3$"], "answer": 2}, ["A?", "2"]),
        ({"question": "A?", "options": ["A) 2 cm", "B) 7 cm"], "answer": 7}, ["A?", "7"]),
        (
            {"messages": [{"role": "user", "content": ["A", "?"]}, {"role": "model", "content": "B"}], "prompt": "A?"},
            ["A?", "B"],
        ),
    ],
)
def test_questions_and_answers_under_any_usual_heading(row: dict, turns: list[str]):
    assert [text for _, text in said(row)] == turns
    assert [role for role, _ in said(row)] == ["user", "assistant"] * (len(turns) // 2)


def test_thoughts_under_any_usual_name():
    for row in (
        {"question": "A?", "reasoning": "Hm.", "answer": "B"},
        {"messages": [ASK, {"role": "assistant", "content": "B", "thinking": "Hm."}]},
        {"messages": [ASK, {"role": "assistant", "content": "B", "reasoning": "Hm."}]},
    ):
        last = messages_of(row)[-1]
        assert [last["content"], last.get("thinking") or last["reasoning_content"]] == ["B", "Hm."]
    switched = {"input": [ASK], "output": "<think>Hm.</think>B", "reasoning": "on"}  # Nemotron's
    assert messages_of(switched) == [ASK, {"role": "assistant", "content": "<think>Hm.</think>B"}]
    call = f"<tool_call>{json.dumps(CALL['function'])}</tool_call>"
    thought = "<think>I write a <tool_call> now.</think>"
    last = messages_of({"tools": [TOOL], "messages": [ASK, {"role": "assistant", "content": f"{thought}\n{call}"}]})[-1]
    assert last == {"role": "assistant", "content": thought, "tool_calls": [CALL]}


@pytest.mark.parametrize("mark", [{"weight": 0}, {"train": False}, {"training": False}, {"loss": False}], ids=str)
def test_turns_that_are_only_shown(mark: dict):
    turns = [ASK, {"role": "assistant", "content": "A"} | mark, ASK, {"role": "assistant", "content": "B", "loss": 0.1}]
    assert [message.get("weight") for message in messages_of({"messages": turns})] == [None, 0, None, None]


def test_a_system_prompt_of_its_own():
    for row in (
        {"system": "Be brief.", "question": "A?", "answer": "B"},
        {"system": "Be brief.", "conversations": [{"from": "human", "value": "A?"}, {"from": "gpt", "value": "B"}]},
        {
            "messages": [
                {"role": "developer", "content": "Be brief."},
                {"role": "user", "content": "A?"},
                {"role": "AI", "content": "B"},
            ]
        },
    ):
        assert said(row) == [("system", "Be brief."), ("user", "A?"), ("assistant", "B")]


def test_tools_described_in_the_system_message():
    """They are taken out of it, whoever describes them how: the chat template writes its own description. The rest stays."""
    flat = json.dumps(TOOL["function"])
    for text, rest in (
        (f"You may call.\n<tools>\n{flat}\n</tools>\nUse <tool_call>.", "You may call.\nUse <tool_call>."),
        (f"Use <tools></tools> tags.\n<tools>[{json.dumps(TOOL)}]</tools>", "Use <tools></tools> tags."),
        (f"Here are functions: [{flat}]. Be brief.", "Here are functions: . Be brief."),
        (f"Functions -\n{flat}\n{flat.replace('get_weather', 'now')}", "Functions -"),
    ):
        turns = [{"role": "system", "content": text}, ASK, {"role": "assistant", "content": "[get_weather(city='Oslo')]"}]
        conversation = recognise({"messages": turns}).conversation
        assert conversation["tools"][0] == TOOL
        assert conversation["messages"] == [{"role": "system", "content": rest}, *CALLED]
    plain = [{"role": "system", "content": 'Write JSON like {"name": "Ann"}.'}, ASK, {"role": "assistant", "content": "Yes."}]
    assert recognise({"messages": plain}).conversation == {"messages": plain}


def test_a_conversation_in_one_text():
    """Glaive's: also with a tool, and results between."""
    chat = (
        "USER: Weather in Oslo?\n\n\nASSISTANT: <functioncall> "
        '{"name": "get_weather", "arguments": \'{"city": "Oslo"}\'} <|endoftext|>\n\n\n'
        'FUNCTION RESPONSE: {"sky": "clear"}\n\n\nASSISTANT: It\'s clear. <|endoftext|>\n\n\n'
    )
    system = f"SYSTEM: You have functions -\n{json.dumps(TOOL['function'], indent=4)}\n"
    end = [{"role": "tool", "content": '{"sky": "clear"}'}, {"role": "assistant", "content": "It's clear."}]
    found = recognise({"system": system, "chat": chat}).conversation
    assert found == {"messages": [{"role": "system", "content": "You have functions -"}, *CALLED, *end], "tools": [TOOL]}
    assert recognise({"sample": system + chat}).conversation == found


def test_calls_as_python_writes_them():
    tools = [{"name": name, "parameters": {"type": "dict", "properties": {}}} for name in ("Get It", "a.b")]

    def calls(text: str) -> list[dict]:
        message = recognise({"tools": tools, "messages": [ASK, {"role": "assistant", "content": text}]}).conversation[
            "messages"
        ][1]
        return [call["function"] for call in message.get("tool_calls", [])] or message["content"]

    assert calls("[Get It(from=\"a, (b)\", n=-1.5), a.b(x=[1, {'y': None}], z=true)]") == [
        {"name": "Get It", "arguments": {"from": "a, (b)", "n": -1.5}},
        {"name": "a.b", "arguments": {"x": [1, {"y": None}], "z": True}},
    ]
    assert calls("[a.b()]") == [{"name": "a.b", "arguments": {}}]
    for text in ("[sorted(x=1)]", "[1, 2]", "See [a.b(x=1)].", "[]"):  # an answer, and no call
        assert calls(text) == text
    for text in ("[a.b(x=1]", "[a.b(x=1)] Done.", "[a.b('y')]", "[a.b(x=f())]", "[a.b(x=__import__('os'))]"):
        with pytest.raises(BadRow, match=r"message 2: "):
            calls(text)


def test_json_that_is_no_call():
    for text in ('{"name": "Ann", "arguments": {}}', '{"name": "get_weather"}', f"{json.dumps(CALL['function'])} I call."):
        row = {"tools": [TOOL], "messages": [ASK, {"role": "assistant", "content": text}]}
        assert messages_of(row)[1] == {"role": "assistant", "content": text}


def test_schemas_of_others_become_json_schemas():
    xlam = {"city": {"type": "str", "description": "Name"}, "days": {"type": "List[int], optional", "default": ""}}
    row = {"query": "?", "answers": [], "tools": json.dumps([{"name": "f", "parameters": xlam}, {"name": "now"}])}
    tools = recognise(row | {"answers": [{"name": "now"}]}).conversation["tools"]
    assert [tool["function"]["parameters"] for tool in tools] == [
        {
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "Name"},
                "days": {"type": "array", "default": "", "items": {"type": "integer"}},
            },
            "required": ["city"],
        },
        {"type": "object", "properties": {}},
    ]
    nested = {
        "type": "dict",
        "properties": {"a": {"type": "dict", "properties": {"b": {"type": "float"}}}, "c": {"type": "any"}},
    }
    (tool,) = recognise({"messages": CALLED, "tools": [{"name": "get_weather", "parameters": nested}]}).conversation["tools"]
    assert tool["function"]["parameters"] == {
        "type": "object",
        "properties": {"a": {"type": "object", "properties": {"b": {"type": "number"}}}, "c": {}},
    }
