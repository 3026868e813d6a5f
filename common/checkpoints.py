"""Interrupt and continue: which checkpoint is complete."""

import re
from pathlib import Path

from common.errors import say

from accelerate import Accelerator
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

COMPLETE = "complete"  # an empty file, written into a checkpoint when every process has written its part


class MarkComplete(TrainerCallback):
    """Marks a checkpoint as complete once all processes have written their parts of it."""

    def __init__(self, accelerator: Accelerator):
        self.accelerator = accelerator

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs) -> None:
        self.accelerator.wait_for_everyone()
        if state.is_world_process_zero:
            (Path(args.output_dir) / f"checkpoint-{state.global_step}" / COMPLETE).touch()


def newest_complete_checkpoint(output_dir: str | Path) -> Path | None:
    """Returns the newest complete checkpoint of a run; torn ones are passed over, and that is said.

    transformers itself picks the highest number, complete or not (huggingface/transformers#35782). A torn checkpoint stays
    where it is until the run comes to that step again and overwrites it.

    Args:
        output_dir: The run's folder.

    Returns:
        The checkpoint's folder, or None if there is none and the run starts from its beginning.
    """
    found = [(re.fullmatch(r"checkpoint-(\d+)", path.name), path) for path in Path(output_dir).glob("checkpoint-*")]
    for _, checkpoint in sorted(((int(match[1]), path) for match, path in found if match), reverse=True):
        if (checkpoint / COMPLETE).exists():
            return checkpoint
        say(f"{checkpoint} is incomplete (the run was stopped while it was written): passing over it.")
    return None
