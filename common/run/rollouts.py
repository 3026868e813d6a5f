"""rollouts.jsonl: a few groups of what GRPO sampled and rewarded, for the report."""

from collections.abc import Callable
from typing import Any

from transformers import Trainer, TrainerCallback

GROUPS = 2  # kept of each generation


class KeepRollouts(TrainerCallback):
    """Keeps the first groups of each generation whose step is logged.

    Args:
        trainer: TRL's GRPOTrainer; of other trainers there is nothing to keep.
        append: Writes a row into a file of the run's folder, on the main process.
    """

    def __init__(self, trainer: Trainer, append: Callable[[str, dict[str, Any]], None]):
        self.trainer, self.append = trainer, append
        self.last: list[float] = []

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **kwargs: Any) -> None:
        if "reward" not in (logs or {}):
            return
        # TRL keeps the last generation of all processes for its own table (`log_completions`), and hands it to nobody.
        kept = self.trainer._logs
        advantages = list(kept["advantages"])
        if advantages == self.last:  # a generation serves several steps
            return
        self.last = advantages
        prompts, completions, rewards = kept["prompt"], kept["completion"], kept["rewards"]
        size, weights = args.num_generations, args.reward_weights or [1.0] * len(rewards)
        for start in range(0, min(GROUPS * size, len(advantages)), size):
            group = [
                _completion(completions[number], {name: values[number] for name, values in rewards.items()}, weights)
                | {"advantage": round(advantages[number], 4)}
                for number in range(start, start + size)
            ]
            self.append("rollouts.jsonl", {"step": state.global_step, "prompt": _text(prompts[start]), "completions": group})


def _completion(said: Any, rewards: dict[str, float], weights: list[float]) -> dict[str, Any]:
    total = sum(weight * value for weight, value in zip(weights, rewards.values(), strict=True))
    shown = {name: round(value, 4) for name, value in rewards.items()}
    return {"text": _text(said, last=True), "rewards": shown, "reward": round(total, 4)}


def _text(said: Any, last: bool = False) -> str:
    """Returns what messages say, the system's left out; of a completion its last message, of a plain text all."""
    if isinstance(said, str):
        return said
    shown = said[-1:] if last else [message for message in said if message["role"] != "system"]
    return "\n\n".join(str(message["content"]) for message in shown)
