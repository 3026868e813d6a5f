"""Calls in completions of other models: read, malformed, none, or hostile."""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from conftest import recipe_modules
from function_calls import ASKED, TOOL, calling, made


@pytest.fixture(scope="module")
def recipe():
    with recipe_modules("trl_function_calling", ["calls", "forms", "metrics", "evaluate", "arguments"]) as modules:
        yield modules


OSLO = '{"city": "Oslo"}'
READ = [
    f'<tool_call>\n{{"name": "f", "arguments": {OSLO}}}\n</tool_call>',
    f'Let me see.\n<tool_call>{{"name": "f", "arguments": {OSLO}}}</tool_call><|im_end|>',
    "<tool_call>\n<function=f>\n<parameter=city>\nOslo\n</parameter>\n</function>\n</tool_call>",
    "Hm.</think>\n\n<tool_call>\n<function=f>\n<parameter=city>\nOslo\n</parameter>\n</function>\n</tool_call><|im_end|>",
    "\n<think></think>\n<tool_call>f\n<arg_key>city</arg_key>\n<arg_value>Oslo</arg_value>\n</tool_call><|observation|>",
    f'{{"name": "f", "parameters": {OSLO}}}',
    f'{{"name": "f", "parameters": {OSLO}}}<|eot_id|>',
    f'<|python_tag|>{{"type": "function", "name": "f", "parameters": {OSLO}}}<|eom_id|>',
    f" to=functions.f<|channel|>commentary json<|message|>{OSLO}<|call|>",
    "<|channel|>analysis<|message|>I call to=functions.g<|end|><|start|>assistant"
    f"<|channel|>commentary to=functions.f <|constrain|>json<|message|>{OSLO}<|call|>",
    '<|tool_call>call:f{city:<|"|>Oslo<|"|>}<tool_call|><|tool_response>',
    f'[TOOL_CALLS] [{{"name": "f", "arguments": {OSLO}, "id": "abc123456"}}]</s>',
    f'[TOOL_CALLS][{{"name": "f", "arguments": {OSLO}}}]',
    f'[{{"name": "f", "arguments": {OSLO}}}]',  # without its special tokens
    f"[TOOL_CALLS]f[ARGS]{OSLO}</s>",
    f"[TOOL_CALLS]f[CALL_ID]abc123456[ARGS]{OSLO}",
    "<|tool_call_start|>[f(city='Oslo')]<|tool_call_end|><|im_end|>",
    f"<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>f\n```json\n{OSLO}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>",  # noqa: RUF001
    f"<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>f<｜tool▁sep｜>{OSLO}<｜tool▁call▁end｜><｜tool▁calls▁end｜>",  # noqa: RUF001
]
F = {
    "type": "function",
    "function": {"name": "f", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}


@pytest.mark.parametrize("completion", READ)
def test_calls_of_any_model_are_read(recipe, completion: str):
    calls = [recipe["calls"].Call("f", {"city": "Oslo"})]
    assert recipe["forms"].read_any(completion, [F]) == calls
    assert recipe["forms"].read_any(f"<think>I call {completion}</think>No.", [F]) == []


CUT: list[Callable[[str], str]] = [
    lambda text: text.replace(OSLO, '{"city": "Os').replace("Oslo</", "Os").replace("Oslo\n</parameter>", "Os"),
    lambda text: text.replace(OSLO, '{"city": "Oslo", "city": "Rome"}'),
    lambda text: text.replace(OSLO, '{"city": NaN}'),
]


@pytest.mark.parametrize("completion", READ)
def test_what_is_no_whole_call_is_malformed(recipe, completion: str):
    for change in CUT:
        if change(completion) != completion:
            assert recipe["forms"].read_any(change(completion), [F]) is None, change(completion)


@pytest.mark.parametrize(
    "text",
    ["", "No.", '{"name": "Oslo"}', '["Oslo"]', "[1, 2]", "a <function> of x", "a < b </s> c", '{"city": "Oslo"}', "call:f{}"],
)
def test_no_call(recipe, text: str):
    assert recipe["forms"].read_any(text, [F]) == []


def test_several_calls(recipe):
    rome = OSLO.replace("Oslo", "Rome")
    for completion in (
        f'{{"name": "f", "parameters": {OSLO}}}; {{"name": "f", "parameters": {rome}}}<|eot_id|>',
        f'[TOOL_CALLS][{{"name": "f", "arguments": {OSLO}}}, {{"name": "f", "arguments": {rome}}}]',
        f"[TOOL_CALLS]f[ARGS]{OSLO}[TOOL_CALLS]f[ARGS]{rome}</s>",
    ):
        found = recipe["forms"].read_any(completion, [F])
        assert [call.arguments["city"] for call in found] == ["Oslo", "Rome"], completion


def test_own_calls_are_exact_and_bfcl_s_are_not(recipe):
    """Case and punctuation count on one's own data; "" is a text, and no sign that an argument may be left out."""

    def verdict(row: dict[str, Any], **arguments: Any) -> bool:
        call = json.dumps({"name": "weather.get-it", "arguments": arguments})
        return recipe["metrics"].score([row], [f"<tool_call>{call}</tool_call>"])[1][0]["correct"]

    own, bfcl = calling(made(city="New York, U.S.")), {"messages": [ASKED], "tools": [TOOL]}
    bfcl["answers"] = [{"weather.get-it": {"city": ["New York, U.S."]}}]
    assert verdict(own, city="New York, U.S.")
    assert verdict(bfcl, city="new york US")
    assert not verdict(own, city="new york US")
    assert not verdict(own, city="New York, U.S. ")
    empty = calling(made(city="Oslo", tags=[""], more={"note": ""}))
    assert verdict(empty, city="Oslo", tags=[""], more={"note": ""})
    assert not verdict(empty, city="Oslo", tags=[""], more={})
    assert not verdict(empty, city="Oslo", tags=[[]], more={"note": []})


LONG = 20_000
HOSTILE = [
    "<tool_call>\n<function=f>\n<parameter=city>\nO" + " " * LONG + "x\n</parameter>\n</function>\n</tool_call>",
    "<tool_call>\n<function=f>\n" + "<parameter=city>\n" * LONG + "</function>\n</tool_call>",
    "<tool_call>f\n" + "<arg_key>a" * LONG + "</tool_call>",
    "<|tool_call>call:f{city:[" + '<|"|>a<|"|>,' * LONG + "1]}<tool_call|>",
    '{"name": "f", "parameters": {}}' * LONG,
    "to=functions." * LONG,
    "[TOOL_CALLS]" * LONG,
    "<|tool_call_start|>[f(a=" * LONG,
    '<atem:invoke name="f">' * LONG,
    "<|channel|>analysis<|message|>" * LONG,
    "</s>" + " " * LONG + "x",
]


def test_no_completion_takes_long(recipe):
    recipe["forms"].read_any(READ[2], [F])  # imports once
    for text in HOSTILE:
        start = time.thread_time()
        recipe["forms"].read_any(text, [F])
        assert time.thread_time() - start < 2, text[:60]
