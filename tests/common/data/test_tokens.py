"""What is trained: every token that the assistant writes, its end of turn, and nothing else."""

from importlib.resources import files

from common.data.held_out import check_tokens
from common.data.tokens import IGNORED, as_arrays, show_trained, tokenize, use_training_template
from common.models.load import load_tokenizer

import pytest
import torch
from datasets import Dataset
from transformers import PreTrainedTokenizerBase
from trl import ModelConfig, pack_dataset
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

TURNS = [
    {"role": "system", "content": "Answer briefly."},
    {"role": "user", "content": "How much is 6 * 7?"},
    {"role": "assistant", "content": "It is 42."},
    {"role": "user", "content": "And 6 * 8?"},
    {"role": "assistant", "content": "It is 48."},
]
END = {"llama": "<|eot_id|>", "qwen3": "<|im_end|>"}


def load(architecture: str) -> PreTrainedTokenizerBase:
    tokenizer = load_tokenizer(
        ModelConfig(model_name_or_path=f"tiny:{architecture}"), [turn["content"] for turn in TURNS for _ in range(9)]
    )
    use_training_template(tokenizer)
    return tokenizer


@pytest.mark.parametrize("architecture", ["llama", "qwen3"])
def test_only_the_assistant_is_trained(architecture: str):
    tokenizer = load(architecture)
    row = tokenize([{"messages": TURNS}], tokenizer, 512, where="test")[0]
    assert len(row["input_ids"]) == len(row["labels"])
    shown = show_trained(row, tokenizer)
    trained = [part.split("«")[0] for part in shown.split("»")[1:]]
    assert [part.removeprefix("<think>\n\n</think>\n\n") for part in trained] == [
        f"It is 42.{END[architecture]}",
        f"It is 48.{END[architecture]}",
    ]
    # Without the marks it is the conversation, as the chat template writes it.
    assert shown.replace("»", "").replace("«", "") == tokenizer.apply_chat_template(TURNS, tokenize=False)
    assert [label for label in row["labels"] if label != IGNORED][-1] == tokenizer.eos_token_id


@pytest.mark.parametrize("architecture", ["llama", "qwen3"])
def test_the_prompt_is_what_is_asked_later(architecture: str):
    """The tokens before the answer are those that generation begins with, so training and asking agree."""
    tokenizer = load(architecture)
    row = tokenize([{"messages": TURNS[:3]}], tokenizer, 512, where="test")[0]
    first = next(index for index, label in enumerate(row["labels"]) if label != IGNORED)
    prompt = tokenizer.apply_chat_template(TURNS[:2], tokenize=False, add_generation_prompt=True)
    assert row["input_ids"][:first] == tokenizer(prompt, add_special_tokens=False)["input_ids"]


def test_the_template_is_the_same_tomorrow():
    """Llama's own template writes today's date. What it always writes is one token, so that a tiny model is fast."""
    tokenizer = load("llama")
    text = tokenizer.apply_chat_template(TURNS, tokenize=False)
    dates = "\n\nCutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n"
    assert dates in text
    assert dates in tokenizer.convert_ids_to_tokens(tokenizer(text)["input_ids"])


def end_of(conversations: list, tokenizer: PreTrainedTokenizerBase, max_length: int, capsys: pytest.CaptureFixture) -> str:
    with pytest.raises(SystemExit) as ended:
        tokenize(conversations, tokenizer, max_length, where="data.jsonl")
    assert ended.value.code == 2
    return capsys.readouterr().err


def test_too_long(capsys: pytest.CaptureFixture):
    tokenizer = load("llama")
    long = {"messages": [{"role": "user", "content": "How much is 1 " + "+ 1 " * 100 + "?"}, TURNS[2]]}
    line = end_of([{"messages": TURNS}, long], tokenizer, 100, capsys)
    assert line.startswith("error: data.jsonl, conversation 2: the conversation has ")
    assert "tokens and max_length is 100; raise it, shorten the conversation, or leave such rows out with" in line
    assert line.count("\n") == 1
    # A row that was read from a file is named by it: the parts of a split are numbered otherwise.
    line = end_of([{"messages": TURNS}, long | {"where": "my.jsonl, line 7"}], tokenizer, 100, capsys)
    assert line.startswith("error: my.jsonl, line 7: the conversation has ")
    kept = tokenize([{"messages": TURNS}, long], tokenizer, 100, where="data.jsonl", skip_bad_rows=True)
    assert len(kept) == 1
    assert "Left out 1 of 2 rows of data.jsonl. The first: data.jsonl, conversation 2" in capsys.readouterr().out


