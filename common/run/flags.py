"""Settings that cannot work, each by itself, or that cannot go together: one line each."""

import math
import os
import re
from argparse import Namespace
from typing import Any

from common.errors import brief, fail, nearest
from common.run.auto import AUTO
from common.run.grpo import check_grpo
from common.run.refused import as_flag

from transformers import TrainingArguments
from transformers.training_args import OptimizerNames
from transformers.utils import is_flash_attn_2_available, is_flash_attn_3_available
from trl import ModelConfig

PATHS = ("dataset_name", "_name_or_path", "_dir", "_file")  # how settings end that name a file or a folder
# Names that TRL looks at only when the model has loaded.
CHOICES: dict[str, dict[str, list[str]]] = {
    "SFTConfig": {"metric_for_best_model": ["loss", "eval_loss"], "packing_strategy": ["bfd", "bfd_split", "wrapped"]},
    "GRPOConfig": {
        "loss_type": ["grpo", "dr_grpo", "dapo", "bnpo", "cispo", "sapo", "luspo", "vespo"],
        "importance_sampling_level": ["token", "sequence"],
        "scale_rewards": ["group", "batch", "none"],
        "multi_objective_aggregation": ["sum_then_normalize", "normalize_then_sum"],
        "vllm_mode": ["colocate", "server"],
    },
    "ModelConfig": {
        "attn_implementation": ["eager", "sdpa", "flex_attention", "varlen", "flash_attention_2", "flash_attention_3"]
    },
}

# Where a number can lie. Of a recipe's own numbers these are the ones that recipes share.
LIMITS = {
    "above 0": (
        lambda x: x > 0,
        "learning_rate adam_epsilon num_train_epochs temperature repetition_penalty logging_steps save_steps epsilon "
        "ddp_timeout",
    ),
    "0 or more": (
        lambda x: x >= 0,
        "weight_decay max_grad_norm warmup_steps beta top_k early_stopping_patience num_train num_samples num_chat eval_delay "
        "dataloader_num_workers neftune_noise_alpha aggregator_steps entropy_coef",
    ),
    "at least 1": (
        lambda x: x >= 1,
        "per_device_train_batch_size per_device_eval_batch_size gradient_accumulation_steps max_completion_length max_length "
        "max_new_tokens max_prompt_length num_iterations steps_per_generation generation_batch_size lora_r lora_alpha "
        "tokens_per_update save_total_limit min_pixels max_pixels vllm_tensor_parallel_size",
    ),
    "0 or more, and below 1": (lambda x: 0 <= x < 1, "adam_beta1 adam_beta2 lora_dropout label_smoothing_factor"),
    "from 0 to 1": (lambda x: 0 <= x <= 1, "min_p chat_share other_share"),
    "above 0, and at most 1": (lambda x: 0 < x <= 1, "top_p top_entropy_quantile vllm_gpu_memory_utilization"),
    "-1 (all epochs) or at least 1": (lambda x: x == -1 or x >= 1, "max_steps"),
    "a whole number of steps, at least 1": (lambda x: x >= 1 and x == int(x), "eval_steps"),
    "from 0 to 4294967295": (lambda x: 0 <= x < 2**32, "seed data_seed"),
}


