"""The experts of gpt-oss in fewer steps, and their adapters beside the frozen weights instead of added to them.

transformers (5.23) takes the tokens by their index, and adds up the gradient of each by a scatter; here it is put back into
the tokens' order and summed. PEFT (0.21) adds the adapters to the weights of all experts anew at each forward pass, 1.6 GB a
layer of gpt-oss-20b; here x (W + A B) is computed as x W + (x A) B.
"""

from types import MethodType
from typing import Any

from common.models.attention import compute_capability

import torch
from peft import PeftModel
from peft.tuners.lora.layer import ParamWrapper
from torch.nn import functional
from transformers import PreTrainedModel
from transformers.models.gpt_oss.modeling_gpt_oss import GptOssExperts

Factors = dict[str, tuple[torch.Tensor, torch.Tensor, float]]  # by parameter: A, B and what their product is multiplied by
GROUPED_CAPABILITY = (8, 0)  # of torch's `grouped_mm` on CUDA, as transformers asks for it (integrations/moe.py)
ALIGNED = 8  # numbers: `grouped_mm` takes matrices whose rows begin at multiples of 16 bytes


class _Take(torch.autograd.Function):
    """Copies of rows in another order; the gradient is put back into the old one, instead of added up row by row."""

    @staticmethod
    def forward(ctx: Any, rows: torch.Tensor, order: torch.Tensor, back: torch.Tensor, copies: int) -> torch.Tensor:
        ctx.save_for_backward(back)
        ctx.copies = copies
        return rows[order // copies if copies > 1 else order]

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:
        gradient = gradient[ctx.saved_tensors[0]]
        return gradient.view(-1, ctx.copies, gradient.shape[1]).sum(dim=1), None, None, None


def _aligned(matrix: torch.Tensor, dim: int) -> torch.Tensor:
    """Returns matrices as `grouped_mm` takes them: with zeros up to such a rank, which leave the product as it is."""
    missing = -matrix.shape[dim] % ALIGNED
    return functional.pad(matrix, (0, missing) if dim == -1 else (0, 0, 0, missing)).contiguous()


def _product(experts: GptOssExperts, name: str, states: torch.Tensor, ends: torch.Tensor, factors: Factors) -> torch.Tensor:
    """Returns the product of each row and its expert's weights, adapters among them.

    Args:
        experts: Hold the weights.
        name: Of the parameter.
        states: Of shape (rows, in), sorted by expert.
        ends: How many rows there are up to each expert's last, int32.
        factors: The adapters.

    Returns:
        Of shape (rows, out).
    """
    weight = getattr(experts, name)
    states = states.to(weight.dtype)
    output = functional.grouped_mm(states, weight, offs=ends)
    if name in factors:
        lhs, rhs, scaling = factors[name]
        narrow = functional.grouped_mm(states, _aligned(lhs, -1), offs=ends)
        output.add_(functional.grouped_mm(narrow, _aligned(rhs, -2), offs=ends), alpha=scaling)
    return output


def forward(
    experts: GptOssExperts,
    hidden_states: torch.Tensor,
    router_indices: torch.Tensor,
    routing_weights: torch.Tensor,
    factors: Factors | None = None,
    kernels: Any = None,
) -> torch.Tensor:
    """Returns the weighted sum of what the chosen experts make of each token.

    Args:
        experts: Of one layer.
        hidden_states: Of shape (tokens, hidden).
        router_indices: The chosen experts, of shape (tokens, experts a token).
        routing_weights: Their weights, of the same shape.
        factors: Adapters of their parameters.
        kernels: What holds the functions of expert_kernels.py; None for these on a GPU, and elsewhere for torch.

    Returns:
        Of shape (tokens, hidden).
    """
    if kernels is None and hidden_states.is_cuda:
        from common.models import expert_kernels as kernels  # Triton's, which compiles for a GPU
    num_tokens, top_k = router_indices.shape
    ids, order = router_indices.flatten().sort(stable=True)
    back = order.argsort()
    ends = torch.searchsorted(ids, torch.arange(experts.num_experts, device=ids.device), right=True).to(torch.int32)
    states = _Take.apply(hidden_states, order, back, top_k)
    states = _product(experts, "gate_up_proj", states, ends, factors or {})
    if kernels:
        states = kernels.gate(states, experts.gate_up_proj_bias, ids, experts.alpha, experts.limit)
    else:
        states = experts._apply_gate(states + experts.gate_up_proj_bias[ids])
    states = _product(experts, "down_proj", states, ends, factors or {})
    if kernels:
        return kernels.weighted_sum(states, experts.down_proj_bias, back, ids, routing_weights).to(hidden_states.dtype)
    states = _Take.apply(states + experts.down_proj_bias[ids], back, order, 1).view(num_tokens, top_k, -1)
    return (states * routing_weights[..., None]).sum(dim=1).to(hidden_states.dtype)


def use_sorted_experts(model: PreTrainedModel) -> None:
    """Gives gpt-oss's experts the forward pass of this module, where torch can multiply the tokens of all experts at once.

    Args:
        model: A model; one of another family stays as it is.
    """
    if torch.cuda.is_available() and compute_capability() < GROUPED_CAPABILITY:
        return
    for module in model.modules():
        if isinstance(module, GptOssExperts):
            module.forward = MethodType(forward, module)


def _forward_with_adapters(wrapper: ParamWrapper, hidden_states: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
    """Returns what experts with adapters make of each token; as PEFT does where adapters are off, merged or several."""
    if wrapper.disable_adapters or wrapper.merged or len(wrapper.active_adapters) != 1:
        return ParamWrapper.forward(wrapper, hidden_states, *args, **kwargs)
    factors, layer = {}, wrapper
    while isinstance(layer, ParamWrapper):
        factors[layer.parameter_name] = layer.get_delta_factors(wrapper.active_adapters[0])
        layer = layer.base_layer
    return layer(hidden_states, *args, **kwargs, factors=factors)


def keep_adapters_apart(model: PreTrainedModel | PeftModel) -> None:
    """Has the adapters of gpt-oss's experts multiplied with the tokens by themselves.

    Args:
        model: With its adapters; one without stays as it is.
    """
    for module in model.modules():
        if isinstance(module, ParamWrapper) and "forward" in vars(module.get_base_layer()):
            module.forward = MethodType(_forward_with_adapters, module)
