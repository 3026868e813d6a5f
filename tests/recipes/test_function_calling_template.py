"""A chat template of one's own for a model whose own shows no tools, and the conversations with a great many tools."""

import json
import random
from collections import Counter
from itertools import groupby
from pathlib import Path

from common.data.tokens import IGNORED, tokenize, use_training_template
from common.models.load import load_tokenizer

import pytest
from conftest import ROOT, Python, recipe_modules
from transformers import AutoTokenizer
from trl import ModelConfig

RECIPE = ROOT / "recipes" / "trl_function_calling"
TEMPLATE = str(RECIPE / "chatml_tools.jinja")
BFCL = ROOT.parent / "shared" / "data" / "bfcl"
TOOL = {
    "type": "function",
    "function": {
        "name": "weather.forecast",
        "description": 'Get the "weather".',
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "number"}, "parts": {"type": "array"}},
            "required": ["city"],
        },
    },
}


@pytest.fixture(scope="module")
def recipe():
    names = ["calls", "evaluate", "forms", "metrics", "lesson.many_tools", "lesson.many_words"]
    with recipe_modules("trl_function_calling", names) as modules:
        yield modules


@pytest.fixture(scope="module")
def tokenizer():
    """One with ChatML's marks."""
    args = ModelConfig(model_name_or_path=str(RECIPE / "lesson" / "tiny_base"))
    tokenizer = load_tokenizer(args, chat_template_file=TEMPLATE)
    use_training_template(tokenizer)
    return tokenizer


def call(**arguments) -> dict:
    return {"type": "function", "function": {"name": "weather.forecast", "arguments": arguments}}


MESSAGES = [
    {"role": "user", "content": "Weather in Łódź and New York?"},
    {
        "role": "assistant",
        "content": "I look.",
        "tool_calls": [call(city='Łódź "centre"\n<tag>', days=3.0), call(city="New York", parts=[1, {"a": None}])],
    },
    {"role": "tool", "content": "rain"},
    {"role": "tool", "content": "sun"},
    {"role": "assistant", "content": "Rain, and sun."},
    {"role": "user", "content": "Thanks."},
    {"role": "assistant", "content": "You are welcome."},
]


# --- The template ---------------------------------------------------------------------------------------------------------


def test_calls_that_it_writes_are_read_back(recipe, tokenizer):
    row = {"messages": MESSAGES, "tools": [TOOL]}
    form = recipe["evaluate"].check_form(tokenizer, "a model", [row])
    assert form.name == "Qwen and Hermes"
    turns = recipe["calls"].turns_of(row)
    assert len(turns) == 3
    for turn in turns:
        recipe["metrics"].check_survives(turn, tokenizer, form)
    _, written = recipe["forms"].written_turn(MESSAGES[:2], [TOOL], tokenizer)
    arguments = [found.arguments for found in form.read(written, [TOOL])]
    assert arguments == [{"city": 'Łódź "centre"\n<tag>', "days": 3.0}, {"city": "New York", "parts": [1, {"a": None}]}]


def test_the_tools_are_shown_and_the_turns_of_the_assistant_are_trained(tokenizer):
    (row,) = tokenize([{"messages": MESSAGES, "tools": [TOOL]}], tokenizer, 2048, where="test")
    pairs = list(zip(row["input_ids"], row["labels"], strict=True))
    spans = [(trained, [token for token, _ in span]) for trained, span in groupby(pairs, lambda pair: pair[1] != IGNORED)]
    read = [tokenizer.decode(tokens) for trained, tokens in spans if not trained]
    said = [tokenizer.decode(tokens) for trained, tokens in spans if trained]
    assert json.dumps(TOOL["function"]) in read[0]
    assert read[0].endswith("<|im_start|>assistant\n")
    assert said[0].startswith('I look.\n<tool_call>\n{"name": "weather.forecast", "arguments": {"city": ')
    assert said[0].endswith("}\n</tool_call><|im_end|>")
    assert said[1:] == ["Rain, and sun.<|im_end|>", "You are welcome.<|im_end|>"]
    response = "<tool_response>\nrain\n</tool_response>\n<tool_response>\nsun\n</tool_response>"
    assert read[1].split() == f"<|im_start|>user {response}<|im_end|> <|im_start|>assistant".split()


@pytest.mark.parametrize("system", [[], [{"role": "system", "content": "Be brief."}]])
def test_without_tools_it_writes_what_the_model_was_pretrained_on(tokenizer, system):
    """SmolLM2's own template, with the assistant's first turn to be continued."""
    first = system[0]["content"] if system else "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}, {"role": "user", "content": "Bye"}]
    text = tokenizer.apply_chat_template([*system, *turns], tokenize=False, add_generation_prompt=True)
    assert text == (
        f"<|im_start|>system\n{first}<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello.<|im_end|>\n"
        "<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\n"
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "chat_template_file: FILE cannot be read (No such file or directory)"),
        ("{% if %}", "with chat_template_file FILE: the chat template cannot write it"),
        ("Hello!", "with chat_template_file FILE: the chat template does not show what is said"),
    ],
)
def test_one_that_cannot_be_used_is_refused_in_a_line(tmp_path: Path, capsys, text: str | None, said: str):
    file = tmp_path / "template.jinja"
    if text:
        file.write_text(text)
    with pytest.raises(SystemExit) as ended:
        load_tokenizer(ModelConfig(model_name_or_path=str(RECIPE / "lesson" / "tiny_base")), chat_template_file=str(file))
    (line,) = capsys.readouterr().err.splitlines()
    assert ended.value.code == 2
    assert said.replace("FILE", str(file)) in line