def check_values(values: Namespace, training_class: type[TrainingArguments], world_size: int, trains: bool) -> None:
    """Checks each value by itself, and those that must fit together.

    Args:
        values: The settings by name.
        training_class: TRL's configuration class.
        world_size: Number of processes.
        trains: Whether the script trains.

    Raises:
        SystemExit: With code 2.
    """
    settings = vars(values)
    for name, value in settings.items():
        numbers = value if isinstance(value, list) else [value]
        if any(isinstance(number, float) and not math.isfinite(number) for number in numbers):
            fail(f"{name} is {as_flag(value)}: give a finite number")
    for limit, (holds, names) in LIMITS.items():
        for name in names.split():
            if settings.get(name) not in (None, AUTO) and not holds(settings[name]):
                fail(f"{name} is {settings[name]}: it must be {limit}")
    for cls in (training_class, ModelConfig):
        for name, choices in CHOICES.get(cls.__name__, {}).items():
            word = settings[name]
            if word is not None and word not in choices:
                if word == "gspo":
                    fail("loss_type gspo: GSPO is `--loss_type grpo --importance_sampling_level sequence`")
                fail(f"{name}: there is no `{word}`{nearest(str(word), choices) or '; there is: ' + ', '.join(choices)}")
    for name, value in settings.items():
        _check_text(name, value)
    for name in settings:
        if name.endswith("_kwargs") and isinstance(settings[name], str) and not settings[name].startswith("{"):
            fail(f"{name} {settings[name]}: write a JSON object, for example `--{name} '{{\"key\": true}}'`")
    _check_attention(values.attn_implementation)
    _check_trackers(values.report_to)
    if trains and settings.get("early_stopping_patience"):
        _check_early_stopping(values)
    if trains and values.save_strategy == "best":
        _check_best(values)
    if "num_generations" in settings:
        check_grpo(values, world_size)


def _check_text(name: str, value: Any) -> None:
    """Refuses what is no text, and what cannot be the name of a file, where a setting names one."""
    for text in value if isinstance(value, list) else [value]:
        if isinstance(text, str) and re.search("[\ud800-\udfff]", text):
            fail(f"{name} {text!a}: half a character, or bytes that are not UTF-8; write the whole character")
    is_json = name == "deepspeed" and isinstance(value, str) and value.startswith("{")
    if isinstance(value, str) and not is_json and (name.endswith(PATHS) or name == "deepspeed"):
        check_path(name, value)


def check_path(setting: str, name: str) -> None:
    """Refuses a name that no file can have, a file that may not be read, and for data the whole disk.

    Args:
        setting: The setting that gives the name.
        name: The name.

    Raises:
        SystemExit: With code 2 and one line.
    """
    longest = max(len(os.fsencode(part)) for part in name.split("/"))
    if "\0" in name or longest > 255 or len(name) > 4000:
        problem = "it holds a NUL byte" if "\0" in name else f"it is {longest} bytes long, and file systems take 255"
        fail(f"{setting} {name[:40]!r}...: no file can have this name ({problem}); correct it")
    if os.path.isfile(name) and not os.access(name, os.R_OK):
        fail(f"{setting} {name}: you may not read this file; change its permissions")
    places = {"/": "the whole disk", os.path.realpath(os.path.expanduser("~")): "your home folder"}
    if setting.endswith("dataset_name") and os.path.realpath(name) in places:
        fail(f"{setting} {name} is {places[os.path.realpath(name)]}; pass the folder that holds the data")


def _check_attention(name: str | None) -> None:
    missing = {"flash_attention_2": not is_flash_attn_2_available(), "flash_attention_3": not is_flash_attn_3_available()}
    if missing.get(name):
        fail(f"attn_implementation {name}: it is not installed, or there is no GPU for it; use `--attn_implementation sdpa`")


def _check_trackers(report_to: str | list[str] | None) -> None:
    names = [report_to] if isinstance(report_to, str) else report_to or []
    if names in (["none"], ["all"]) or not names:
        return
    from transformers.integrations import get_available_reporting_integrations, get_reporting_integration_callbacks

    installed = get_available_reporting_integrations()
    for name in names:
        try:
            get_reporting_integration_callbacks([name])
        except ValueError as error:
            known = str(error).partition("only ")[2].partition(" are supported")[0].split(", ")
            fail(f"report_to: there is no tracker `{name}`{nearest(name, known) or '; there is: ' + ', '.join(known)}")
        if name not in installed:
            there = ", ".join(installed) or "none"
            fail(f"report_to {name}: it is not installed (`uv pip install {name}`); there is: {there}")


