"""A model's weights in files instead of the memory, so that a model may be larger than that.

The system reads what is computed with, and drops it again when memory is short.
"""

import ctypes
import logging
import os
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile, TemporaryDirectory
from typing import Any

from common.models.mxfp4 import from_pretrained

import torch
from accelerate.hooks import remove_hook_from_module
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText, PreTrainedConfig, PreTrainedModel

M_MMAP_THRESHOLD = -3  # of glibc's malloc.h


def return_freed_memory() -> None:
    """Has this process give the memory of every freed tensor back to the system at once.

    glibc does so from a size on that it raises to that of what was freed before, up to 32 MB; of smaller pieces it keeps what
    lies between others. An export in 4 bits has taken three times its memory so (mallopt(3)).
    """
    with suppress(OSError, AttributeError):  # another C library, which has no such size
        ctypes.CDLL("libc.so.6").mallopt(M_MMAP_THRESHOLD, 1 << 20)


def _in_file(tensor: torch.Tensor, dtype: torch.dtype, folder: Path) -> torch.Tensor:
    """Returns a copy of a tensor in a type, whose memory is a file; the name goes at once, the file with the tensor."""
    with NamedTemporaryFile(dir=folder) as file:
        try:
            # Or a full disk would be known only when a page is written, which kills the process.
            os.posix_fallocate(file.fileno(), 0, max(tensor.numel() * dtype.itemsize, 1))
        except OSError as error:
            raise RuntimeError(str(error)) from error  # an OSError would be taken for a fault of what is loaded
        copy = torch.from_file(file.name, shared=True, size=tensor.numel(), dtype=dtype)
    return copy.view(tensor.shape).copy_(tensor)


def cast_in_files(model: torch.nn.Module, dtype: torch.dtype, folder: Path) -> None:
    """Casts a model's weights on the CPU, one after the other, into files.

    Buffers (rotary frequencies), which transformers keeps in float32, stay as they are.

    Args:
        model: The model.
        dtype: The new type.
        folder: On a disk with room for all weights in that type.
    """
    for parameter in model.parameters():
        if parameter.is_floating_point():
            parameter.data = _in_file(parameter.data, dtype, folder)


def load_in_files(
    auto_class: type[AutoModelForCausalLM] | type[AutoModelForImageTextToText],
    config: PreTrainedConfig,
    name: str,
    folder: Path,
    **settings: Any,
) -> PreTrainedModel:
    """Loads a model as `from_pretrained` does, its weights into files.

    Args:
        auto_class: The class that loads it.
        config: The model's configuration.
        name: A hub id or a folder.
        folder: On a disk with room for all weights, twice where they are converted, as experts' are.
        **settings: Of transformers' `from_pretrained`.

    Raises:
        SystemExit: As `common.models.mxfp4.from_pretrained`.
    """
    log = logging.getLogger("accelerate.big_modeling")
    level = log.level
    log.setLevel(logging.ERROR)  # of a model that stays so
    try:
        with TemporaryDirectory(dir=folder) as converted:
            settings |= {"device_map": {"": "disk"}, "offload_folder": converted}
            model = from_pretrained(auto_class, config, name, **settings)
            # Where each weight is: in the checkpoint, or converted.
            maps = (getattr(getattr(module, "_hf_hook", None), "weights_map", None) for module in model.modules())
            places = next(weights for weights in maps if weights is not None).dataset.index
            for path, empty in list(model.named_parameters()):
                with safe_open(places[path]["safetensors_file"], framework="pt") as file:
                    weight = _in_file(file.get_tensor(places[path]["weight_name"]), empty.dtype, folder)
                owner, _, last = path.rpartition(".")
                setattr(model.get_submodule(owner), last, torch.nn.Parameter(weight, requires_grad=False))
    finally:
        log.setLevel(level)
    remove_hook_from_module(model, recurse=True)
    for module in model.modules():
        vars(module).pop("forward", None)  # the class's own, bound to it: a cycle would keep the files
    del model.hf_device_map
    model.tie_weights()
    return model


def dequantize_in_files(model: PreTrainedModel, folder: Path) -> PreTrainedModel:
    """Puts a model's weights back from 4 bits, as its `dequantize` does, one after the other, into files.

    Args:
        model: The model, on the CPU.
        folder: On a disk with room for all weights in the model's type.
    """
    from bitsandbytes.nn import Linear4bit  # takes seconds
    from transformers.integrations.bitsandbytes import dequantize_bnb_weight

    for path, layer in list(model.named_modules()):
        if isinstance(layer, Linear4bit):
            linear = torch.nn.Linear(layer.in_features, layer.out_features, bias=False, device="meta")
            weight = _in_file(dequantize_bnb_weight(layer.weight), model.config.dtype, folder)
            linear.weight, linear.bias = torch.nn.Parameter(weight, requires_grad=False), layer.bias
            model.set_submodule(path, linear)
    model.hf_quantizer.remove_quantization_config(model)
    return model
