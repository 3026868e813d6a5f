"""The engine says what `generate` says, token for token, and samples from the distribution that it is told to."""

import random

from common.generate import engine as engine_module
from common.generate import requests as requests_module
from common.generate.decode import Decoder
from common.generate.engine import Decoded, Engine
from common.generate.next_token import processors_of
from common.models.families import ENGINE_MODELS

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, GenerationConfig, PreTrainedModel

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
VOCABULARY = 512


def tiny(model_type: str, device: str, spread: float = 0.3) -> PreTrainedModel:
    """Returns a decoder with random weights that says many different things."""
    torch.manual_seed(0)
    config = CONFIG_MAPPING[model_type](
        vocab_size=VOCABULARY,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        max_position_embeddings=512,
        initializer_range=spread,
        sliding_window=None,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=7,
    )
    return AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").to(device).eval()


def some_prompts(count: int, seed: int = 0) -> list[list[int]]:
    """Returns prompts of many lengths; each fourth is the one before it."""
    numbers = random.Random(seed)
    lengths = [1, 3, 7, 18, 40]
    prompts = [[numbers.randrange(10, VOCABULARY) for _ in range(numbers.choice(lengths))] for _ in range(count)]
    return [prompts[place - (place % 4 == 3)] for place in range(count)]


def greedy(**settings: float | list[int]) -> GenerationConfig:
    return GenerationConfig(do_sample=False, pad_token_id=0, **{"eos_token_id": [7, 9], "max_new_tokens": 40} | settings)


def by_generate(model: PreTrainedModel | PeftModel, prompts: list[list[int]], config: GenerationConfig) -> list[list[int]]:
    """Returns what `generate` says to prompts of one length, up to the end of each turn."""
    ids = torch.tensor(prompts, device=model.device)
    output = model.generate(ids, attention_mask=torch.ones_like(ids), generation_config=config)[:, ids.shape[1] :].tolist()
    ends = [next((place for place, token in enumerate(row, 1) if token in ends_of(config)), len(row)) for row in output]
    return [row[:end] for row, end in zip(output, ends, strict=True)]


def ends_of(config: GenerationConfig) -> list[int]:
    return config.eos_token_id if isinstance(config.eos_token_id, list) else [config.eos_token_id]


def plain(model: PreTrainedModel | PeftModel, prompt: list[int], tokens: list[int]) -> torch.Tensor:
    """Returns the log-probabilities of all tokens at each place of a completion, from a pass over the whole row."""
    logits = model(torch.tensor([prompt + tokens], device=model.device)).logits
    return logits[0, len(prompt) - 1 : -1].float().log_softmax(dim=-1)


def assert_same(model: PreTrainedModel | PeftModel, prompts: list[list[int]], done: list[Decoded], config: GenerationConfig):
    """Token for token; on a GPU a tie of two logits may fall otherwise, and what follows it differs."""
    said: dict[tuple[int, ...], list[int]] = {}
    for length in {len(prompt) for prompt in prompts}:
        alike = [prompt for prompt in prompts if len(prompt) == length]
        said |= zip(map(tuple, alike), by_generate(model, alike, config), strict=True)
    for prompt, found in zip(prompts, done, strict=True):
        expected = said[tuple(prompt)]
        if found.tokens != expected:
            assert model.device.type == "cuda", (found.tokens, expected)
            pairs = zip(found.tokens, expected, strict=False)
            place = next(place for place, (one, other) in enumerate(pairs) if one != other)
            at = plain(model, prompt, found.tokens)[place]
            assert abs(at[found.tokens[place]] - at[expected[place]]) < 1e-3
        again = plain(model, prompt, found.tokens).gather(1, torch.tensor(found.tokens, device=model.device)[:, None])
        assert (again[:, 0].cpu() - torch.tensor(found.logprobs)).abs().max() < 1e-3


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("model_type", ENGINE_MODELS)
def test_greedy_tokens_and_log_probabilities(model_type: str, device: str):
    model, prompts = tiny(model_type, device), some_prompts(16)
    for config in (greedy(), greedy(repetition_penalty=1.4), greedy(max_new_tokens=1), greedy(eos_token_id=600)):
        done = Engine(model, config, slots=10, length=80)(prompts, config.max_new_tokens)
        assert_same(model, prompts, done, config)
    assert {len(one.tokens) for one in done} == {40}  # of the last one, which knows no end


