"""Run before a recipe: at the end of each training, what the model in memory gives is written down.

TRAINED is the folder for it: a file for each part of a run, with inputs (rows of the validation, else fixed tokens), the logits
that the model gives for them, and a conversation as its tokenizer writes it.
"""

import os
from pathlib import Path
from typing import Any

import common.run.loop

import torch
from safetensors.torch import save_file
from transformers import ProcessorMixin, Trainer

train_and_save = common.run.loop.run


def inputs_of(trainer: Trainer) -> dict[str, torch.Tensor]:
    """Returns a batch without labels."""
    if trainer.eval_dataset is None:
        return {"input_ids": torch.arange(1, 61).reshape(2, 30)}  # GRPO has no rows with answers
    batch = next(iter(trainer.get_eval_dataloader()))
    return {name: value for name, value in batch.items() if name != "labels"}


def conversation_of(trainer: Trainer) -> str:
    """Returns what the tokenizer makes of a question."""
    question: Any = "What is 2 + 2?"
    if isinstance(trainer.processing_class, ProcessorMixin):
        question = [{"type": "text", "text": question}]
    turns = [{"role": "user", "content": question}]
    return trainer.processing_class.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)


def tell(trainer: Trainer) -> None:
    """Writes down what the model gives; under ZeRO-3 every process takes part."""
    model, inputs = trainer.model_wrapped, inputs_of(trainer)
    model.eval()
    with torch.no_grad():
        logits = model(**inputs, use_cache=False).logits
    if trainer.accelerator.is_main_process:
        name = Path(trainer.args.output_dir).name
        tensors = {name: value.clone().contiguous() for name, value in {**inputs, "logits": logits}.items()}
        save_file(tensors, Path(os.environ["TRAINED"]) / f"{name}.safetensors", {"conversation": conversation_of(trainer)})


def run(script: str, trainer: Trainer, *args: Any, more_follows: bool = False, **settings: Any) -> None:
    """Does what the recipe's own does, and tells before the processes part."""
    train_and_save(script, trainer, *args, more_follows=True, **settings)
    tell(trainer)
    if not more_follows:
        trainer.accelerator.end_training()


common.run.loop.run = run