def test_it_is_saved_with_the_run(tmp_path: Path, python: Python):
    """Evaluations, chat and export need the file no more."""
    file = tmp_path / "template.jinja"
    file.write_text(Path(TEMPLATE).read_text())
    flags = (
        "--max_steps 1 --num_train 8 --num_held_out 4 --num_chat 4 --per_device_train_batch_size 4 --max_new_tokens 8".split()
    )
    train = ["recipes/trl_function_calling/train.py", *flags, "--max_length", "512", "--chat_template_file", str(file)]
    printed = python(*train, "--output_dir", str(tmp_path / "run")).stdout
    assert "You may call these functions:" in printed
    file.unlink()
    assert "You may call these functions:" in AutoTokenizer.from_pretrained(tmp_path / "run").chat_template
    evaluated = python("recipes/trl_function_calling/evaluate.py", "--model_name_or_path", str(tmp_path / "run"))
    assert "held_out: 4 problems" in evaluated.stdout


# --- A great many tools ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def conversations(recipe) -> list[dict]:
    rng = random.Random(0)
    return [recipe["many_tools"].draw_conversation(rng) for _ in range(4000)]


def calls_of(row: dict) -> list[dict]:
    return [call["function"] for call in row["messages"][-1].get("tool_calls", [])]


def test_their_calls_are_right(recipe, conversations):
    """By the rules of the score, each but once, and with nothing that is not offered."""
    for row in conversations:
        recipe["metrics"].check_gold(row)
        calls = calls_of(row)
        assert all(call not in calls[:number] for number, call in enumerate(calls))
        assert {call["name"] for call in calls} <= {tool["function"]["name"] for tool in row["tools"]}
    counts = Counter(min(len(calls_of(row)), 2) for row in conversations)
    assert 0.18 < counts[0] / 4000 < 0.26
    assert 0.24 < counts[2] / 4000 < 0.33


def test_their_arguments_stand_in_the_request(conversations):
    """Texts and numbers as they are, but for dates, times, shares and lists."""
    found = []
    for row in conversations:
        request = row["messages"][0]["content"].replace(",", "")
        for call in calls_of(row):
            kept = [value for value in call["arguments"].values() if isinstance(value, int | float | str)]
            found += [f"{value:g}" in request or str(value) in request for value in kept if isinstance(value, int | float)]
            found += [value.replace(",", "") in request for value in kept if isinstance(value, str)]
    assert 0.85 < sum(found) / len(found) < 1


def test_their_names_are_not_learned_by_heart(recipe, conversations):
    tools = [tool["function"] for row in conversations for tool in row["tools"]]
    functions: dict[str, set] = {}
    parameters: dict[str, set] = {}
    for tool in tools:
        key = tool["description"].partition(".")[0].partition(" (")[0]
        functions.setdefault(key, set()).add(tool["name"])
        parameters.setdefault(key, set()).add(tuple(tool["parameters"]["properties"]))
    assert len(functions) == len(recipe["many_tools"].TOOLS) >= 90
    assert min(map(len, functions.values())) >= 8
    assert min(map(len, parameters.values())) >= 4
    assert all(
        slot in recipe["many_tools"].SLOTS for tool in recipe["many_tools"].TOOLS for slot in [*tool.required, *tool.optional]
    )


@pytest.mark.skipif(not BFCL.exists(), reason=f"needs BFCL's files at {BFCL}")
def test_no_function_and_no_request_is_bfcls(recipe, conversations):
    rows = [json.loads(line) for path in BFCL.glob("BFCL_v4_*[a-z].json") if "answers" not in path.name for line in path.open()]
    functions = {function["name"] for row in rows for function in row["function"]}
    asked = {message["content"] for row in rows for turn in row["question"] for message in turn}
    assert len(functions) > 500
    assert not functions & {tool["function"]["name"] for row in conversations for tool in row["tools"]}
    assert not asked & {row["messages"][0]["content"] for row in conversations}


def test_they_are_written_once_and_for_a_seed_the_same(recipe, tmp_path: Path, python: Python):
    script = "recipes/trl_function_calling/lesson/many_tools.py"
    for name in ("one", "other"):
        python(script, "--output_file", str(tmp_path / name), "--count", "50", "--seed", "3")
    assert (tmp_path / "one").read_text() == (tmp_path / "other").read_text()
    assert len((tmp_path / "one").read_text().splitlines()) == 50
    refused = python(script, "--output_file", str(tmp_path / "one"), code=2)
    assert refused.stderr.splitlines()[-1].startswith(f"error: --output_file {tmp_path / 'one'} exists already")
