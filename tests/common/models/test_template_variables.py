"""Variables of a chat template go with the tokenizer: training, evaluation, chat and export show the model the same prompts."""

from pathlib import Path

from common.models.load import load_tokenizer, with_variables

from transformers import AutoTokenizer
from trl import ModelConfig

TURNS = [{"role": "user", "content": "How much is 6 * 7?"}]


def test_they_are_as_if_given_each_time(tmp_path: Path):
    tokenizer = load_tokenizer(ModelConfig(model_name_or_path="tiny:qwen3"), ["How much is 6 * 7?"])
    render = {"tokenize": False, "add_generation_prompt": True}
    plain = tokenizer.apply_chat_template(TURNS, **render)
    given = tokenizer.apply_chat_template(TURNS, enable_thinking=False, **render)
    assert plain != given
    with_variables(tokenizer, None)
    assert tokenizer.apply_chat_template(TURNS, **render) == plain
    for _ in range(2):  # of a run's own tokenizer they are there already
        with_variables(tokenizer, {"enable_thinking": False, "name": None, "words": ["a", "b"]})
    assert tokenizer.chat_template.count("enable_thinking = false") == 1
    tokenizer.save_pretrained(tmp_path)
    assert AutoTokenizer.from_pretrained(tmp_path).apply_chat_template(TURNS, **render) == given


def test_those_of_a_second_stage_take_the_place_of_the_first_ones():
    tokenizer = load_tokenizer(ModelConfig(model_name_or_path="tiny:qwen3"), ["How much is 6 * 7?"])
    template = tokenizer.chat_template
    with_variables(tokenizer, {"name": "a", "enable_thinking": False, "words": ["b"]})
    with_variables(tokenizer, {"enable_thinking": True, "words": None})
    lines = ("{%- set enable_thinking = true %}", "{%- set words = none %}", '{%- set name = "a" %}')
    assert tokenizer.chat_template == "".join(lines) + template
