"""Triton kernels of gpt-oss's experts: their gate with its bias, and the weighted sum of what they give, each in one launch.

Imported where there is a GPU. The products in between stay torch's.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch.nn import functional

BLOCK = 1024  # numbers of a row at once


@triton.jit
def _clamped(states, bias, places, inside, LIMIT: tl.constexpr):
    """Returns the gate and what it opens for, each clamped, and where the clamp passes a gradient."""
    pairs = tl.load(states + places, mask=inside, other=0.0).to(tl.float32)
    pairs += tl.load(bias + places, mask=inside, other=0.0).to(tl.float32)
    gate, up = tl.split(tl.reshape(pairs, [places.shape[0] // 2, 2]))  # they stand in turn
    # As torch's clamp, not as Triton's minimum by itself: what is no number stays none, and is seen in the loss.
    clamped_gate = tl.minimum(gate, LIMIT, propagate_nan=tl.PropagateNan.ALL)
    clamped_up = tl.maximum(up, -LIMIT, propagate_nan=tl.PropagateNan.ALL)
    clamped_up = tl.minimum(clamped_up, LIMIT, propagate_nan=tl.PropagateNan.ALL)
    return clamped_gate, clamped_up, gate <= LIMIT, tl.abs(up) <= LIMIT


@triton.jit
def _gate_kernel(
    states, bias, ids, output, size, ALPHA: tl.constexpr, LIMIT: tl.constexpr, BLOCK: tl.constexpr
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    pairs = tl.program_id(1) * 2 * BLOCK + tl.arange(0, 2 * BLOCK)
    own_bias = bias + tl.load(ids + row) * 2 * size
    gate, up, _, _ = _clamped(states + row * 2 * size, own_bias, pairs, pairs < 2 * size, LIMIT)
    opened = (up + 1) * gate * tl.sigmoid(ALPHA * gate)
    places = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    tl.store(output + row * size + places, opened.to(output.dtype.element_ty), mask=places < size)


@triton.jit
def _gate_gradient_kernel(
    gradient, states, bias, ids, output, size, ALPHA: tl.constexpr, LIMIT: tl.constexpr, BLOCK: tl.constexpr
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    pairs = tl.program_id(1) * 2 * BLOCK + tl.arange(0, 2 * BLOCK)
    own_bias = bias + tl.load(ids + row) * 2 * size
    gate, up, gate_passes, up_passes = _clamped(states + row * 2 * size, own_bias, pairs, pairs < 2 * size, LIMIT)
    places = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    given = tl.load(gradient + row * size + places, mask=places < size, other=0.0).to(tl.float32)
    share = tl.sigmoid(ALPHA * gate)
    of_gate = tl.where(gate_passes, given * (up + 1) * share * (1 + ALPHA * gate * (1 - share)), 0.0)
    of_up = tl.where(up_passes, given * gate * share, 0.0)
    of_pairs = tl.interleave(of_gate, of_up)
    tl.store(output + row * 2 * size + pairs, of_pairs.to(output.dtype.element_ty), mask=pairs < 2 * size)


class _Gate(torch.autograd.Function):
    """See `gate`."""

    @staticmethod
    def forward(
        ctx: Any, states: torch.Tensor, bias: torch.Tensor, ids: torch.Tensor, alpha: float, limit: float
    ) -> torch.Tensor:
        states, bias = states.contiguous(), bias.contiguous()
        rows, size = states.shape[0], states.shape[1] // 2
        output = states.new_empty(rows, size)
        _gate_kernel[rows, triton.cdiv(size, BLOCK)](states, bias, ids, output, size, alpha, limit, BLOCK)
        ctx.save_for_backward(states, bias, ids)
        ctx.numbers = alpha, limit
        return output

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        states, bias, ids = ctx.saved_tensors
        rows, size = gradient.shape
        output = torch.empty_like(states)
        _gate_gradient_kernel[rows, triton.cdiv(size, BLOCK)](
            gradient.contiguous(), states, bias, ids, output, size, *ctx.numbers, BLOCK
        )
        return output, _of_bias(output, ids, bias) if ctx.needs_input_grad[1] else None, None, None, None


def _of_bias(gradient: torch.Tensor, ids: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """Returns the gradient of each expert's bias, the sum of its rows', as a product: it adds in the same order each time."""
    return (functional.one_hot(ids, len(bias)).t().to(gradient.dtype) @ gradient).to(bias.dtype)


def gate(states: torch.Tensor, bias: torch.Tensor, ids: torch.Tensor, alpha: float, limit: float) -> torch.Tensor:
    """Returns gpt-oss's gated activation of states with their experts' biases added; nothing but the states is kept.

    Args:
        states: Of shape (rows, 2 x size), gate and up in turn.
        bias: Of shape (experts, 2 x size).
        ids: Each row's expert.
        alpha: In gate x sigmoid(alpha x gate).
        limit: Where gate and up are clamped.

    Returns:
        Of shape (rows, size).
    """
    return _Gate.apply(states, bias, ids, alpha, limit)


@triton.jit
def _sum_kernel(states, bias, back, ids, weights, output, size, COPIES: tl.constexpr, BLOCK: tl.constexpr):
    token = tl.program_id(0).to(tl.int64)
    places = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = places < size
    total = tl.zeros([BLOCK], tl.float32)
    for copy in tl.static_range(COPIES):
        row = tl.load(back + token * COPIES + copy)
        found = tl.load(states + row * size + places, mask=inside, other=0.0).to(tl.float32)
        found += tl.load(bias + tl.load(ids + row) * size + places, mask=inside, other=0.0).to(tl.float32)
        total += found * tl.load(weights + token * COPIES + copy).to(tl.float32)
    tl.store(output + token * size + places, total.to(output.dtype.element_ty), mask=inside)


@triton.jit
def _sum_gradient_kernel(
    gradient, states, bias, back, ids, weights, of_states, of_weights, size, COPIES: tl.constexpr, BLOCK: tl.constexpr
):  # fmt: skip
    token, copy = tl.program_id(0).to(tl.int64), tl.program_id(1)
    row = tl.load(back + token * COPIES + copy)
    expert = tl.load(ids + row)
    weight = tl.load(weights + token * COPIES + copy).to(tl.float32)
    total = tl.zeros([BLOCK], tl.float32)
    for first in range(0, size, BLOCK):
        places = first + tl.arange(0, BLOCK)
        inside = places < size
        given = tl.load(gradient + token * size + places, mask=inside, other=0.0).to(tl.float32)
        found = tl.load(states + row * size + places, mask=inside, other=0.0).to(tl.float32)
        found += tl.load(bias + expert * size + places, mask=inside, other=0.0).to(tl.float32)
        total += given * found
        tl.store(of_states + row * size + places, (given * weight).to(of_states.dtype.element_ty), mask=inside)
    tl.store(of_weights + token * COPIES + copy, tl.sum(total, 0).to(of_weights.dtype.element_ty))


class _WeightedSum(torch.autograd.Function):
    """See `weighted_sum`."""

    @staticmethod
    def forward(
        ctx: Any, states: torch.Tensor, bias: torch.Tensor, back: torch.Tensor, ids: torch.Tensor, weights: torch.Tensor
    ) -> torch.Tensor:
        states, bias, weights = states.contiguous(), bias.contiguous(), weights.contiguous()
        (tokens, copies), size = weights.shape, states.shape[1]
        output = states.new_empty(tokens, size)
        _sum_kernel[tokens, triton.cdiv(size, BLOCK)](states, bias, back, ids, weights, output, size, copies, BLOCK)
        ctx.save_for_backward(states, bias, back, ids, weights)
        return output

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        states, bias, back, ids, weights = ctx.saved_tensors
        of_states, of_weights = torch.empty_like(states), torch.empty_like(weights)
        _sum_gradient_kernel[weights.shape](
            gradient.contiguous(), states, bias, back, ids, weights, of_states, of_weights,
            states.shape[1], weights.shape[1], BLOCK,
        )  # fmt: skip
        of_bias = _of_bias(of_states, ids, bias) if ctx.needs_input_grad[1] else None
        return of_states, of_bias, None, None, of_weights


def weighted_sum(
    states: torch.Tensor, bias: torch.Tensor, back: torch.Tensor, ids: torch.Tensor, weights: torch.Tensor
) -> torch.Tensor:
    """Returns for each token the sum of its experts' outputs with their biases, each times its weight.

    Args:
        states: Of shape (rows, size), sorted by expert.
        bias: Of shape (experts, size).
        back: Which row each token's first, second ... expert has made, of shape (tokens x experts a token,).
        ids: Each row's expert.
        weights: Of shape (tokens, experts a token).

    Returns:
        Of shape (tokens, size).
    """
    return _WeightedSum.apply(states, bias, back, ids, weights)
