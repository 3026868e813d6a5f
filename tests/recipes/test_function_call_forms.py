"""Calls are read back in the form of each chat template that TRL ships, before training."""

from importlib.resources import files
from types import SimpleNamespace
from typing import Any

from common.data.tokens import use_training_template
from common.errors import BadRow
from common.models.load import load_tokenizer

import pytest
from conftest import ROOT, recipe_modules
from function_calls import ASKED, TOOL, calling, made
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast
from trl import ModelConfig


@pytest.fixture(scope="module")
def recipe():
    with recipe_modules("trl_function_calling", ["calls", "forms", "metrics", "evaluate", "arguments"]) as modules:
        yield modules


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
