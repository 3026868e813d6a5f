"""Settings that would be accepted and ignored: name and cure, for each trainer."""

from collections.abc import Collection, Mapping
from typing import Any

from common.errors import fail

from transformers import TrainingArguments
from trl import ModelConfig

OWN_MODEL = (
    "the recipe loads the model itself, from model_name_or_path; use --dtype, --attn_implementation and --model_revision"
)
OWN_ROWS = "the recipe makes tokens and labels of the rows itself"
OWN_EVALUATION = "the recipe measures the held-out problems itself, every eval_steps"
NO_PREDICTIONS = "the trainer's own evaluation computes the loss alone; the recipe's measures come from evaluate.py's functions"
PUSH = "a run is uploaded when it is finished: `recipes export RUN --push OWNER/NAME`"
SHARDING = "these recipes shard with DeepSpeed: launch with a zero*.yaml of accelerate_configs"
NO_CODE = "nothing that a model's or a data set's folder brings is executed here; use one that needs no code of its own"
NO_TASKS = "train.py trains and evaluate.py evaluates"

# The settings that do nothing in a trainer as the recipes use it, whatever the others are, or can only break: name -> cure.
REFUSED: dict[str, dict[str, str]] = {
    "TrainingArguments": {
        "resume_from_checkpoint": "a run finds its newest checkpoint itself: give the same command again",
        **dict.fromkeys(["do_train", "do_eval", "do_predict"], NO_TASKS),
        **dict.fromkeys(["fsdp", "fsdp_config", "parallelism_config"], SHARDING),
        **dict.fromkeys(
            [
                *("push_to_hub", "hub_private_repo", "hub_model_id", "hub_strategy", "hub_always_push"),
                "hub_revision",
            ],
            PUSH,
        ),
        **dict.fromkeys(
            [
                *("prediction_loss_only", "eval_do_concat_batches", "eval_accumulation_steps", "include_for_metrics"),
                *("batch_eval_metrics", "bf16_full_eval", "fp16_full_eval"),
            ],
            NO_PREDICTIONS,
        ),
        "enable_jit_checkpoint": "SIGTERM saves a checkpoint and stops as it is",
        "save_only_model": "an interrupted run could not continue without its optimizer",
        "logging_nan_inf_filter": "a loss that is not a number stops the run",
        "include_num_input_tokens_seen": "a run counts its tokens itself, as `num_tokens` in metrics.jsonl",
        "disable_tqdm": "a run prints lines instead of progress bars",
        "trust_remote_code": NO_CODE,
        "model_init_kwargs": OWN_MODEL,
    },
    "SFTConfig": {
        **dict.fromkeys(
            [
                *("dataset_num_proc", "dataset_text_field", "dataset_kwargs", "completion_only_loss", "assistant_only_loss"),
                "eos_token",
            ],
            f"{OWN_ROWS}; what the assistant writes is trained, and nothing else",
        ),
        "chat_template_path": f"{OWN_ROWS}; trl_function_calling takes a template as `--chat_template_file FILE`",
        "padding_free": "rows that are packed (`--packing true`) have no padding already",
        "truncation_mode": f"{OWN_ROWS}; a row longer than max_length is an error, never cut",
    },
    "GRPOConfig": {
        **dict.fromkeys(
            [
                *("eval_strategy", "eval_on_start", "eval_delay", "eval_use_gather_object", "num_generations_eval"),
                *("load_best_model_at_end", "metric_for_best_model", "greater_is_better"),
            ],
            OWN_EVALUATION,
        ),
        **dict.fromkeys(
            ["train_sampling_strategy", "length_column_name"],
            "GRPO repeats each prompt num_generations times, in its own order",
        ),
        "remove_unused_columns": "the reward functions need the columns beside `prompt`",
        "label_smoothing_factor": "GRPO's loss has no labels",
        "auto_find_batch_size": "a smaller batch would no longer hold whole groups; lower per_device_train_batch_size",
        "max_tool_calling_iterations": "there are no tools in this recipe",
        "log_multimodal": "there are no pictures in this recipe",
        "log_completions_hub_repo": PUSH,
    },
    "ModelConfig": {"lora_task_type": "the recipes train language models: CAUSAL_LM"},
}


def refuse(
    values: Mapping[str, Any], standard: Mapping[str, Any], training_class: type[TrainingArguments], more: Mapping[str, str]
) -> None:
    """Refuses settings that would be accepted and ignored; what is left at its default passes.

    Args:
        values: Settings by name.
        standard: The default of each.
        training_class: TRL's configuration class, which says which trainer there is.
        more: What has no effect in this recipe alone, with the reason.

    Raises:
        SystemExit: With code 2.
    """
    reasons = dict(more)
    for cls in (ModelConfig, *training_class.__mro__):
        reasons |= REFUSED.get(cls.__name__, {})
    for name, reason in reasons.items():
        if name in values and values[name] != standard[name]:
            fail(f"{name} is not for this recipe: {reason}")  # without the value: it may be a token


def refuse_unread(given: Mapping[str, Any], standard: Mapping[str, Any], reads: Collection[str], script: str) -> None:
    """Refuses settings that a script which does everything by hand does not read.

    Args:
        given: What the user gave, by name.
        standard: The default of each.
        reads: The names that the script reads.
        script: Its name.

    Raises:
        SystemExit: With code 2.
    """
    for name, value in given.items():
        if name not in reads and value != standard[name]:
            fail(f"{name} {as_flag(value)} has no effect here: {script} does not read it; use train.py")


def as_flag(value: Any) -> str:
    """Returns a value as it would be given as a flag."""
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
