"""Decoding together, votes of some or all, what each way of answering takes, and the one agent that is compared."""

import math
import sys
import weakref
from pathlib import Path

from common.generate.completions import Completion, generate
from common.models.tiny import tiny_config, tiny_tokenizer

import pytest
import torch
from accelerate import Accelerator
from conftest import recipe_modules
from transformers import AutoModelForCausalLM
from trl import GRPOConfig

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


# --- What tokens buy --------------------------------------------------------------------------------------------------------


def said(*texts: str | None, tokens: int = 10, cut: bool = False) -> dict[str, Completion]:
    """A problem's completions by the agents a, b and c."""
    boxes = [f"\\boxed{{{text}}}" if text else "hm" for text in texts]
    return {name: Completion(box, tokens, "", 0.5, cut and name == "a") for name, box in zip("abc", boxes, strict=True)}


def test_the_vote_of_some_is_the_mean_over_all_choices(combine):
    problems, right = [said("4", "4", "1"), said("1", "4", None, tokens=20, cut=True)], ["4", "4"]
    one, two, three = (combine.vote_of(problems, right, size) for size in (1, 2, 3))
    assert one.values == pytest.approx([2 / 3, 1 / 3])
    # a and b agree; each of them with c is a tie. Then: a tie, a's wrong one alone, b's right one alone.
    assert two.values == pytest.approx([(1 + 1 / 2 + 1 / 2) / 3, (1 / 2 + 0 + 1) / 3])
    assert three.values == [1.0, 1 / 2]
    assert [found.tokens for found in (one, two, three)] == [15, 30, 45]
    assert {found.cut for found in (one, two, three)} == {1 / 6}


def test_of_many_agents_some_choices_are_drawn(combine):
    many = {str(number): Completion("\\boxed{4}" if number < 15 else "hm", 1) for number in range(20)}
    assert combine.vote_of([many], ["4"], 10).values == [1.0]
    assert 0.6 < combine.vote_of([many], ["4"], 1).values[0] < 0.9


def test_every_way_of_answering_says_what_it_took(combine):
    found = combine.combined([said("4", "1", "4", tokens=10), said("1", None, "4", tokens=30, cut=True)], ["4", "4"])
    assert list(found) == ["a", "b", "c", "vote_2", "vote", "confidence_vote"]
    assert (found["a"].values, found["a"].tokens, found["a"].cut) == ([1.0, 0.0], 20, 1 / 2)
    assert (found["vote"].tokens, found["vote"].cut) == (60, 1 / 6)


# --- One agent to compare with ------------------------------------------------------------------------------------------------


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch):
    """The recipe's files, and an `ask` that is answered by the second agent alone and keeps the limits of what was asked."""
    with recipe_modules("multi_agent_grpo", ["members", "evaluate", "agents", "data"]) as modules:
        limits = []

        def generate(model, accelerator, tokenizer, prompts, *, max_new_tokens: int, **settings) -> list[Completion]:
            limits.append(max_new_tokens)
            return [Completion("\\boxed{2}" if prompt[0]["content"] == "Second." else "hm", 3, "", 0.5) for prompt in prompts]

        monkeypatch.setattr(modules["members"], "generate", generate)
        settings = GRPOConfig(use_cpu=True, report_to="none", max_completion_length=50)
        team = [modules["agents"].Agent(name, f"{name.title()}.") for name in ("first", "second", "third")]
        problems = [modules["data"].Problem("1 + 1?", "2")] * 4
        yield modules["evaluate"], modules["members"].asker(None, None, None, settings), team, problems, limits


def test_the_single_agent_is_chosen_on_the_validation_once(compared, tmp_path: Path):
    evaluate, ask, team, problems, limits = compared
    kept = tmp_path / "validation.json"
    choose = evaluate.choose_single
    assert choose(ask, problems, team, "third", kept).name == "third"
    assert choose(ask, problems, team, "", kept) is None
    assert not limits
    assert choose(ask, problems, team, "best", kept).name == "second"
    assert limits == [50]
    assert choose(None, problems, team, "best", kept).name == "second"  # nobody is asked again


def test_one_answer_may_be_as_long_as_those_of_the_team(compared):
    evaluate, ask, team, problems, limits = compared
    outcomes, _ = evaluate.measure_single(ask, problems, team[1], 3)
    assert limits == [150, 50]  # one answer; then three samples, each as long as an agent's
    assert list(outcomes) == ["single_agent", "self_consistency_1", "self_consistency_2", "self_consistency"]
    assert [outcome.tokens for outcome in outcomes.values()] == [3, 3, 6, 9]


def test_a_model_is_gone_once_its_agents_have_been_asked(compared, monkeypatch: pytest.MonkeyPatch):
    """The next one is loaded where there is room for one."""
    alive = weakref.WeakSet()

    def load_model(*_) -> torch.nn.Module:
        model = torch.nn.Linear(1, 1)
        alive.add(model)
        return model

    members = sys.modules["members"]
    monkeypatch.setattr(members, "load_model", load_model)
    args = GRPOConfig(use_cpu=True, report_to="none", bf16=False)
    args.run_values = {}
    with members.opened(members.Setup(args, None, None), {}) as ask:
        assert len(alive) == 1
        assert ask([]) == []
    assert not alive
