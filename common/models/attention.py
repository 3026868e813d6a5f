"""Which attention can run here; for packed rows each document by itself, through torch's own variable-length kernel.

`sdpa` sees packed documents apart by means of a mask of (tokens in the batch) squared, which also rules out its fast kernels.
`attn_implementation: varlen` passes the documents' boundaries instead, as flash-attention does (Dao 2023, arXiv:2307.08691).
"""

from typing import Any

from common.errors import fail, say
from common.models.families import PACKING_MODELS, SINK_MODELS, VARLEN_MODELS
from common.models.sinks import attend_with_sinks, rows_of

import torch
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedConfig

VARLEN = "varlen"
VARLEN_SINKS = "varlen_sinks"  # what it is for gpt-oss
# Each kind of mask (sliding, padded, cached) is compiled anew, and an evaluation between steps brings new ones: a run on four
# GPUs reached torch's limit of 8, after which all goes uncompiled, with every score in memory.
FLEX_RECOMPILE_LIMIT = 64
VARLEN_CAPABILITY = (8, 0)  # of flash-attention's kernels (https://github.com/Dao-AILab/flash-attention); a T4 has (7, 5)


def _is_packed(query: torch.Tensor, key: torch.Tensor, attention_mask: torch.Tensor | None) -> bool:
    """Returns whether this is one row that may hold several documents: no padding, no cache of earlier tokens."""
    return attention_mask is None and query.shape[0] == 1 and 1 < query.shape[2] == key.shape[2]


def _boundaries(position_ids: torch.Tensor | None, num_tokens: int) -> tuple[torch.Tensor, int]:
    """Returns where the documents of a packed row begin, and the number of tokens, and how long the longest is."""
    if position_ids is None:
        position_ids = torch.arange(num_tokens)[None]
    first = position_ids[0, :1] - 2  # also a row that goes on at a later position begins with a document
    starts = (position_ids[0].diff(prepend=first) != 1).nonzero().flatten()
    boundaries = torch.cat([starts, starts.new_tensor([num_tokens])])
    return boundaries, int(boundaries.diff().max())


def varlen_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    cu_seq_lens_q: torch.Tensor | None = None,
    max_length_q: int | None = None,
    position_ids: torch.Tensor | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attends causally within each document of a packed row; whatever else is asked (padded rows, generation) goes to sdpa.

    Args:
        module: The attention layer.
        query: Of shape (batch, heads, tokens, head dimension).
        key: Of shape (batch, key/value heads, tokens, head dimension).
        value: Of the same shape.
        attention_mask: None for a packed row.
        scaling: Factor of the scores; None for one over the root of the head dimension.
        sliding_window: How many tokens back are seen; None for all.
        cu_seq_lens_q: Where documents begin, and the number of tokens, as TRL's collator counts it.
        max_length_q: Length of the longest document, in tokens.
        position_ids: Of shape (batch, tokens); tells the documents apart where a collator gives no lengths.
        **kwargs: Of sdpa.

    Returns:
        The output, of shape (batch, tokens, heads, head dimension), and None in the place of the weights.
    """
    if not _is_packed(query, key, attention_mask):
        return AttentionInterface()["sdpa"](module, query, key, value, attention_mask, scaling=scaling, **kwargs)
    if cu_seq_lens_q is None:
        cu_seq_lens_q, max_length_q = _boundaries(position_ids, query.shape[2])
    # Imported here: older torch versions, which run everything else, do not have it.
    from torch.nn.attention.varlen import varlen_attn

    query, key, value = (
        states[0].repeat_interleave(query.shape[1] // states.shape[1], dim=0).transpose(0, 1)  # (tokens, heads, head dimension)
        for states in (query, key, value)
    )
    boundaries = cu_seq_lens_q.to(device=query.device, dtype=torch.int32)
    window = (-1 if sliding_window is None else sliding_window - 1, 0)
    length = int(max_length_q)
    output = varlen_attn(query, key, value, boundaries, boundaries, length, length, scale=scaling, window_size=window)
    return output[None], None


def _varlen_mask(batch_size: int, q_length: int, kv_length: int, **kwargs: Any) -> torch.Tensor | None:
    """Builds sdpa's mask, but none for a packed row: not padded, not simply causal, and with no mask of the model's own."""
    special = not kwargs.get("allow_is_causal_skip", True) and not kwargs.get("use_vmap", False)
    if special and kwargs.get("attention_mask") is None and batch_size == 1 and 1 < q_length == kv_length:
        return None
    return AttentionMaskInterface()["sdpa"](batch_size=batch_size, q_length=q_length, kv_length=kv_length, **kwargs)


def _check_varlen(config: PreTrainedConfig) -> None:
    """Fails if a model's attention is not what `varlen_attention` computes."""
    settings = config.to_dict()
    if config.model_type not in (*VARLEN_MODELS, *SINK_MODELS):
        reason = f"computes its attention in a way of its own, or was not tried ({', '.join(VARLEN_MODELS)} were)"
    elif not settings.get("is_causal", True) or settings.get("use_bidirectional_attention"):
        reason = "is set to look ahead"
    elif settings.get("attention_dropout"):
        reason = f"has attention_dropout {settings['attention_dropout']:g}, which torch's kernel does not know"
    else:
        return
    fail(
        f"attn_implementation varlen does not fit this model: {config.model_type} {reason}; use "
        "`--attn_implementation sdpa`, or eager where transformers refuses that, too"
    )


