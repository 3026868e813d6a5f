"""A model's weights in files instead of the memory, so that a model may be larger than that."""

import os
from pathlib import Path
from tempfile import NamedTemporaryFile

import torch


def _in_file(tensor: torch.Tensor, dtype: torch.dtype, folder: Path) -> torch.Tensor:
    """Returns a copy of a tensor in another type, whose memory is a file; the name goes at once, the file with the tensor."""
    with NamedTemporaryFile(dir=folder) as file:
        # Or a full disk would be known only when a page is written, which kills the process.
        os.posix_fallocate(file.fileno(), 0, max(tensor.numel() * dtype.itemsize, 1))
        copy = torch.from_file(file.name, shared=True, size=tensor.numel(), dtype=dtype)
    return copy.view(tensor.shape).copy_(tensor)


def cast_in_files(model: torch.nn.Module, dtype: torch.dtype, folder: Path) -> None:
    """Casts a model's weights on the CPU, one after the other, into files.

    The system reads of them what is computed with, and drops it when memory is short. Buffers (rotary frequencies), which
    transformers keeps in float32, stay as they are.

    Args:
        model: The model; its weights may be a checkpoint's, which safetensors does not read into the memory either.
        dtype: The new type.
        folder: On a disk with room for all weights in that type.
    """
    for parameter in model.parameters():
        if parameter.is_floating_point():
            parameter.data = _in_file(parameter.data, dtype, folder)
