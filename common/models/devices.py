"""A model that is only evaluated, on its devices."""

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from transformers import PreTrainedModel, TrainingArguments
from trl.models import prepare_deepspeed


def prepare(model: PreTrainedModel, training_args: TrainingArguments) -> tuple[torch.nn.Module, Accelerator]:
    """Puts a model that is only evaluated on its devices: under ZeRO-3 sharded, else a copy on each.

    Args:
        model: The model as it was loaded.
        training_args: Carry the launcher's DeepSpeed settings, the precision and the seed.

    Returns:
        The model as the accelerator wrapped it, and the accelerator.
    """
    plugin = training_args.deepspeed_plugin
    accelerator = Accelerator(deepspeed_plugin=plugin)
    set_seed(training_args.seed, device_specific=True)  # or all processes would draw the same random numbers
    if plugin is not None and plugin.zero_stage == 3:
        plugin.deepspeed_config["train_micro_batch_size_per_gpu"] = 1  # DeepSpeed asks for it, inference does not use it
        plugin.deepspeed_config["train_batch_size"] = accelerator.num_processes
        plugin.deepspeed_config["gradient_accumulation_steps"] = 1
        return prepare_deepspeed(model, accelerator), accelerator
    if getattr(model, "is_quantized", False):  # it was loaded onto its device, and its dtypes are those of its kernels
        return model, accelerator
    if training_args.bf16:
        for weight in model.parameters():  # and no buffer: positions are computed from frequencies in 32 bits, as in training
            weight.data = weight.data.to(torch.bfloat16)
    return model.to(accelerator.device), accelerator
