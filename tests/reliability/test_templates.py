"""Chat templates: what is trained with each, and that the one that is saved can be inferred with elsewhere."""

import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path

from common.data.templates import MARK, as_text, named_date, reads_clock, with_clock, with_fixed_date, without_marks
from common.data.tokens import IGNORED, tokenize
from common.errors import BadRow
from common.models.load import load_tokenizer

import jinja2
import pytest
import templates
from pages import read_part
from templates import ANSWER, ASK, CONVERSATIONS, SHIPPED, call, load, mistake, refusal, row_of, said
from transformers import AutoTokenizer
from trl import ModelConfig

TURNS = CONVERSATIONS["turns"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("model")
    templates.save_model_folder(folder)
    return folder


def test_each_template_trains_what_the_assistant_says_or_refuses_the_row(folder: Path):
    written = read_part(templates.PAGE, templates.PROGRAM)
    assert templates.table(folder) == written, f"write it anew: python {templates.PROGRAM}"


def test_the_table_would_notice_what_is_wrong(folder: Path):
    tokenizer = load(folder, SHIPPED["qwen3"])
    messages = CONVERSATIONS["calls in turn"]
    tokens = tokenize([row_of(messages)], tokenizer, 4096, where="test")[0]
    assert mistake(messages, tokens, tokenizer) is None
    labels, trained = tokens["labels"], [place for place, label in enumerate(tokens["labels"]) if label != IGNORED]
    for place in (trained[0], trained[-1], trained[len(trained) // 2]):  # one token too few
        shorter = [*labels[:place], IGNORED, *labels[place + 1 :]]
        assert mistake(messages, tokens | {"labels": shorter}, tokenizer), tokenizer.decode(labels[place])
    for place in (trained[0] - 1, trained[-1] + 1):  # one too many
        longer = [*labels[:place], tokens["input_ids"][place], *labels[place + 1 :]]
        assert mistake(messages, tokens | {"labels": longer}, tokenizer), tokenizer.decode(longer[place])
    assert mistake([*messages[:-1], said("assistant", "Golf.")], tokens, tokenizer)


def test_a_call_that_is_like_another_is_not_lost(folder: Path):
    """gpt-oss's template writes the first of several calls alone."""
    tokenizer = load(folder, SHIPPED["gptoss"])
    messages = [ASK, said("assistant", "", tool_calls=[call(1, port="Mike"), call(2, port="Mike")]), ANSWER]
    line = refusal(lambda: tokenize([row_of(messages)], tokenizer, 4096, where="test"))
    assert line.startswith("test, conversation 1: message 2: the chat template does not show every call to `find_ship`")


def test_what_only_the_answer_says_is_not_taken_for_the_question(folder: Path):
    """A template that leaves out the question, and the answer repeats it."""
    template = SHIPPED["qwen2_5"].replace('(message.role == "user")', "(message.role == 'user' and message.content != 'Golf')")
    assert template != SHIPPED["qwen2_5"]
    messages = [ASK, ANSWER, said("user", "Golf"), said("assistant", "Golf.")]
    line = refusal(lambda: tokenize([row_of(messages)], load(folder, template), 4096, where="test"))
    assert line.startswith("test, conversation 1: message 3: the chat template does not show the text 'Golf'")


# --- The template that is saved -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in SHIPPED if MARK.search(SHIPPED[name])])
def test_a_template_without_marks_writes_the_same(folder: Path, name: str):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    clean = without_marks(SHIPPED[name])
    assert not MARK.search(clean)
    messages = [said(turn["role"], [{"type": "text", "text": turn["content"]}]) for turn in TURNS]
    messages = messages if name.startswith(("idefics3", "llava_next", "smolvlm")) else TURNS
    written = [tokenizer.apply_chat_template(messages, chat_template=text, tokenize=False) for text in (SHIPPED[name], clean)]
    assert written[0] == written[1]


def test_the_saved_template_is_one_to_infer_with(folder: Path, tmp_path: Path):
    """By plain jinja2, as other programs read it: no mark, no clock, and the prompt that was trained."""
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])
    environment.globals |= {"raise_exception": pytest.fail, "strftime_now": pytest.fail}
    for name in ("cohere2", "gemma3", "gptoss", "llama3_2", "lfm2_2_5", "muse_glimmer", "phi3", "qwen3", "qwen3_8"):
        tokenizer = load(folder, SHIPPED[name])
        tokenizer.save_pretrained(tmp_path)
        saved = (tmp_path / "chat_template.jinja").read_text(encoding="utf-8")
        assert not MARK.search(saved), name
        prompt = tokenizer.apply_chat_template(TURNS[:3], add_generation_prompt=True, tokenize=False)
        values = {"messages": TURNS[:3], "add_generation_prompt": True, "bos_token": "<s>", "eos_token": tokenizer.eos_token}
        assert environment.from_string(saved).render(values) == prompt, name
        row = tokenize([{"messages": TURNS[:2]}], tokenizer, 4096, where="test")[0] if name != "gptoss" else None
        if row:
            asked = tokenizer.apply_chat_template(TURNS[:1], add_generation_prompt=True, tokenize=False)
            assert tokenizer.decode(row["input_ids"]).startswith(asked), name


# Each with what it writes on the last day of 1999.
CLOCKS = {
    "gptoss": "Current date: 1999-12-31",
    "llama3_1": "Today Date: 31 Dec 1999",
    "llama3_2": "Today Date: 31 Dec 1999",
    "muse_glimmer": "Current date: 1999-12-31.",
}


def test_every_template_with_a_date_is_known():
    assert [name for name, text in SHIPPED.items() if "strftime_now" in text or "date_string" in text] == [
        *("gptoss", "gptoss_training", "llama3_1", "llama3_2", "muse_glimmer", "muse_glimmer_training")
    ]


@pytest.mark.parametrize("name", CLOCKS)
def test_no_template_looks_at_the_clock_until_it_is_exported(name: str):
    """The same text whether there is a clock or not; the clock is put back letter by letter."""
    fixed = with_fixed_date(SHIPPED[name], date(1999, 12, 31))
    values = {"messages": TURNS[:1], "add_generation_prompt": True, "bos_token": "<s>"}
    for clock in ({}, {"strftime_now": pytest.fail}):
        environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])
        environment.globals |= {"raise_exception": pytest.fail, **clock}
        assert CLOCKS[name] in environment.from_string(fixed).render(values)
    assert not reads_clock(fixed)
    assert named_date(fixed) in CLOCKS[name]
    assert with_fixed_date(fixed, date(2001, 1, 1)) == fixed
    assert with_clock(fixed) == SHIPPED[name]
    assert with_clock("{%- set enable_thinking = false %}" + fixed) == "{%- set enable_thinking = false %}" + SHIPPED[name]


