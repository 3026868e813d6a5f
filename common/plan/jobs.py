"""What a recipe's settings mean for the memory: the settings by name become the job that is planned."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from common.plan.estimate import Job

from transformers import PreTrainedConfig

PATCH_PIXELS = 28 * 28  # of a picture's token: 2 x 2 patches of 14 x 14


def lora_of(settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """Returns the settings of PEFT's `LoraConfig` that matter for the memory, or None where all weights are trained.

    Args:
        settings: TRL's `ModelConfig` by name.
    """
    if not settings.get("use_peft"):
        return None
    targets = settings.get("lora_target_modules") or "all-linear"
    if isinstance(targets, list | tuple) and len(targets) == 1:
        targets = targets[0] if targets[0] == "all-linear" else list(targets)
    lora = {"r": settings.get("lora_r", 16), "lora_dropout": settings.get("lora_dropout", 0.05), "target_modules": targets}
    named = settings.get("lora_target_parameters")
    return lora | ({"target_parameters": list(named)} if named else {})


def job_of(settings: Mapping[str, Any], config: PreTrainedConfig, **launch: Any) -> Job:
    """Returns the job that a recipe's settings describe, with rows as long as they may be.

    Args:
        settings: The settings of a recipe by name, as its yaml or `training_args.run_values` has them.
        config: The model's configuration.
        **launch: Of `Job` what the launcher says: the ZeRO stage, the number of processes, what is offloaded.
    """
    rows, steps = settings["per_device_train_batch_size"], settings.get("gradient_accumulation_steps", 1)
    generates = "max_completion_length" in settings and "num_generations" in settings
    if generates:
        longest = (settings.get("max_prompt_length") or 512) + settings["max_completion_length"]
    else:
        longest = settings["max_length"]
    lora = lora_of(settings)
    job = Job(
        config=config,
        tokens=rows * longest,
        gradient_accumulation_steps=steps,
        lora=lora,
        load_in_4bit=bool(settings.get("load_in_4bit")),
        nested=bool(settings.get("use_bnb_nested_quant")),
        recompute=bool(settings.get("activation_checkpointing")),
        fused=bool(settings.get("use_liger_kernel")),
        attention=settings.get("attn_implementation"),
        frozen_vision=bool(settings.get("freeze_vision_tower")),
        eight_bits="8bit" in (settings.get("optim") or ""),
        width=4 if settings.get("dtype") == "float32" and not settings.get("bf16", True) else 2,
    )
    if generates:
        completions = rows * (settings.get("steps_per_generation") or steps)
        job = replace(job, completions=completions, completion_length=longest)
        job = replace(job, reference=bool(settings.get("beta")) and lora is None)
    if "max_pixels" in settings:
        job = replace(job, picture_share=min(1.0, settings["max_pixels"] / PATCH_PIXELS / longest))
    return replace(job, **launch)
