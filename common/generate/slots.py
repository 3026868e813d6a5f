"""Keys and values of the completions that are being generated: a slot for each, written in place, read without a copy.

A slot keeps its address for as long as it lives, so a decoding step can be recorded once and replayed.
"""

from typing import Any

import torch
from transformers import AttentionInterface, PreTrainedConfig
from transformers.cache_utils import Cache, CacheLayerMixin

ATTENTION = "slots"


class _Layer(CacheLayerMixin):
    """The slots of one decoder layer: keys and values of shape (slots, positions, key/value heads, head dimension)."""

    is_compileable = True
    is_sliding = False

    def __init__(self, keys: torch.Tensor, values: torch.Tensor, positions: torch.Tensor):
        super().__init__()
        self.keys, self.values, self.positions = keys, values, positions
        self.is_initialized = True

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Does nothing: the slots are there."""

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Writes one position of each of the first slots, and returns what these hold."""
        keys, values = self.keys[: len(key_states)], self.values[: len(key_states)]
        positions = self.positions[: len(key_states)]
        if keys.is_cuda:
            from common.generate.kernels import write

            write(key_states, value_states, keys, values, positions)
        else:
            rows = torch.arange(len(keys))
            keys[rows, positions], values[rows, positions] = key_states[:, :, 0], value_states[:, :, 0]
        return keys, values

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.keys.shape[1], 0

    def get_seq_length(self) -> int:
        return self.keys.shape[1]

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


def new_slots(config: PreTrainedConfig, positions: torch.Tensor, length: int, dtype: torch.dtype) -> Cache:
    """Returns the slots of all layers, as a transformers cache.

    Args:
        config: The model's configuration.
        positions: Where the newest token of each slot stands, of shape (slots,); read at each step.
        length: Positions of a slot.
        dtype: What the model computes in.
    """
    shape = (len(positions), length, config.num_key_value_heads, head_dimension(config))
    layers = [
        # Zeros: what stands behind the newest token is masked, but a mask does not hide what is no number.
        _Layer(*(torch.zeros(shape, dtype=dtype, device=positions.device) for _ in range(2)), positions)
        for _ in range(config.num_hidden_layers)
    ]
    return Cache(layers=layers)


def _slot_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor,
    scaling: float,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attends with the newest token of each slot.

    Args:
        module: The attention layer.
        query: Of shape (slots, heads, 1, head dimension).
        key: Of shape (slots, positions, key/value heads, head dimension).
        value: Of the same shape.
        attention_mask: Where the newest tokens stand, of shape (slots, 1, 1, 1); transformers leaves what has four dimensions.
        scaling: Factor of the scores.
        **kwargs: What other implementations take.

    Returns:
        The output, of shape (slots, 1, heads, head dimension), and None in the place of the weights.
    """
    if query.is_cuda:
        from common.generate.kernels import attend

        return attend(query, key, value, attention_mask.view(-1), scaling), None
    slots, heads, _, size = query.shape
    seen = torch.arange(key.shape[1]) <= attention_mask
    # Heads that share keys are the queries of one, so that keys are never repeated.
    grouped = query.reshape(slots, key.shape[2], heads // key.shape[2], size)
    output = torch.nn.functional.scaled_dot_product_attention(
        grouped, key.transpose(1, 2), value.transpose(1, 2), attn_mask=seen, scale=scaling
    )
    return output.reshape(slots, 1, heads, size), None


AttentionInterface.register(ATTENTION, _slot_attention)