def test_held_out_rows_that_are_too_long_are_not_counted(capsys: pytest.CaptureFixture):
    tokenizer = load("llama")
    short = {"messages": TURNS}
    long = {"messages": [{"role": "user", "content": "How much is 1 " + "+ 1 " * 100 + "?"}, TURNS[2]]}
    held_out = {"held_out": [short, long, short], "none": []}
    assert check_tokens(held_out, tokenizer, 100, skip_bad_rows=True) == {"held_out": [short, short], "none": []}
    capsys.readouterr()
    with pytest.raises(SystemExit):
        check_tokens(held_out, tokenizer, 100)
    assert capsys.readouterr().err.startswith("error: held_out, conversation 2: the conversation has ")


def test_no_token_is_trained(capsys: pytest.CaptureFixture):
    tokenizer = load("llama")
    tokenizer.chat_template = (
        "{% for message in messages %}{% if message.role == 'user' %}{{ message.content }}{% endif %}{% endfor %}"
    )
    line = end_of([{"messages": TURNS[1:3]}], tokenizer, 100, capsys)
    assert line == (
        "error: data.jsonl, conversation 1: no token is trained: the chat template does not show what the assistant writes; "
        "take another model\n"
    )


def test_an_end_of_turn_that_is_not_trained(capsys: pytest.CaptureFixture):
    tokenizer = load("llama")
    tokenizer.eos_token = "<|begin_of_text|>"
    line = end_of([{"messages": TURNS[1:3]}], tokenizer, 100, capsys)
    assert line.startswith("error: data.jsonl, conversation 1: the last trained token is `<|eot_id|>`, not the end of turn")


def test_a_call_may_end_in_another_way_than_an_answer():
    """gpt-oss: a model that stops at `<|call|>`, too, learns to stop."""
    tokenizer = load("gpt_oss")
    tool = {
        "type": "function",
        "function": {"name": "f", "description": "F.", "parameters": {"type": "object", "properties": {}}},
    }
    call = {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f", "arguments": {}}}]}
    (row,) = tokenize([{"messages": [TURNS[1], call], "tools": [tool]}], tokenizer, 4096, where="data.jsonl")
    assert show_trained(row, tokenizer).rpartition("»")[2].endswith("<|call|>«")


def test_the_end_of_turn_of_the_training_template():
    """GLM's own template writes none, so its tokenizer's would never be learned."""
    tokenizer = load("llama")
    tokenizer.add_special_tokens({"extra_special_tokens": ["<|user|>", "<|assistant|>", "<|system|>", "<|observation|>"]})
    tokenizer.chat_template = (files("trl") / "chat_templates" / "glm4moe.jinja").read_text()
    use_training_template(tokenizer)
    assert tokenizer.eos_token == "<|user|>"
    (row,) = tokenize([{"messages": TURNS[1:3]}], tokenizer, 4096, where="data.jsonl")
    assert show_trained(row, tokenizer).endswith("»\n<think></think>\nIt is 42.<|user|>«")


def test_a_template_that_rewrites_earlier_turns(capsys: pytest.CaptureFixture):
    """Qwen3's own template drops the thoughts of earlier turns: what is trained would not be what is asked."""
    tokenizer = load("llama")
    tokenizer.chat_template = (
        "{% for message in messages %}{% if loop.last %}LAST {% endif %}{{ message.content }}<|eot_id|>{% endfor %}"
    )
    line = end_of([{"messages": TURNS}], tokenizer, 512, capsys)
    assert line == (
        "error: data.jsonl, conversation 1: message 3: the chat template writes this turn differently once others follow; cut "
        "the conversation behind it, or take another model\n"
    )


@pytest.mark.parametrize("packing", [True, False])
def test_rows_as_arrays_make_the_same_batch(packing: bool):
    lengths = [5, 9, 2, 7, 12, 3]
    rows = [{"input_ids": list(range(length)), "labels": [IGNORED, *range(1, length)]} for length in lengths]
    dataset = Dataset.from_list(rows)
    dataset = pack_dataset(dataset, 14) if packing else dataset
    arrays = as_arrays(dataset)
    assert not isinstance(arrays[0]["input_ids"], list)
    collate = DataCollatorForLanguageModeling(pad_token_id=0, padding_free=packing)
    for chosen in ([0, 1, 2], [2, 0]):
        as_lists, as_read = (collate([data[index] for index in chosen]) for data in (dataset, arrays))
        assert as_lists.keys() == as_read.keys()
        for name, value in as_lists.items():
            assert torch.equal(torch.as_tensor(value), torch.as_tensor(as_read[name])), name
            assert torch.as_tensor(value).dtype == torch.as_tensor(as_read[name]).dtype, name


def test_rows_with_more_than_tokens_are_read_as_they_are():
    rows = [{"prompt": "6 * 7?", "answer": "42"}, {"prompt_ids": [1], "chosen_ids": [2]}]
    rows += [{"input_ids": [1, 2], "labels": [1, 2], "images": [0]}, {"input_ids": [[1], [2]], "labels": [[1], [2]]}]
    for row in rows:
        dataset = Dataset.from_list([row])
        assert as_arrays(dataset) is dataset
    assert as_arrays(None) is None
