"""LoRA adapters while tokens are generated: two matrix products a layer, in the model's own precision, and no other work.

PEFT's own forward also casts what comes in, scales what goes out and adds: more launches for every adapted layer and token. The
adapters stay unmerged, so the weights that are trained are not touched.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from peft import PeftModel
from peft.tuners.lora import Linear
from peft.tuners.tuners_utils import BaseTunerLayer

BASE = "__base__"  # PEFT's name for "no adapter" where each row of a batch has its own


def adapted_layers(model: PeftModel) -> list[BaseTunerLayer]:
    """Returns the layers that have adapters.

    Args:
        model: The model.
    """
    return [module for module in model.modules() if isinstance(module, BaseTunerLayer)]


def unknown_adapters(model: PeftModel) -> str | None:
    """Returns what of a model's adapters is more than two matrix products, or None.

    Args:
        model: The model.
    """
    for layer in adapted_layers(model):
        if type(layer) is not Linear:
            return f"adapters of the kind {type(layer).__name__}"
        if layer.lora_variant or any(layer.lora_bias.values()):
            return "a variant of LoRA"
    return "several adapters at once" if len(model.active_adapters) > 1 else None


class PlainAdapters:
    """The adapters of a model, copied to where the recorded steps read them."""

    def __init__(self, model: PeftModel):
        """Takes the memory of one adapter.

        Args:
            model: The model; `unknown_adapters` finds nothing in it.
        """
        self.layers, self.dtype = adapted_layers(model), model.dtype
        self.copies = [self._product(layer, model.active_adapters[0]) for layer in self.layers]

    def _product(self, layer: Linear, name: str) -> tuple[torch.Tensor, torch.Tensor]:
        down = layer.lora_A[name].weight.to(self.dtype, copy=True)
        return down, (layer.lora_B[name].weight * layer.scaling[name]).to(self.dtype, copy=True)

    @torch.no_grad()
    def read(self, name: str) -> None:
        """Copies an adapter as it is now.

        Args:
            name: The adapter's name, or `BASE`.
        """
        for layer, (down, up) in zip(self.layers, self.copies, strict=True):
            if name not in layer.lora_A:
                up.zero_()
                continue
            down.copy_(layer.lora_A[name].weight)
            up.copy_(layer.lora_B[name].weight * layer.scaling[name])

    @contextmanager
    def used(self) -> Iterator[None]:
        """Has the model compute with the copies."""
        for layer, (down, up) in zip(self.layers, self.copies, strict=True):
            layer.forward = partial(_forward, layer.base_layer, down, up)
        try:
            yield
        finally:
            for layer in self.layers:
                del layer.forward


def _forward(base: torch.nn.Module, down: torch.Tensor, up: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
    output = base(states)
    output.view(-1, output.shape[-1]).addmm_(torch.nn.functional.linear(states.flatten(0, -2), down), up.t())
    return output
