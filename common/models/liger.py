"""Fused kernels for norms, positions and gated layers on a GPU: the modules of Liger Kernel (arXiv:2410.10989)."""

from common.errors import say
from common.models.base import base_of

from peft import PeftModel
from transformers import PreTrainedModel, TrainingArguments


def use_liger_modules(model: PreTrainedModel | PeftModel, args: TrainingArguments) -> None:
    """Gives a model Liger's modules, if `use_liger_kernel` asks for them; the loss stays the trainer's.

    TRL (1.16) does the same for the flag, and warns that it will no longer from version 2 on: so it is taken back here.

    Args:
        model: The model as it was loaded.
        args: The arguments of the trainer that gets it.
    """
    if not args.use_liger_kernel:
        return
    args.use_liger_kernel = False
    from liger_kernel import transformers as liger  # brings a compiler, which a CPU has no use for

    base = base_of(model)
    apply = getattr(liger, f"apply_liger_kernel_to_{base.config.model_type}", None)
    if apply is None:
        say(f"use_liger_kernel: Liger has no modules for {base.config.model_type}, which keeps its own")
        return
    apply(model=base, cross_entropy=False, fused_linear_cross_entropy=False, **(args.liger_kernel_config or {}))