# --- Templates by name ----------------------------------------------------------------------------------------------------


def test_named_templates_are_chosen_as_transformers_does(folder: Path, tmp_path: Path):
    """In tokenizer_config.json they are a list, as Cohere's and Hermes's models ship them; transformers reads a dict."""
    named = {"default": SHIPPED["gemma3"], "tool_use": SHIPPED["qwen2_5"], "rag": "no"}
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.save_pretrained(tmp_path)
    for file in ("config.json", "model.safetensors"):
        (tmp_path / file).write_bytes((folder / file).read_bytes())
    (tmp_path / "chat_template.jinja").unlink(missing_ok=True)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    config["chat_template"] = [{"name": name, "template": template} for name, template in named.items()]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    assert theirs.chat_template == named
    ours = load_tokenizer(ModelConfig(model_name_or_path=str(tmp_path)))
    assert isinstance(ours.chat_template, str)
    for messages, tools in ((TURNS, None), (CONVERSATIONS["parallel calls"], [templates.TOOL])):
        written = [each.apply_chat_template(messages, tools=tools, tokenize=False) for each in (theirs, ours)]
        assert written[0] == written[1]
    assert ours.apply_chat_template(TURNS, tokenize=False) != ours.apply_chat_template(
        TURNS, tools=[templates.TOOL], tokenize=False
    )


def test_named_templates_of_which_none_is_the_default():
    assert as_text({"default": "one"}) == as_text("one") == "one"
    with pytest.raises(BadRow, match=r"of its chat templates \(tool_use, rag\) none is the `default`"):
        as_text({"tool_use": "one", "rag": "two"})
