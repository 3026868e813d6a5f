"""Calls are read in the form of the model's own chat template: all that TRL ships, and completions of other models."""

import json
import time
from collections.abc import Callable
from importlib.resources import files
from types import SimpleNamespace
from typing import Any

from common.data.tokens import use_training_template
from common.errors import BadRow
from common.models.load import load_tokenizer

import pytest
from conftest import ROOT, recipe_modules
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast
from trl import ModelConfig


@pytest.fixture(scope="module")
def recipe():
    with recipe_modules("trl_function_calling", ["calls", "forms", "metrics", "evaluate", "arguments"]) as modules:
        yield modules


PROPERTIES = {
    "city": {"type": "string"},
    "days": {"type": "integer"},
    "tags": {"type": "array", "items": {"type": "string"}},
    "indoors": {"type": "boolean"},
    "more": {"type": "object"},
}
TOOL = {
    "type": "function",
    "function": {
        "name": "weather.get-it",
        "description": "Get the forecast.",
        "parameters": {"type": "object", "properties": PROPERTIES, "required": ["city"]},
    },
}
ASKED = {"role": "user", "content": "Rain?"}


def made(**arguments: Any) -> dict[str, Any]:
    return {"type": "function", "id": "call00001", "function": {"name": "weather.get-it", "arguments": arguments}}


def calling(*calls: dict[str, Any]) -> dict[str, Any]:
    """Returns a row in which these are the right calls."""
    return {"messages": [ASKED, {"role": "assistant", "content": "", "tool_calls": list(calls)}], "tools": [TOOL]}


def saying(text: str) -> dict[str, Any]:
    return {"messages": [ASKED, {"role": "assistant", "content": text}], "tools": [TOOL]}


def tokenizer_with(template: str) -> PreTrainedTokenizerFast:
    """Returns a tokenizer that renders a chat template of TRL's; no token is made."""
    text = (files("trl") / "chat_templates" / f"{template}.jinja").read_text(encoding="utf-8")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE()), chat_template=text, eos_token="</s>")
    tokenizer.bos_token = "<s>"
    return tokenizer


# --- The templates of TRL -------------------------------------------------------------------------------------------------

ONE = [made(city="Oslo", days=2, tags=["a", "75001"], indoors=False, more={"k": [1, "2", {"a": True}]})]
TWO = [made(city="Oslo"), made(city="Rome", days=0)]
# A text that looks like a number stays one, whatever the form: only the tool's schema can tell.
DIGITS = [made(city="75001", tags=["1"])]
QUOTED = [made(city='O\'s "x" {y}, </s> & more')]
FAMILIES = {
    "Qwen and Hermes": ["qwen2_5", "qwen3", "qwen3_instruct_2507", "qwen3_vl"],
    "Qwen 3.5 and Nemotron 3": [
        *("qwen3_5_nothink", "qwen3_5_think", "qwen3_6", "qwen3_8", "nemotron_3_nano", "nemotron_3_super"),
        *("nemotron_3_ultra", "nemotron_3_5_lightning"),
    ],
    "GLM": ["glm4moe"],
    "Gemma 4": ["gemma4", "gemma4_v2", "gemma4_v3", "gemma4_v4", "gemma4_v5", "diffusion_gemma"],
    "gpt-oss": ["gptoss"],
    "Llama 3": ["llama3_1", "llama3_2"],
    "LFM2": ["lfm2_v2", "lfm2_2_5", "lfm2_2_5_v2", "lfm2_2_5_vl"],
    "Muse": ["muse_glimmer"],
}
SHOWN = [(family, template) for family, templates in FAMILIES.items() for template in templates]
SINGLE = ("gpt-oss", "Llama 3")  # their templates write one call a turn
UNQUOTED = ("lfm2_2_5", "lfm2_2_5_v2")  # these write a quote in a text as it is, so nobody can read it back
NO_CALLS = ["cohere", "cohere2", "gemma", "gemma3", "lfm2", "llama3", "phi3", "phi3_5", "qwen2_5_vl", "deepseek_r1_distill"]


@pytest.mark.parametrize(("family", "template"), SHOWN)
@pytest.mark.parametrize("is_trained", [False, True])
def test_a_right_turn_survives_the_chat_template(recipe, family: str, template: str, is_trained: bool):
    tokenizer = tokenizer_with(template)
    if is_trained:
        use_training_template(tokenizer)
    form, check = recipe["forms"].form_of(tokenizer), recipe["metrics"].check_survives
    assert form.name == family
    rows = [calling(*ONE), calling(*DIGITS), saying("It will rain."), saying("<think>\nHm.\n</think>\n\nRain.")]
    rows += [calling(*TWO)] if family not in SINGLE else []
    rows += [calling(*QUOTED)] if template not in UNQUOTED else []
    for row in rows:
        written = check(row, tokenizer, form)
        # A model that writes something else is wrong.
        for wrong in (written.replace("Oslo", "Rome").replace("75001", "75002").replace("rain", "snow"), ""):
            _, (verdict,) = recipe["metrics"].score([row], [wrong], form)
            assert verdict["correct"] == (wrong == written), (row, wrong)


@pytest.mark.parametrize(("family", "template"), SHOWN)
def test_what_a_template_loses_is_a_refused_row(recipe, family: str, template: str):
    tokenizer = tokenizer_with(template)
    form, check = recipe["forms"].form_of(tokenizer), recipe["metrics"].check_survives
    untyped = {"function": {"name": "weather.get-it", "parameters": {"type": "object", "properties": {"city": {}}}}}
    lost = []
    if family in SINGLE:
        lost.append(calling(*TWO))
    if template in UNQUOTED:
        lost.append(calling(*QUOTED))
    if family in ("GLM", "Qwen 3.5 and Nemotron 3", "Muse"):  # 5 and "5" are written alike, and the tool does not say which
        lost.append(calling(made(city=5)) | {"tools": [untyped]})
    for row in lost:
        with pytest.raises(BadRow, match=r"^message 2: read back .*would score 0; declare the types|cannot write it"):
            check(row, tokenizer, form)


