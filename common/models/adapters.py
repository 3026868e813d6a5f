"""What adapters are added to: checked on a model without weights."""

import re
import warnings

from common.errors import brief, fail, nearest
from common.models import vision, zero3

import torch
from peft import get_peft_model
from peft.tuners.tuners_utils import BaseTunerLayer
from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING, PreTrainedConfig
from trl import ModelConfig, get_peft_config


def check_lora_targets(model_args: ModelConfig, config: PreTrainedConfig) -> None:
    """Checks that every name of a module or parameter that adapters are asked for is in the model, before its weights load.

    PEFT stops only if no name at all is found, after the weights have loaded, and passes over a single one that is not. What
    else it refuses, such as dropout on adapters of experts, it is asked beforehand.

    Args:
        model_args: Name what gets adapters.
        config: The model's configuration.

    Raises:
        SystemExit: With code 2; the line gives the nearest name, or what PEFT says.
    """
    targets = model_args.lora_target_modules
    lists = {
        "lora_target_modules": targets if isinstance(targets, list) else [],
        "lora_modules_to_save": model_args.lora_modules_to_save or [],
        "lora_target_parameters": model_args.lora_target_parameters or [],
    }
    pattern = targets if isinstance(targets, str) and targets != "all-linear" else None
    mapping = MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING if vision.is_vision_language(config) else MODEL_FOR_CAUSAL_LM_MAPPING
    if not model_args.use_peft or type(config) not in mapping:
        return
    with zero3.unsharded(), torch.device("meta"):
        model = mapping[type(config)](config)
    modules = [name for name, _ in model.named_modules() if name]
    parameters = [name for name, _ in model.named_parameters()]
    if pattern and not any(re.fullmatch(pattern, name) for name in modules):
        fail(f"lora_target_modules {pattern}: no module of {config.model_type} has a name that matches; see its layers' names")
    for setting, wanted in lists.items():
        there = parameters if setting == "lora_target_parameters" else modules
        last = sorted({name.rpartition(".")[2] for name in there if not name.rpartition(".")[2].isdecimal()})
        for target in wanted:
            if not any(f".{name}".endswith(f".{target}") for name in there):
                hint = nearest(target, last) or f"; there is: {', '.join(last)}"
                fail(f"{setting}: {config.model_type} has no `{target}`{hint}")
    try:
        with zero3.unsharded(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # said again of the model that is trained
            adapted = get_peft_model(model, get_peft_config(model_args))
    except ValueError as error:
        fail(f"adapters do not fit {config.model_type}: {brief(error)}; change the settings that begin with `lora_`")
    if isinstance(adapted.get_output_embeddings(), BaseTunerLayer):
        fail(
            f"adapters of the output head of {config.model_type} would not be trained: TRL's loss reads the weight alone; "
            "leave it out of `lora_target_modules`, or train it whole with `--lora_modules_to_save lm_head`"
        )