def _check_optimizer(args: TrainingArguments) -> None:
    """Refuses an optimizer that the trainer could not make once the model has loaded, such as one whose package is missing."""
    if args.optim in (OptimizerNames.ADAMW_TORCH, OptimizerNames.ADAMW_TORCH_FUSED) and not args.optim_args:
        return
    from transformers import Trainer

    try:
        Trainer.get_optimizer_cls_and_kwargs(args)
    except (ImportError, ValueError, NotImplementedError) as error:
        if "to pass a" in str(error):  # GaLore, APOLLO and LOMO are made of the model, and come so far where all else is right
            return
        fail(f"optim {args.optim.value}: {brief(error)}; or take another, such as `--optim adamw_torch`")


def _check_best(values: Namespace) -> None:
    if values.eval_strategy == "no" or not (values.load_best_model_at_end or values.metric_for_best_model):
        fail("save_strategy best needs evaluations and a metric: add `--eval_strategy steps --metric_for_best_model loss`")


def _check_early_stopping(values: Namespace) -> None:
    patience = f"early_stopping_patience {values.early_stopping_patience}"
    if values.eval_strategy == "no":
        fail(f"{patience} needs evaluations: add `--eval_strategy steps`, or set it to 0")
    if not values.load_best_model_at_end and not values.metric_for_best_model:
        fail(f"{patience} needs a metric to watch: add `--metric_for_best_model loss`, or set it to 0")


def check_built(training_args: TrainingArguments, model_args: ModelConfig, trains: bool, prepares: bool = False) -> None:
    """Checks what depends on the launcher: quantised weights, and weights of 16 bits alone.

    Args:
        training_args: As built.
        model_args: As built; one name among its `lora_target_modules` becomes a list again.
        trains: Whether the script trains.
        prepares: Whether it only shows what would be trained: how the training will be launched is not known then.

    Raises:
        SystemExit: With code 2.
    """
    target = model_args.lora_target_modules
    if isinstance(target, str) and re.fullmatch(r"[\w.]+", target):
        model_args.lora_target_modules = [target]  # TRL makes a text of a single name, which PEFT takes for a whole path
    plugin = training_args.deepspeed_plugin
    if trains and not prepares and "8bit" in training_args.optim and plugin is not None and plugin.hf_ds_config.is_offload():
        fail(
            f"optim {training_args.optim.value} with the optimizer in the host's memory: DeepSpeed updates there with its own "
            "Adam, in 32 bits; take a configuration without offload, or leave `optim` out"
        )
    if trains and not prepares:
        _check_optimizer(training_args)
    if model_args.load_in_4bit or model_args.load_in_8bit:
        name = "load_in_4bit" if model_args.load_in_4bit else "load_in_8bit"
        if trains and not model_args.use_peft:
            fail(f"{name} without use_peft: quantised weights are frozen, so nothing would be trained; add `--use_peft true`")
        if trains and model_args.lora_modules_to_save and model_args.dtype == "float32":
            fail(
                f"{name} with lora_modules_to_save and dtype float32: TRL keeps in bfloat16 what is trained beside quantised "
                "weights, and a whole module does not take float32 then; add `--dtype bfloat16`"
            )
        if plugin is not None and plugin.zero_stage == 3:
            # transformers shards only what is not quantised while it loads (PreTrainedModel.from_pretrained), so nothing would
            # be saved (bitsandbytes#1249). A tiny model began with a loss of 5.4, that of random weights, instead of 1.9.
            fail(
                f"{name} under ZeRO-3: quantised weights are not sharded when they are loaded, and are wrong after DeepSpeed "
                "has sharded them; launch with zero2.yaml, where each GPU holds them whole"
            )
    if trains and not prepares and plugin is None and model_args.dtype == "bfloat16" and not model_args.use_peft:
        fail(
            "dtype bfloat16 for all weights needs DeepSpeed, which keeps a float32 copy; without one small updates are rounded "
            "away: add `--dtype float32` (the computation stays in bfloat16), or launch with a zero*.yaml"
        )