@pytest.mark.parametrize("template", NO_CALLS)
def test_a_template_without_calls_is_refused_before_a_model_loads(recipe, capsys, template: str):
    with pytest.raises(SystemExit) as ended:
        recipe["evaluate"].check_form(tokenizer_with(template), "some/model")
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: model_name_or_path some/model: the chat template writes a call as ")
    assert "; take the instruct version of another model, or give" in line


def test_a_gold_turn_of_the_training_data_is_tried(recipe, capsys):
    tokenizer = tokenizer_with("qwen3_5_nothink")
    rows = [saying("Yes."), calling(made(city=" Oslo")) | {"where": "calls.jsonl, line 2"}]  # its form takes spaces for its own
    with pytest.raises(SystemExit):
        recipe["evaluate"].check_form(tokenizer, "some/model", rows)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: calls.jsonl, line 2: message 2: read back from the chat template this turn is wrong (wrong")
    assert recipe["evaluate"].check_form(tokenizer, "some/model", [calling(*ONE)]).name == "Qwen 3.5 and Nemotron 3"


def test_every_template_of_trl_is_known_here():
    known = {name for templates in FAMILIES.values() for name in templates} | set(NO_CALLS)
    known |= {"deepseekv3", "idefics3", "llava_next", "smolvlm"}  # a template of arguments as text, and of pictures
    there = {file.name.removesuffix(".jinja") for file in (files("trl") / "chat_templates").iterdir()}
    assert {name for name in there if not name.endswith("_training")} - {"README.md", "__init__.py"} <= known


# --- Completions of any model ---------------------------------------------------------------------------------------------

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


# --- Before training ------------------------------------------------------------------------------------------------------


def test_held_out_turns_are_tried_and_measured_before_a_model_loads(recipe, capsys):
    """Every turn of the assistant must score as right, and answers longer than they may be are counted."""
    base = ROOT / "recipes" / "trl_function_calling" / "lesson" / "tiny_base"
    tokenizer = load_tokenizer(ModelConfig(model_name_or_path=str(base)))
    messages = [
        *(ASKED, {"role": "assistant", "content": "", "tool_calls": [made(city="Oslo")]}),
        *({"role": "tool", "content": "rain"}, {"role": "assistant", "content": "It will rain in Oslo."}),
    ]
    turns = recipe["calls"].turns_of({"messages": messages, "tools": [TOOL]})
    assert len(turns) == 2
    settings = SimpleNamespace(skip_bad_rows=False, max_new_tokens=12)
    form = recipe["evaluate"].check_form(tokenizer, "tiny", turns)
    check = recipe["evaluate"].check_held_out
    assert check({"held_out": turns}, tokenizer, settings, SimpleNamespace(max_length=512), form) == {"held_out": turns}
    said = capsys.readouterr().out
    assert said.startswith("Warning: max_new_tokens 12 cuts 1 of 2 references of held_out, so none of these can be answered")
    # A text that holds the mark of a call would be read as a malformed one.
    lost = [*turns[1]["messages"][:3], {"role": "assistant", "content": "Write <tool_call> to call."}]
    rows = [*turns, {"messages": lost, "tools": [TOOL], "where": "calls.jsonl, line 7"}]
    with pytest.raises(SystemExit):
        check({"held_out": rows}, tokenizer, settings, SimpleNamespace(max_length=512), form)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(
        "error: calls.jsonl, line 7: message 4: read back from the chat template this turn is wrong (malformed"
    )
    settings.skip_bad_rows = True
    assert check({"held_out": rows}, tokenizer, settings, SimpleNamespace(max_length=512), form) == {"held_out": turns}
    # What is too long for its loss is not counted.
    short = {"messages": [{"role": "user", "content": "Hello."}, {"role": "assistant", "content": "Hello."}]}
    long = {"messages": [{"role": "user", "content": "Hello. " * 600}, short["messages"][1]]}
    chat = {"plain_chat": [short, long, short]}
    assert check(chat, tokenizer, settings, SimpleNamespace(max_length=512), form) == {"plain_chat": [short, short]}


def test_a_perfect_model_scores_1_in_every_turn(recipe):
    """Call, result, answer: both turns of the assistant count, in every form."""
    messages = [
        *(ASKED, {"role": "assistant", "content": "", "tool_calls": [made(city="Oslo")]}),
        *({"role": "tool", "name": "weather.get-it", "content": "rain"}, {"role": "assistant", "content": "Rain."}),
    ]
    for template in ("qwen3", "llama3_2", "gptoss", "gemma4_v5", "glm4moe", "qwen3_5_nothink"):
        tokenizer = tokenizer_with(template)
        use_training_template(tokenizer)
        form = recipe["forms"].form_of(tokenizer)
        rows = [turn | {"conversation": 0} for turn in recipe["calls"].turns_of({"messages": messages, "tools": [TOOL]})]
        written = [recipe["metrics"].check_survives(row, tokenizer, form) for row in rows]
        metrics, verdicts = recipe["metrics"].score(rows, written, form)
        assert [verdict["correct"] for verdict in verdicts] == [True, True]
        assert {name: metric["value"] for name, metric in metrics.items()} == dict.fromkeys(metrics, 1.0)
        assert {"exact_call", "irrelevance"} <= metrics.keys()
        # Without a model the same.
        assert recipe["metrics"].score(rows, written)[1] == verdicts
