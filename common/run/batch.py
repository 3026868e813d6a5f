"""The batch arithmetic of a run."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import TrainingArguments


def describe_batch(args: "TrainingArguments") -> str:
    """Returns the batch arithmetic of a run as one line."""
    update = args.per_device_train_batch_size * args.world_size * args.gradient_accumulation_steps
    rows = "completions" if hasattr(args, "num_generations") else "rows"
    step = (
        f"{args.per_device_train_batch_size} a device x {args.world_size} processes x "
        f"{args.gradient_accumulation_steps} accumulation steps = {update} {rows} an optimizer step"
    )
    if not hasattr(args, "num_generations"):
        return step
    prompts = args.generation_batch_size // args.num_generations
    completions = f"{prompts} prompts x {args.num_generations} completions = {args.generation_batch_size} completions"
    return f"{completions} a generation; {step}"
