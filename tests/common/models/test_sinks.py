"""Attention with sinks on a flash kernel equals eager: on one that follows the kernel's paper, and on a GPU on torch's."""

from copy import deepcopy
from itertools import pairwise
from typing import Any

from common.models import sinks
from common.models.attention import choose_attention

import pytest
import torch
from transformers import AutoModelForCausalLM, GptOssConfig, PreTrainedModel, set_seed

WINDOW = 6


def config() -> GptOssConfig:
    return GptOssConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        num_local_experts=4,
        num_experts_per_tok=2,
        sliding_window=WINDOW,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
        initializer_range=0.2,  # or all scores are nearly alike
        pad_token_id=0,
        eos_token_id=2,
    )


def scores(query: torch.Tensor, key: torch.Tensor, scale: float, causal: bool, left: int) -> torch.Tensor:
    """Returns one row's scores, of shape (heads, queries, keys)."""
    key = key.repeat_interleave(query.shape[1] // key.shape[1], dim=1)
    place = torch.arange(key.shape[0] - query.shape[0], key.shape[0])[:, None] - torch.arange(key.shape[0])
    seen = (place >= 0) & ((place <= left) | causal)
    return (torch.einsum("qhd,khd->hqk", query, key) * scale).masked_fill(~seen, -torch.inf)


def rows(queries: torch.Tensor, keys: torch.Tensor) -> list[tuple[slice, slice]]:
    return [(slice(*q), slice(*k)) for q, k in zip(pairwise(queries.tolist()), pairwise(keys.tolist()), strict=True)]


def flash_forward(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    queries: torch.Tensor,
    keys: torch.Tensor,
    longest_queries: int,
    longest_keys: int,
    dropout: float,
    causal: bool,
    return_debug_mask: bool,
    *,
    scale: float,
    window_size_left: int,
    window_size_right: int,
) -> tuple[torch.Tensor, ...]:
    """FlashAttention-2's results, of rows behind each other."""
    assert (dropout, window_size_right, return_debug_mask) == (0.0, 0, False)
    output, denominator = torch.empty_like(query), query.new_empty(query.shape[1], query.shape[0])
    for q, k in rows(queries, keys):
        assert q.stop - q.start <= longest_queries
        assert k.stop - k.start <= longest_keys
        found = scores(query[q], key[k], scale, causal, window_size_left)
        groups = query.shape[1] // value.shape[1]
        output[q] = torch.einsum("hqk,khd->qhd", found.softmax(-1), value[k].repeat_interleave(groups, dim=1))
        denominator[:, q] = found.logsumexp(-1)
    return output, denominator, None, None, None


def flash_backward(
    gradient: torch.Tensor,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    output: torch.Tensor,
    denominator: torch.Tensor,
    queries: torch.Tensor,
    keys: torch.Tensor,
    longest_queries: int,
    longest_keys: int,
    dropout: float,
    causal: bool,
    *no_dropout: Any,
    scale: float,
    window_size_left: int,
    window_size_right: int,
) -> tuple[torch.Tensor, ...]:
    """FlashAttention-2's gradients (its algorithm 2): from the output and the denominators that it is given."""
    of_query, of_key, of_value = (torch.empty_like(states) for states in (query, key, value))
    groups = query.shape[1] // value.shape[1]
    for q, k in rows(queries, keys):
        shares = (scores(query[q], key[k], scale, causal, window_size_left) - denominator[:, q, None]).exp()
        of_shares = torch.einsum("qhd,khd->hqk", gradient[q], value[k].repeat_interleave(groups, dim=1))
        of_scores = shares * (of_shares - (gradient[q] * output[q]).sum(-1).t()[..., None]) * scale
        of_query[q] = torch.einsum("hqk,khd->qhd", of_scores, key[k].repeat_interleave(groups, dim=1))
        of_key[k] = torch.einsum("hqk,qhd->khd", of_scores, query[q]).unflatten(1, (-1, groups)).sum(2)
        of_value[k] = torch.einsum("hqk,qhd->khd", shares, gradient[q]).unflatten(1, (-1, groups)).sum(2)
    return of_query, of_key, of_value


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stands in for torch's, which needs a GPU: see the test on one below."""
    monkeypatch.setattr(sinks, "flash_forward", flash_forward)
    monkeypatch.setattr(sinks, "flash_backward", flash_backward)
    monkeypatch.setattr("common.models.attention.compute_capability", lambda: (9, 0))


def both(**settings: Any) -> tuple[PreTrainedModel, PreTrainedModel]:
    """Returns the same model with sinks on the flash kernel, and with eager attention."""
    models = []
    for attention in (choose_attention("varlen", torch.bfloat16, config()), "eager"):
        set_seed(0)
        models.append(AutoModelForCausalLM.from_config(config(), attn_implementation=attention, **settings))
        for name, weight in models[-1].named_parameters():
            if name.endswith("sinks"):
                torch.nn.init.normal_(weight)
    assert models[0].config._attn_implementation == "varlen_sinks"
    return models[0], models[1]


def batch(padding: str) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    tokens, mask = torch.randint(3, 64, (3, 17)), torch.ones(3, 17, dtype=torch.long)
    if padding == "left":
        mask[0, :9], mask[2, :2] = 0, 0
    if padding == "right":
        mask[0, 8:], mask[1, -1] = 0, 0
    if padding == "both":
        mask[0, :3], mask[1, -1], mask[2, 9:] = 0, 0, 0
    inputs = {"input_ids": tokens, "position_ids": (mask.cumsum(-1) - 1).clamp(min=0)}
    return inputs if padding == "no mask" else inputs | {"attention_mask": mask}


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("padding", ["no mask", "none", "left", "right", "both"])
def test_logits_and_gradients_are_those_of_eager(padding: str):
    inputs = batch(padding)
    kept = inputs.get("attention_mask", torch.ones(3, 17)).bool()
    found = []
    for model in both():
        logits = model(**inputs, use_cache=False).logits[kept]
        logits.square().mean().backward()
        gradients = {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}
        assert sum(name.endswith("sinks") for name in gradients) == 3
        found.append((logits.detach(), gradients))
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("padding", ["none", "left"])
def test_a_cache_beyond_the_window_answers_as_eager(padding: str):
    ours, eager = both()
    inputs = batch(padding)
    del inputs["position_ids"]
    answers = [model.generate(**inputs, max_new_tokens=2 * WINDOW, do_sample=False) for model in (ours, eager)]
    assert answers[0].tolist() == answers[1].tolist()


@pytest.mark.usefixtures("kernel")
def test_the_comparison_notices_a_missing_sink():
    """With sinks far below all scores nothing is taken, and the logits differ: the tests above mean something."""
    ours, eager = both()
    for name, weight in ours.named_parameters():
        if name.endswith("sinks"):
            torch.nn.init.constant_(weight, -100.0)
    inputs = batch("none")
    with torch.no_grad():
        assert (ours(**inputs).logits - eager(**inputs).logits).abs().max() > 0.01


def test_a_cache_of_a_fixed_size_is_refused():
    with pytest.raises(ValueError, match="takes no cache of a fixed size"):
        sinks.rows_of(1, 1, 32, attention_mask=torch.ones(1, 5, dtype=torch.bool))


@pytest.mark.parametrize("capability", [(0, 0), (7, 5)])
def test_eager_computes_the_same_without_a_gpu_or_on_an_older_one(monkeypatch, capsys, capability: tuple[int, int]):
    monkeypatch.setattr("common.models.attention.compute_capability", lambda: capability)
    assert choose_attention("varlen", torch.bfloat16, config()) == "eager"
    assert "16 bits: using eager, which computes the same" in capsys.readouterr().out


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch's flash kernel needs an NVIDIA GPU")
@pytest.mark.parametrize("padding", ["none", "left", "right"])
def test_torchs_kernel_on_a_gpu_equals_eager(padding: str):
    """In bfloat16: no further from eager in float32 than twice what eager in bfloat16 is."""
    inputs = {name: value.cuda() for name, value in batch(padding).items()}
    kept = inputs["attention_mask"].bool()
    ours, eager = both(dtype=torch.bfloat16)
    exact, found = deepcopy(eager).float(), []
    for model in (ours, eager, exact):
        logits = model.cuda()(**inputs, use_cache=False).logits[kept]
        logits.float().square().mean().backward()
        gradients = [weight.grad.float().flatten() for weight in model.parameters() if weight.grad is not None]
        of_sinks = [weight.grad.float() for name, weight in model.named_parameters() if name.endswith("sinks")]
        found.append([logits.detach().float(), torch.cat(gradients), torch.cat(of_sinks)])
    for ours, eager, exact in zip(*found, strict=True):
        assert (ours - exact).norm() < 2 * (eager - exact).norm()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch's flash kernel needs an NVIDIA GPU")
@pytest.mark.parametrize("padding", ["none", "left"])
def test_a_cache_on_a_gpu_gives_the_logits_of_eager(padding: str):
    """One token after the other, as in generation."""
    inputs = {name: value.cuda() for name, value in batch(padding).items()}
    ours, eager = both(dtype=torch.bfloat16)
    exact, found = deepcopy(eager).float(), []
    for model in (ours, eager, exact):
        cache, logits = None, []
        with torch.no_grad():
            for start, stop in ((0, 10), *((place, place + 1) for place in range(10, 17))):
                tokens, places = inputs["input_ids"][:, start:stop], inputs["position_ids"][:, start:stop]
                mask = inputs["attention_mask"][:, :stop]
                output = model.cuda()(tokens, attention_mask=mask, position_ids=places, past_key_values=cache, use_cache=True)
                cache = output.past_key_values
                logits.append(output.logits[:, -1].float())
        found.append(torch.stack(logits))
    assert (found[0] - found[2]).norm() < 2 * (found[1] - found[2]).norm()
