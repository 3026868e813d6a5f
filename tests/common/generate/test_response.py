"""Calls are read back from what chat templates write, also from those that training has changed."""

from datetime import date
from importlib.resources import files
from typing import Any

from common.data.templates import with_fixed_date
from common.generate.response import response_template

import pytest
from conftest import ROOT
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

READ = "qwen2_5 qwen3 qwen3_instruct_2507 qwen3_vl qwen3_5_nothink qwen3_5_think qwen3_6 qwen3_8 glm4moe llama3_1 llama3_2"
READ += " gptoss gemma4 gemma4_v5 diffusion_gemma lfm2_v2 lfm2_2_5 trl_function_calling"
UNREAD = "cohere deepseekv3 gemma gemma3 lfm2 llama3 muse_glimmer phi3 phi3_5 qwen2_5_vl"
PARAMETERS = {"type": "object", "properties": {"port": {"type": "string"}, "masts": {"type": "integer"}}}
TOOL = {"type": "function", "function": {"name": "find_ship", "description": "Find a ship.", "parameters": PARAMETERS}}
ASKED = {"role": "user", "content": "Alpha?"}


def tokenizer_of(name: str) -> PreTrainedTokenizerFast:
    """Returns a tokenizer with a chat template of TRL's, or that of a recipe, and a date that does not change."""
    path = files("trl") / "chat_templates" / f"{name}.jinja"
    if name == "trl_function_calling":
        path = ROOT / "recipes" / name / "chatml_tools.jinja"
    template = with_fixed_date(path.read_text(encoding="utf-8"), date(2026, 1, 1))
    marks = {"bos_token": "<s>", "eos_token": "</s>"}
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE()), chat_template=template, **marks)


def written(tokenizer: PreTrainedTokenizerFast, call: dict[str, Any]) -> tuple[str, str]:
    """Returns a prompt, and the turn that makes a call."""
    turns = [ASKED, {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": call}]}]
    prompt = tokenizer.apply_chat_template([ASKED], tools=[TOOL], tokenize=False, add_generation_prompt=True)
    text = tokenizer.apply_chat_template(turns, tools=[TOOL], tokenize=False)
    before = prompt if text.startswith(prompt) else tokenizer.apply_chat_template([ASKED], tools=[TOOL], tokenize=False)
    assert text.startswith(before)
    return prompt, text[len(before) :]


@pytest.mark.parametrize("name", READ.split())
def test_calls_are_read_back(name: str):
    tokenizer = tokenizer_of(name)
    tokenizer.response_template = response_template(tokenizer)
    call = {"name": "find_ship", "arguments": {"port": 'Charlie "Delta" 7', "masts": 37}}
    prompt, text = written(tokenizer, call)
    message = tokenizer.parse_response(text, prefix=prompt, tools=[TOOL])
    assert [called["function"] for called in message["tool_calls"]] == [call]
    assert not message.get("content")


@pytest.mark.parametrize("name", UNREAD.split())
def test_where_there_are_none_or_transformers_cannot_read_them(name: str):
    assert response_template(tokenizer_of(name)) is None


def test_a_template_of_the_models_own_comes_first():
    tokenizer = tokenizer_of("qwen3")
    tokenizer.response_template = own = {"start_anchor": "a", "fields": {"content": {"content": "text"}}}
    assert response_template(tokenizer) is own