def check_attention(name: str | None, config: PreTrainedConfig, packing: bool) -> None:
    """Checks that the attention that is asked for fits a model, before anything else is read.

    Args:
        name: The attention implementation in the configuration.
        config: The model's configuration.
        packing: Whether several documents share a row.

    Raises:
        SystemExit: With code 2 if `varlen` would compute something else than the model's own attention, or packed documents
            would see each other.
    """
    if name == VARLEN:
        _check_varlen(config)
    if packing and config.model_type not in PACKING_MODELS:
        fail(
            f"packing does not fit this model: the packed rows of {config.model_type} see each other, or it was not tried "
            "(docs/models.md says which were); use `--packing false`"
        )


def compute_capability() -> tuple[int, int]:
    """Returns the compute capability of this process's GPU; (0, 0) without one."""
    return torch.cuda.get_device_capability() if torch.cuda.is_available() else (0, 0)


def choose_attention(name: str | None, dtype: torch.dtype | str | None, config: PreTrainedConfig) -> str | None:
    """Registers `varlen` with transformers if it is asked for; takes what computes the same, only slower, where it cannot run.

    For `flex_attention` it also lets torch compile more often than usual in this process.

    Args:
        name: The attention implementation in the configuration.
        dtype: What the model computes in.
        config: The model's configuration.

    Returns:
        The name to load the model with.

    Raises:
        SystemExit: With code 2 if `varlen` would compute something else than the model's own attention.
    """
    if name == "flex_attention" and not torch.cuda.is_available():
        # On a CPU it cannot take the attention sinks of gpt-oss (transformers/integrations/flex_attention.py).
        say("attn_implementation flex_attention needs an NVIDIA GPU: using eager, which computes the same")
        return "eager"
    if name == "flex_attention":
        torch._dynamo.config.recompile_limit = FLEX_RECOMPILE_LIMIT
    if name != VARLEN:
        return name
    _check_varlen(config)
    sinks = config.model_type in SINK_MODELS
    if compute_capability() < VARLEN_CAPABILITY or dtype not in (torch.bfloat16, torch.float16):
        other = "eager" if sinks else "sdpa"
        say(
            f"attn_implementation varlen needs an NVIDIA GPU from Ampere on and 16 bits: using {other}, which computes the same"
        )
        return other
    if sinks:
        AttentionInterface.register(VARLEN_SINKS, attend_with_sinks)
        AttentionMaskInterface.register(VARLEN_SINKS, rows_of)
        return VARLEN_SINKS
    AttentionInterface.register(VARLEN, varlen_attention)
    AttentionMaskInterface.register(VARLEN, _varlen_mask)
    return VARLEN
