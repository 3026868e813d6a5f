"""Run before a GRPO recipe: its trainers take the completions that another run sampled.

What is sampled depends on the random numbers of a process, so two runs on another number of processes learn from other texts.
COMPLETIONS_OF is the folder of a run with `--log_completions true`. Its prompts must be those of this run, step by step and row
by row.
"""

import os
from pathlib import Path
from typing import Any

import pyarrow.parquet
import trl

SAMPLED = Path(os.environ["COMPLETIONS_OF"])


def logged_of(run: Path, output_dir: Path, step: int) -> list[dict[str, Any]]:
    """Returns what a run logged of a step's completions; a run of several parts has them in folders of the same name."""
    part = run / output_dir.name
    return pyarrow.parquet.read_table(
        (part if part.is_dir() else run) / f"completions/completions_{step:05d}.parquet"
    ).to_pylist()


def repeat(prompts: list[list[dict[str, str]]], trainer: trl.GRPOTrainer) -> dict[str, Any]:
    """Gives this process its part of the completions (TRL's `rollout_func`)."""
    logged = logged_of(SAMPLED, Path(trainer.args.output_dir), trainer.state.global_step + 1)
    first = trainer.accelerator.process_index * len(prompts)
    mine = logged[first : first + len(prompts)]
    assert [row["prompt"] for row in mine] == prompts, "these processes read other rows, or in another order"
    tokenizer = trainer.processing_class
    rendered = tokenizer.apply_chat_template(prompts, add_generation_prompt=True, tokenize=False)
    return {
        "prompt_ids": tokenizer(rendered, add_special_tokens=False)["input_ids"],
        "completion_ids": [
            [*tokenizer(row["completion"][0]["content"], add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
            for row in mine
        ],
        "logprobs": None,
    }


class Repeating(trl.GRPOTrainer):
    """A trainer that samples nothing."""

    def __init__(self, *args: Any, **settings: Any):
        super().__init__(*args, rollout_func=repeat, **settings)


trl.GRPOTrainer = Repeating
