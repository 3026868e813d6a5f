"""A model is measured as it is: what it suggests for chatting changes no token, and stays its own."""

from common.generate.completions import generate
from common.generate.settings import generation_config
from common.models.load import load_model, load_tokenizer

import pytest
from accelerate import Accelerator
from peft import LoraConfig, get_peft_model
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase, set_seed
from trl import ModelConfig

QUESTION = [{"role": "user", "content": "one two three"}]


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return load_tokenizer(ModelConfig(model_name_or_path="tiny:llama"), ["one two three"])


@pytest.fixture
def model(tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    set_seed(0)
    return load_model(ModelConfig(model_name_or_path="tiny:llama"), tokenizer).float()


def said(model, tokenizer, count: int = 1, **settings) -> list[str]:
    options = {"batch_size": count, "max_new_tokens": 8} | settings
    return [done.raw for done in generate(model, Accelerator(cpu=True), tokenizer, [QUESTION] * count, **options)]


@pytest.mark.parametrize("adapted", [False, True])
def test_what_a_model_suggests_is_off(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, adapted: bool):
    base = model
    if adapted:
        model = get_peft_model(model, LoraConfig(target_modules="all-linear"))
    inputs = tokenizer.apply_chat_template(QUESTION, add_generation_prompt=True, return_dict=True, return_tensors="pt")
    length = inputs["input_ids"].shape[1]
    plain = model.generate(**inputs, max_new_tokens=8)[0, length:]
    expected, first = tokenizer.decode(plain), plain[0].item()
    for suggested in (
        {"repetition_penalty": 3.0},
        {"no_repeat_ngram_size": 1},
        {"suppress_tokens": [first]},
        {"bad_words_ids": [[first]]},
        {"num_beams": 2, "length_penalty": -9.0},
    ):
        base.generation_config = own = GenerationConfig(**suggested, eos_token_id=tokenizer.eos_token_id)
        assert said(model, tokenizer) == [expected], suggested
        assert base.generation_config is own
        if "num_beams" not in suggested:  # left to itself it says something else, or this would show nothing
            assert tokenizer.decode(model.generate(**inputs, max_new_tokens=8)[0, length:]) != expected, suggested


def test_sampling_is_from_all_tokens_unless_asked_otherwise(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase):
    model.generation_config = GenerationConfig(do_sample=True, top_k=1, top_p=0.001, min_p=1.0, temperature=0.001)
    likeliest = said(model, tokenizer)
    set_seed(0)
    # Random weights find all tokens nearly as likely: 200 draws show more than the 50 that transformers keeps by itself.
    assert len(set(said(model, tokenizer, 200, temperature=1.0, max_new_tokens=1))) > 50
    for narrowed in ({"top_k": 1}, {"top_p": 1e-9}, {"min_p": 1.0}):
        assert said(model, tokenizer, 4, temperature=1.0, **narrowed) == likeliest * 4, narrowed


def test_the_end_of_turn_and_the_models_own_stops_end_an_answer(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase):
    for own, expected in ((None, set()), (7, {7}), ([7, 9], {7, 9})):
        model.generation_config.eos_token_id = own
        config = generation_config(model, tokenizer, max_new_tokens=8)
        assert set(config.eos_token_id) == expected | {tokenizer.eos_token_id}
    third = tokenizer(said(model, tokenizer)[0], add_special_tokens=False)["input_ids"][2]
    model.generation_config.eos_token_id = third
    assert generate(model, Accelerator(cpu=True), tokenizer, [QUESTION], batch_size=1, max_new_tokens=8)[0].num_tokens <= 3
