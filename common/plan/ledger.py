"""A ledger of the tensors that live while a model computes on the meta device, where tensors have sizes and no content."""

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Ledger(TorchDispatchMode):
    """Counts the bytes of all live tensors on the meta device after each operation; private in torch, as its own trackers are.

    Attributes:
        log: After each operation the live bytes, and how many numbers of gradients have been computed and handed on.
        marks: Names of places in the log, each with its index there.
    """

    def __init__(self, model: torch.nn.Module):
        """Counts nothing of the model's own weights.

        Args:
            model: On the meta device.
        """
        super().__init__()
        self.live = self.gradients = 0
        self.known = {tensor.untyped_storage()._cdata for tensor in (*model.parameters(), *model.buffers())}
        self.log: list[tuple[int, int]] = []
        self.marks: dict[tuple[str, int, str], int] = {}

    def _forget(self, key: int, size: int) -> None:
        self.live -= size
        self.known.discard(key)

    def __torch_dispatch__(self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor) and tensor.device.type == "meta":
                storage = tensor.untyped_storage()
                key, size = storage._cdata, storage.nbytes()
                if key not in self.known:
                    self.known.add(key)
                    self.live += size
                    weakref.finalize(storage, self._forget, key, size)
        self.log.append((self.live, self.gradients))
        return result

    def hand_on(self, parameter: torch.nn.Parameter) -> None:
        """Takes a parameter's gradient away as soon as it is there, as DeepSpeed does, and counts it apart."""
        self.gradients += parameter.numel()
        parameter.grad = None


class Mark(torch.autograd.Function):
    """Notes when the backward pass comes to a place; changes nothing."""

    @staticmethod
    def forward(ctx: Any, hidden: torch.Tensor, ledger: Ledger, name: tuple[str, int, str]) -> torch.Tensor:
        ctx.ledger, ctx.name = ledger, name
        return hidden.view_as(hidden)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple:
        ctx.ledger.marks[ctx.name] = len(ctx.ledger.log)
        return gradient, None, None
