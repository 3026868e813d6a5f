"""gpt-oss's attention on torch's flash kernel, which knows no attention sinks: they are put in behind it, both ways.

A sink is a score without a value (Xiao 2023, arXiv:2309.17453): it takes its share of the softmax and adds nothing. What the
kernel gives is therefore too large by a factor that follows from the logarithm of its softmax's denominator, which it returns.
The backward kernel computes the probabilities from that logarithm, and what else it needs from the product of the output and
its gradient (Dao 2023, arXiv:2307.08691, algorithm 2): given those with the sink, it returns the gradients with the sink.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

flash_forward = torch.ops.aten._flash_attention_forward
flash_backward = torch.ops.aten._flash_attention_backward


@dataclass(frozen=True)
class Rows:
    """Where the rows of a batch begin and end, for all layers: what takes the place of a mask.

    Attributes:
        queries: Where each row's queries begin, and the number of all, of shape (rows + 1,), int32.
        keys: The same of its keys; the last query of a row is at its last key.
        longest_queries: Of the longest row, in tokens.
        longest_keys: Of the longest row, in tokens.
        kept_queries: Which of (rows x queries) are tokens; None where all are computed.
        kept_keys: Which of (rows x keys) are tokens; None where all are computed.
    """

    queries: torch.Tensor
    keys: torch.Tensor
    longest_queries: int
    longest_keys: int
    kept_queries: torch.Tensor | None = None
    kept_keys: torch.Tensor | None = None


def _whole(batch_size: int, length: int, device: torch.device) -> torch.Tensor:
    return torch.arange(0, (batch_size + 1) * length, length, dtype=torch.int32, device=device)


def _kept(mask: torch.Tensor) -> tuple[torch.Tensor, int, torch.Tensor]:
    """Returns where the rows of a mask's tokens begin, how many the longest has, and which they are."""
    lengths = mask.sum(dim=1)
    return functional.pad(lengths.cumsum(0), (1, 0)).to(torch.int32), int(lengths.max()), mask.flatten().nonzero().flatten()


def rows_of(
    batch_size: int,
    q_length: int,
    kv_length: int,
    attention_mask: torch.Tensor | None = None,
    device: torch.device | str = "cpu",
    **kwargs: Any,
) -> Rows:
    """Describes a batch; called by transformers once for all layers of a kind, in the place of a mask.

    Args:
        batch_size: Number of rows.
        q_length: Of queries in each, with padding.
        kv_length: Of keys in each, with padding.
        attention_mask: True for tokens, of shape (rows, keys or more); None where there is no padding.
        device: Where the tensors go.
        **kwargs: What other masks need.

    Raises:
        ValueError: If the cache has more room than there are tokens.
    """
    if attention_mask is not None:
        mask = attention_mask[:, -kv_length:].bool()  # a window's cache has the last ones alone
        if mask.shape[1] < kv_length:
            raise ValueError("attn_implementation varlen of gpt_oss takes no cache of a fixed size; use flex_attention")
        # Padding behind the tokens is seen by none of them: it is computed, like a token, and nothing is taken out.
        seen = mask[:, :-1] >= mask[:, 1:] if q_length == kv_length else mask
        if not bool(seen.all() & mask[:, 0].all()):
            queries, longest_queries, kept_queries = _kept(mask[:, -q_length:])
            keys, longest_keys, kept_keys = _kept(mask)
            return Rows(queries, keys, longest_queries, longest_keys, kept_queries, kept_keys)
    return Rows(_whole(batch_size, q_length, device), _whole(batch_size, kv_length, device), q_length, kv_length)


class _FlashWithSinks(torch.autograd.Function):
    """Attention with sinks; see above."""

    @staticmethod
    def forward(
        ctx: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        sinks: torch.Tensor,
        rows: Rows,
        scaling: float | None,
        window: int,
    ) -> torch.Tensor:
        places = (rows.queries, rows.keys, rows.longest_queries, rows.longest_keys)
        settings = {"scale": scaling, "window_size_left": window, "window_size_right": 0}
        output, denominator, *_ = flash_forward(
            query, key, value, *places, 0.0, window < 0, return_debug_mask=False, **settings
        )  # the denominators' logarithms, of shape (heads, tokens)
        whole = torch.logaddexp(denominator, sinks.float()[:, None])
        output.mul_((denominator - whole).exp_().t()[..., None])
        ctx.save_for_backward(query, key, value, sinks, output, whole)
        ctx.places, ctx.settings, ctx.causal = places, settings, window < 0
        return output

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        query, key, value, sinks, output, whole = ctx.saved_tensors
        gradient = gradient.contiguous()
        no_dropout = torch.zeros(2, dtype=torch.uint64, device=query.device), torch.empty(0, device=query.device)
        of_query, of_key, of_value = flash_backward(
            gradient, query, key, value, output, whole, *ctx.places, 0.0, ctx.causal, *no_dropout, **ctx.settings
        )
        of_sinks = None
        if ctx.needs_input_grad[3]:
            share = (sinks.float()[:, None] - whole).exp()
            of_sinks = -(share * (gradient.float() * output.float()).sum(dim=-1).t()).sum(dim=1).to(sinks.dtype)
        return of_query, of_key, of_value, of_sinks, None, None, None


def attend_with_sinks(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: Rows,
    scaling: float | None = None,
    sliding_window: int | None = None,
    *,
    s_aux: torch.Tensor,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attends causally within each row, with a sink for each head.

    Args:
        module: The attention layer.
        query: Of shape (batch, heads, tokens, head dimension).
        key: Of shape (batch, key/value heads, tokens, head dimension).
        value: Of the same shape.
        attention_mask: What `rows_of` returned.
        scaling: Factor of the scores; None for one over the root of the head dimension.
        sliding_window: How many tokens back are seen, the own one among them; None for all.
        s_aux: The sinks, of shape (heads,).
        **kwargs: What other implementations need.

    Returns:
        The output, of shape (batch, tokens, heads, head dimension), and None in the place of the weights.
    """
    rows, (batch_size, heads, num_tokens, width) = attention_mask, query.shape
    query, key, value = (states.transpose(1, 2).flatten(0, 1) for states in (query, key, value))
    if rows.kept_queries is not None:
        query, key, value = query[rows.kept_queries], key[rows.kept_keys], value[rows.kept_keys]
    window = -1 if sliding_window is None else sliding_window - 1
    output = _FlashWithSinks.apply(query, key, value, s_aux, rows, scaling, window)
    if rows.kept_queries is not None:
        whole = output.new_zeros(batch_size * num_tokens, heads, width)
        output = whole.index_copy(0, rows.kept_queries, output)
    return output.view(batch_size, num_tokens, heads, width), None
