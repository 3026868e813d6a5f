"""How many tokens a training has sampled, and one that ends when it has sampled as many as another."""

import math
from pathlib import Path
from typing import Any

from common.data.runs import read_rows
from common.errors import say

from transformers import TrainerCallback
from trl import GRPOConfig


def _completions_a_step(training_args: GRPOConfig) -> float:
    generations = training_args.gradient_accumulation_steps / training_args.steps_per_generation / training_args.num_iterations
    return training_args.generation_batch_size * generations


def prompts_a_step(training_args: GRPOConfig) -> int:
    """Returns how many prompts an optimizer step needs, rounded up."""
    return math.ceil(_completions_a_step(training_args) / training_args.num_generations)


def _sampled(rows: list[dict[str, Any]], training_args: GRPOConfig) -> float:
    lengths = [row["completions/mean_length"] for row in rows if "completions/mean_length" in row]
    steps = max((row["step"] for row in rows), default=0)
    return sum(lengths) / max(1, len(lengths)) * steps * _completions_a_step(training_args)


def sampled_tokens(folder: Path, phases: list[str], training_args: GRPOConfig) -> float:
    """Returns how many tokens some phases of a run sampled in training: those of completions, without prompts."""
    return sum(_sampled(read_rows(folder / name / "metrics.jsonl"), training_args) for name in phases)


def steps_of(folder: Path, phases: list[str]) -> int:
    """Returns how many steps some phases of a run took together."""
    return sum(read_rows(folder / name / "metrics.jsonl")[-1]["step"] for name in phases)


class StopAtTokens(TrainerCallback):
    """Ends a training once it has sampled so many tokens."""

    def __init__(self, tokens: float, training_args: GRPOConfig):
        self.tokens, self.training_args = tokens, training_args

    def on_log(self, args, state, control, **kwargs):
        if not control.should_training_stop and _sampled(state.log_history, self.training_args) >= self.tokens:
            control.should_training_stop = True
            say(f"The team's {self.tokens:,.0f} tokens are sampled at step {state.global_step}: this training ends.")
