"""Interrupt and continue: a checkpoint is marked once it is complete."""

from pathlib import Path

from common.data.runs import COMPLETE

from accelerate import Accelerator
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments


class MarkComplete(TrainerCallback):
    """Marks a checkpoint as complete once all processes have written their parts of it."""

    def __init__(self, accelerator: Accelerator):
        self.accelerator = accelerator

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs) -> None:
        self.accelerator.wait_for_everyone()
        if state.is_world_process_zero:
            (Path(args.output_dir) / f"checkpoint-{state.global_step}" / COMPLETE).touch()
