"""A vision tower at work: all pictures of a batch at once, where transformers attends within one after the other, or frozen.

Sixty-four cut out lines are sixty-four small kernels in each layer, and a GPU waits for the program that starts them.
"""

from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, PreTrainedModel

# transformers hands over all pictures together, with their boundaries, where the name of the attention has `flash` in it.
TOGETHER = "flash_by_sdpa"


def attend_together(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: None,
    scaling: float | None = None,
    cu_seq_lens_q: torch.Tensor | None = None,
    max_length_q: int | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attends within each picture, or each window of one, padded to the largest of them.

    Args:
        module: The attention layer.
        query: Of shape (1, heads, patches of all pictures, head dimension).
        key: Of the same shape.
        value: Of the same shape.
        attention_mask: None.
        scaling: Factor of the scores; None for one over the root of the head dimension.
        cu_seq_lens_q: Where pictures begin, and the number of patches.
        max_length_q: Patches of the largest.
        **kwargs: Not looked at: what other attentions take.

    Returns:
        The output, of shape (1, patches, heads, head dimension), and None in the place of the weights.
    """
    lengths = cu_seq_lens_q.diff()
    is_patch = torch.arange(int(max_length_q), device=query.device) < lengths[:, None]

    def padded(states: torch.Tensor) -> torch.Tensor:
        rows = states.new_zeros(*is_patch.shape, states.shape[1], states.shape[3])
        rows[is_patch] = states[0].transpose(0, 1)
        return rows.transpose(1, 2)

    output = scaled_dot_product_attention(*map(padded, (query, key, value)), attn_mask=is_patch[:, None, None], scale=scaling)
    return output.transpose(1, 2)[is_patch][None], None


def see_together(model: PreTrainedModel) -> None:
    """Lets the vision tower of a model, which computes its attention with sdpa, see all pictures of a batch at once."""
    AttentionInterface.register(TOGETHER, attend_together)
    model.set_attn_implementation({"vision_config": TOGETHER})


def freeze_tower(model: PreTrainedModel) -> None:
    """Freezes the vision tower of a model, and lets it compute without a gradient.

    Where adapters are trained with recomputed activations, transformers (5.23) has the input embeddings of every part of a
    model require a gradient, those of the tower too: it would be computed through the whole of it for nothing.

    Args:
        model: One of `families.PICTURE_MODELS`, without adapters yet.
    """
    tower = model.model.visual
    tower.requires_grad_(False)
    forward = tower.forward

    @torch.no_grad()
    def frozen(*args: Any, **kwargs: Any) -> Any:
        tower.eval()  # a layer that is trained would be kept for recomputation
        return forward(*args, **kwargs)

    tower.forward = frozen
