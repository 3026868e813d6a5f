"""Keys and values of the completions that are being generated: a slot for each, written in place, read without a copy.

A slot keeps its address for as long as it lives, so a decoding step can be recorded once and replayed.
"""

from dataclasses import dataclass
from typing import Any

import torch
from transformers import AttentionInterface, PreTrainedConfig
from transformers.cache_utils import Cache, CacheLayerMixin

ATTENTION = "slots"


@dataclass
class Place:
    """Where the step that is being computed writes, and how far it reads.

    Attributes:
        rows: The slots' numbers, of shape (slots,).
        positions: Where the newest token of each slot stands, of shape (slots,).
        width: How many positions are read.
    """

    rows: torch.Tensor
    positions: torch.Tensor
    width: int


class _Layer(CacheLayerMixin):
    """The slots of one decoder layer: keys and values of shape (slots, positions, key/value heads, head dimension)."""

    is_compileable = True
    is_sliding = False

    def __init__(self, keys: torch.Tensor, values: torch.Tensor, place: Place):
        super().__init__()
        self.keys, self.values, self.place = keys, values, place
        self.is_initialized = True

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Does nothing: the slots are there."""

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Writes one position of each of the first slots, and returns what these hold."""
        count = len(key_states)
        where = self.place.rows[:count], self.place.positions[:count]
        self.keys.index_put_(where, key_states[:, :, 0])
        self.values.index_put_(where, value_states[:, :, 0])
        return self.keys[:count, : self.place.width], self.values[:count, : self.place.width]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.place.width, 0

    def get_seq_length(self) -> int:
        return self.place.width

    def get_max_length(self) -> int:
        return self.keys.shape[1]


def head_dimension(config: PreTrainedConfig) -> int:
    """Returns the size of an attention head.

    Args:
        config: The model's configuration.
    """
    return getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads


def slot_bytes(config: PreTrainedConfig, length: int, dtype: torch.dtype) -> int:
    """Returns how many bytes the keys and values of one slot take.

    Args:
        config: The model's configuration.
        length: Positions of a slot.
        dtype: What the model computes in.
    """
    return 2 * config.num_hidden_layers * config.num_key_value_heads * head_dimension(config) * length * dtype.itemsize


def new_slots(config: PreTrainedConfig, place: Place, length: int, dtype: torch.dtype) -> Cache:
    """Returns the slots of all layers, as a transformers cache.

    They are filled with zeros: what stands behind a slot's newest token is masked, but not a number that is none.

    Args:
        config: The model's configuration.
        place: Shared by all layers; has as many slots as are wanted.
        length: Positions of a slot.
        dtype: What the model computes in.
    """
    shape = (len(place.rows), length, config.num_key_value_heads, head_dimension(config))
    layers = [
        _Layer(*(torch.zeros(shape, dtype=dtype, device=place.rows.device) for _ in range(2)), place)
        for _ in range(config.num_hidden_layers)
    ]
    return Cache(layers=layers)


def _slot_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attends with one query of each slot; heads that share keys are the queries of one, so that keys are never repeated.

    Args:
        module: The attention layer.
        query: Of shape (slots, heads, 1, head dimension).
        key: Of shape (slots, width, key/value heads, head dimension).
        value: Of the same shape.
        attention_mask: Added to the scores, of shape (slots, 1, 1, width).
        scaling: Factor of the scores.
        **kwargs: What other implementations take.

    Returns:
        The output, of shape (slots, 1, heads, head dimension), and None in the place of the weights.
    """
    slots, heads, _, size = query.shape
    grouped = query.view(slots, key.shape[2], heads // key.shape[2], size)
    output = torch.nn.functional.scaled_dot_product_attention(
        grouped, key.transpose(1, 2), value.transpose(1, 2), attn_mask=attention_mask, scale=scaling
    )
    return output.reshape(slots, 1, heads, size), None


AttentionInterface.register(ATTENTION, _slot_attention)