@pytest.mark.parametrize("device", DEVICES)
def test_slots_are_filled_again_and_moved_together(monkeypatch: pytest.MonkeyPatch, device: str):
    """A few slots for many prompts, wide or narrow, read in small parts: the same tokens."""
    model, prompts, config = tiny("qwen2", device), some_prompts(32), greedy(max_new_tokens=100)
    expected = Engine(model, config, slots=32, length=140)(prompts, 100)
    lengths = sorted(len(one.tokens) for one in expected)
    assert lengths[0] < 20 < lengths[-1]  # they end at very different times
    monkeypatch.setattr(engine_module, "FEWEST_SLOTS", 2)
    monkeypatch.setattr(requests_module, "PREFILL_TOKENS", 64)
    counts = set()
    model.model.register_forward_hook(
        lambda module, inputs, settings, output: counts.add(len(settings["input_ids"])), with_kwargs=True
    )
    engine = Engine(model, config, slots=8, length=140)
    for _ in range(2):
        assert [one.tokens for one in engine(prompts, 100)] == [one.tokens for one in expected]
    assert {8, 4, 2} <= counts
    assert_same(model, prompts[:8], expected[:8], config)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    "settings",
    [{"temperature": 0.7}, {"temperature": 1.5, "top_k": 5}, {"top_p": 0.6}, {"min_p": 0.2}, {"repetition_penalty": 2.0}],
)
def test_samples_come_from_the_distribution(device: str, settings: dict[str, float]):
    model, prompt, count = tiny("qwen2", device), some_prompts(1)[0], 4000
    config = GenerationConfig(do_sample=True, eos_token_id=7, pad_token_id=0, max_new_tokens=2, **{"top_k": 0} | settings)
    engine = Engine(model, config, slots=count, length=len(prompt) + 2)
    done = engine([prompt] * count, 2, seed=1)
    ids = torch.tensor([prompt], device=device)
    logits = model(ids).logits[:, -1].float()
    expected = processors_of(config)(ids, logits).softmax(dim=-1)[0].cpu()
    counts = torch.bincount(torch.tensor([one.tokens[0] for one in done]), minlength=VOCABULARY)
    assert not counts[expected == 0].any()
    likely = expected * count >= 5  # Pearson's statistic is chi-squared only where enough is expected
    statistic = ((counts - expected * count)[likely] ** 2 / (expected * count)[likely]).sum().item()
    freedom = max(1, int(likely.sum()) - 1)
    assert statistic < freedom + 5 * (2 * freedom) ** 0.5, statistic
    tempered = (logits / settings.get("temperature", 1.0)).log_softmax(dim=-1)[0].cpu()
    for one in done[:50]:
        assert abs(one.logprobs[0] - tempered[one.tokens[0]]) < 1e-3
    assert [one.tokens for one in engine([prompt] * count, 2, seed=1)] == [one.tokens for one in done]
    assert [one.tokens for one in engine([prompt] * count, 2, seed=2)] != [one.tokens for one in done]


def test_what_is_said_does_not_depend_on_what_is_generated_beside_it():
    model, prompts = tiny("qwen2", "cpu"), some_prompts(24)
    config = GenerationConfig(do_sample=True, top_k=0, eos_token_id=7, pad_token_id=0)
    wide, narrow = (Engine(model, config, slots=slots, length=80)(prompts, 40, seed=3) for slots in (24, 4))
    assert [one.tokens for one in wide] == [one.tokens for one in narrow]
    again = Engine(model, config, slots=24, length=80)(prompts[:5], 40, seed=3)
    assert [one.tokens for one in again] == [one.tokens for one in wide[:5]]
    assert len({tuple(one.tokens) for one in wide}) == 24  # also where prompts are the same


@pytest.mark.parametrize("device", DEVICES)
def test_adapters_unmerged(device: str):
    model = get_peft_model(tiny("qwen2", device), LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False))
    model.add_adapter("other", LoraConfig(r=4, lora_alpha=2, target_modules="all-linear", init_lora_weights=False))
    model.eval()
    prompts, config = some_prompts(12), greedy()
    decoder, names = Decoder(config), ["default", "other", "__base__"] * 4
    for _ in range(2):
        done = decoder(model, prompts, 40, names)
        for name in set(names):
            mine = [number for number, other in enumerate(names) if other == name]
            if name == "__base__":
                with model.disable_adapter():
                    assert_same(model, [prompts[number] for number in mine], [done[number] for number in mine], config)
            else:
                model.set_adapter(name)
                assert_same(model, [prompts[number] for number in mine], [done[number] for number in mine], config)
        model.set_adapter("default")
        with torch.no_grad():  # what training changes is read anew
            for name, weight in model.named_parameters():
                if "lora_" in name:
                    weight.mul_(1.5)
    said = {name: [done[number].tokens for number in range(12) if names[number] == name] for name in names}
    assert said["default"] != said["other"] != said["__base__"]


def test_a_decoder_makes_room_for_more_and_longer_prompts():
    model, config = tiny("llama", "cpu"), greedy()
    decoder = Decoder(config)
    for count, longest in ((2, 3), (5, 3), (2, 200), (5, 30)):
        prompts = [[10 + number] * longest for number in range(count)]
        assert_same(model, prompts, decoder(model, prompts, 40), config)


@pytest.mark.gpu
def test_weights_that_change_in_place_are_seen_by_the_recorded_steps():
    model, prompts, config = tiny("qwen2", "cuda"), some_prompts(24), greedy()
    decoder = Decoder(config)
    before = decoder(model, prompts, 40)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(0.9)
    after = decoder(model, prompts, 40)
    assert [one.tokens for one in after] != [one.tokens for one in before]
    assert_same(model, prompts, after, config)
