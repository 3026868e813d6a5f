"""What stands in for a GPU's kernels on the meta device: it keeps for the backward pass what they keep.

Torch's fused attention, TRL's loss in chunks, Liger's modules, and those of gpt-oss's experts.
"""

from functools import partial
from typing import Any

from common.models import experts
from common.plan.ledger import Ledger

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.models.gpt_oss.modeling_gpt_oss import GptOssExperts

ATTENTION, GROUPED = "planned", "planned_grouped"
# Of TRL's kernel (1.16, `trl.kernels.chunked_logprob`): logits of so many tokens and so many words at once.
LOSS_TOKENS, LOSS_WORDS = 4096, 32768


class _Attention(torch.autograd.Function):
    """Fused attention: keeps its inputs and its output, and adds up the queries' gradient in float32 (arXiv:2307.08691)."""

    @staticmethod
    def forward(ctx: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        batch, heads, tokens, _ = query.shape
        output = query.new_empty(batch, tokens, heads, value.shape[-1])
        ctx.save_for_backward(query, key, value, output)
        return output

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple:
        query, key, value, _ = ctx.saved_tensors
        summed = query.new_empty(query.shape, dtype=torch.float32)
        gradients = tuple(torch.empty_like(tensor) for tensor in (query, key, value))
        del summed
        return gradients


def _attend(module: torch.nn.Module, query: Any, key: Any, value: Any, *args: Any, **kwargs: Any) -> tuple:
    groups = query.shape[1] // key.shape[1]
    if groups > 1:  # as sdpa with a mask and our varlen do
        key, value = (states.repeat_interleave(groups, dim=1) for states in (key, value))
    return _Attention.apply(query, key, value), None


def _attend_grouped(module: torch.nn.Module, query: Any, key: Any, value: Any, *args: Any, **kwargs: Any) -> tuple:
    return _Attention.apply(query, key, value), None


class Loss(torch.autograd.Function):
    """TRL's loss: no logits are kept; the gradients of the head and of what it reads are added up in float32."""

    @staticmethod
    def forward(ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, ledger: Ledger) -> torch.Tensor:
        ctx.save_for_backward(hidden, weight)
        ctx.ledger = ledger
        return hidden.new_empty(())

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple:
        hidden, weight = ctx.saved_tensors
        logits = hidden.new_empty(min(len(hidden), LOSS_TOKENS), LOSS_WORDS)
        sums = [
            torch.empty_like(tensor, dtype=torch.float32) if needed else None
            for tensor, needed in zip((hidden, weight), ctx.needs_input_grad[:2], strict=True)
        ]
        rounded = [None if total is None else total.to(hidden.dtype) for total in sums]
        del logits
        ctx.ledger.marks["loss", 0, "end"] = len(ctx.ledger.log)
        return *rounded, None


class _Norm(torch.autograd.Function):
    """Liger's norm: keeps its input, and writes the input's gradient in the place of the output's."""

    @staticmethod
    def forward(ctx: Any, hidden: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(hidden, weight)
        return torch.empty_like(hidden)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple:
        return gradient, torch.empty_like(ctx.saved_tensors[1]) if ctx.needs_input_grad[1] else None


class _Gate(torch.autograd.Function):
    """Liger's gate: keeps its two inputs, and writes their gradients in their place."""

    @staticmethod
    def forward(ctx: Any, gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(gate, up)
        return torch.empty_like(up)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple:
        return ctx.saved_tensors


class _Dropout(torch.autograd.Function):
    """Dropout on a GPU: keeps which numbers stay, a byte each; elsewhere torch keeps a factor for each."""

    @staticmethod
    def forward(ctx: Any, hidden: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(torch.empty_like(hidden, dtype=torch.bool))
        return torch.empty_like(hidden)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        return torch.empty_like(gradient)


class _ExpertGate(torch.autograd.Function):
    """The gate of gpt-oss's experts: keeps what it is given."""

    @staticmethod
    def forward(ctx: Any, states: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(states)
        return states.new_empty(states.shape[0], states.shape[1] // 2)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        return torch.empty_like(ctx.saved_tensors[0])


class _ExpertSum(torch.autograd.Function):
    """The sum of what experts give: keeps what it is given."""

    @staticmethod
    def forward(ctx: Any, states: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(states, weights)
        return states.new_empty(weights.shape[0], states.shape[1])

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple:
        return tuple(torch.empty_like(tensor) for tensor in ctx.saved_tensors)


class ExpertKernels:
    """Those of common/models/expert_kernels.py, which know no meta device."""

    @staticmethod
    def gate(states: torch.Tensor, *args: Any) -> torch.Tensor:
        """Stands in for the gate."""
        return _ExpertGate.apply(states)

    @staticmethod
    def weighted_sum(states: torch.Tensor, bias: Any, back: Any, ids: Any, weights: torch.Tensor) -> torch.Tensor:
        """Stands in for the sum."""
        return _ExpertSum.apply(states, weights)


def use_gpu_experts(model: torch.nn.Module) -> None:
    """Has a model keep what gpt-oss's experts keep on a GPU.

    Args:
        model: On the meta device.
    """
    for module in model.modules():
        if isinstance(module, GptOssExperts):
            module.forward = partial(experts.forward, module, kernels=ExpertKernels)


def use_gpu_dropout(model: torch.nn.Module) -> None:
    """Has a model keep what dropout keeps on a GPU.

    Args:
        model: On the meta device.
    """
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout) and module.p:
            module.forward = _Dropout.apply


def use_fused_modules(model: torch.nn.Module) -> None:
    """Has a model keep what it keeps with Liger's modules, which are Triton kernels and know no meta device.

    Args:
        model: On the meta device.
    """
    for module in model.modules():
        if type(module).__name__.endswith("RMSNorm"):
            module.forward = lambda hidden, norm=module: _Norm.apply(hidden, norm.weight)
        elif all(hasattr(module, name) for name in ("gate_proj", "up_proj", "down_proj")):
            module.forward = lambda hidden, mlp=module: mlp.down_proj(_Gate.apply(mlp.gate_proj(hidden), mlp.up_proj(hidden)))


for _name, _function in ((ATTENTION, _attend), (GROUPED, _attend_grouped)):
    AttentionInterface.register(_name, _function)
    AttentionMaskInterface.register(_name, lambda *args, **kwargs: None)
