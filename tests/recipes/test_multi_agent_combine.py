"""Decoding together: the mean of the logits is the mean of the hidden states, and one text comes out."""

import math

from common.generate.completions import generate
from common.models.tiny import tiny_config, tiny_tokenizer

import pytest
import torch
from accelerate import Accelerator
from conftest import recipe_modules
from transformers import AutoModelForCausalLM

TEXTS = ["Ada has 6 pens. Ben adds 7. How many are there?", "Eva has 5 eggs and loses 2.", "answer 13", "be brief", "be slow"]
ROLES = ["be brief", "be slow", "be Ada"]


@pytest.fixture(scope="module")
def combine():
    with recipe_modules("multi_agent_grpo", ["combine"]) as modules:
        yield modules["combine"]


@pytest.fixture(scope="module")
def tiny():
    torch.manual_seed(0)
    tokenizer = tiny_tokenizer(TEXTS)
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}<|im_end|>{% endfor %}"
    config = tiny_config("qwen3", tokenizer)
    config.initializer_range = 0.2  # so that the roles matter to random weights
    return AutoModelForCausalLM.from_config(config).eval(), tokenizer


def prompts(question: str) -> list[list[dict[str, str]]]:
    return [[{"role": "system", "content": role}, {"role": "user", "content": question}] for role in ROLES]


def test_mean_of_logits_is_the_head_of_the_mean_hidden_state(combine, tiny):
    model, tokenizer = tiny
    texts = [tokenizer.apply_chat_template(prompt, tokenize=False) for prompt in prompts(TEXTS[0])]
    inputs = tokenizer(texts, return_tensors="pt", padding=True, padding_side="left", add_special_tokens=False)
    inputs.pop("token_type_ids", None)
    with torch.no_grad():
        hidden = model.model(**inputs).last_hidden_state[:, -1]  # after the final normalisation
        logits = model(**inputs).logits[:, -1]
        expected = model.lm_head(hidden.mean(dim=0))
    found = combine.MeanLogits(len(ROLES))(inputs["input_ids"], logits)
    assert (logits[0] - logits[1]).abs().max() > 0.1  # the roles do say different things
    assert torch.allclose(found, expected.expand_as(found), atol=1e-5)


def test_a_team_decodes_one_text_by_the_mean_of_its_hidden_states(combine, tiny):
    model, tokenizer = tiny
    questions = TEXTS[:2]
    done = generate(
        model,
        Accelerator(cpu=True),
        tokenizer,
        [prompt for question in questions for prompt in prompts(question)],
        batch_size=4,  # rounded down to one team
        max_new_tokens=12,
        together=len(ROLES),
        logits_processor=combine.MeanLogits(len(ROLES)),
    )
    texts = [completion.text for completion in done]
    assert len(texts) == 6
    for team in (texts[:3], texts[3:]):
        assert len(set(team)) == 1

    # The same by hand, averaging the hidden states.
    for question, text in zip(questions, (texts[0], texts[3]), strict=True):
        contexts = [
            tokenizer(tokenizer.apply_chat_template(prompt, tokenize=False), add_special_tokens=False)["input_ids"]
            for prompt in prompts(question)
        ]
        tokens = []
        while len(tokens) < 12 and tokens[-1:] != [tokenizer.eos_token_id]:
            with torch.no_grad():
                states = [model.model(torch.tensor([one + tokens])).last_hidden_state[0, -1] for one in contexts]
                tokens.append(model.lm_head(torch.stack(states).mean(dim=0)).argmax().item())
        assert tokenizer.decode(tokens, skip_special_tokens=True) == text
    alone = generate(model, Accelerator(cpu=True), tokenizer, prompts(TEXTS[0]), batch_size=8, max_new_tokens=12)
    assert len({completion.text for completion in alone}) > 1


def test_confidence_is_the_mean_probability_of_the_tokens(tiny):
    model, tokenizer = tiny
    (done,) = generate(model, Accelerator(cpu=True), tokenizer, prompts(TEXTS[0])[:1], batch_size=1, max_new_tokens=5)
    prompt = tokenizer.apply_chat_template(prompts(TEXTS[0])[0], tokenize=False)
    tokens = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    total = 0.0
    for _ in range(done.num_tokens):
        with torch.no_grad():
            logs = model(torch.tensor([tokens])).logits[0, -1].log_softmax(-1)
        total += logs.max().item()
        tokens.append(logs.argmax().item())
    assert done.confidence == pytest.approx(math.exp(total / done.num_tokens), rel=1e-4)
    assert 0 < done.confidence < 1


def test_agreement(combine):
    heard = [{"a": "1", "b": "1.0", "c": "2"}, {"a": "1", "b": "2", "c": None}]
    matrix = combine.agreement(heard)
    assert matrix["a"] == {"a": 1.0, "b": 0.5, "c": 0.0}
    assert matrix["c"] == {"a": 0.0, "b": 0.0, "c": 0.5}
