"""What evaluations have in common: the model on all processes, the loss of held-out rows, rates with their intervals."""

import math
from typing import Any

from common.errors import say

import torch
from accelerate import Accelerator
from accelerate.utils import send_to_device, set_seed
from datasets import Dataset
from transformers import PreTrainedModel, TrainingArguments
from trl.models import prepare_deepspeed
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling


def mean_loss(
    model: torch.nn.Module,
    accelerator: Accelerator,
    dataset: Dataset,
    *,
    batch_size: int,
) -> dict[str, float]:
    """Returns the mean loss of the trained tokens of a data set; the rows are shared out over the processes.

    Args:
        model: The model as the accelerator wrapped it.
        accelerator: Knows the processes.
        dataset: Rows of `common.masking.tokenize`.
        batch_size: Rows computed at once on a device.

    Returns:
        `value`, in nats a token.
    """
    rank, world_size = accelerator.process_index, accelerator.num_processes
    # As in `generate`, every process takes as many steps as the others: the last ones repeat a row, and do not count it.
    rows = [(index, True) for index in range(rank, len(dataset), world_size)]
    rows += [(0, False)] * (math.ceil(len(dataset) / world_size) - len(rows))
    collate = DataCollatorForLanguageModeling(pad_token_id=0)  # padding is masked: its token does not matter
    was_training = model.training
    model.eval()
    total = torch.zeros(2, dtype=torch.float64, device=accelerator.device)
    for start in range(0, len(rows), batch_size):
        chunk = rows[start : start + batch_size]
        batch = send_to_device(collate([dataset[index] for index, _ in chunk]), accelerator.device)
        labels = batch.pop("labels")[:, 1:]
        labels[[not counted for _, counted in chunk]] = -100
        with torch.no_grad(), accelerator.autocast():
            logits = model(**batch).logits[:, :-1].float()
        total[0] += torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="sum")
        total[1] += (labels != -100).sum()
    model.train(was_training)
    loss, tokens = accelerator.reduce(total, "sum").tolist()
    return {"value": loss / tokens}


def prepare(model: PreTrainedModel, training_args: TrainingArguments) -> tuple[torch.nn.Module, Accelerator]:
    """Puts a model that is only evaluated on its devices: under ZeRO-3 sharded, else a copy on each.

    Args:
        model: The model as it was loaded.
        training_args: Carry the launcher's DeepSpeed settings, the precision and the seed.

    Returns:
        The model as the accelerator wrapped it, and the accelerator.
    """
    plugin = training_args.deepspeed_plugin
    accelerator = Accelerator(deepspeed_plugin=plugin)
    set_seed(training_args.seed, device_specific=True)  # or all processes would draw the same random numbers
    if plugin is not None and plugin.zero_stage == 3:
        plugin.deepspeed_config["train_micro_batch_size_per_gpu"] = 1  # DeepSpeed asks for it, inference does not use it
        plugin.deepspeed_config["train_batch_size"] = accelerator.num_processes
        plugin.deepspeed_config["gradient_accumulation_steps"] = 1
        return prepare_deepspeed(model, accelerator), accelerator
    return model.to(accelerator.device, dtype=torch.bfloat16 if training_args.bf16 else None), accelerator


def print_results(name: str, results: dict[str, dict[str, Any]]) -> None:
    """Prints the metrics of each held-out set.

    Args:
        name: The model's name.
        results: What the recipe's `evaluate` returned.
    """
    say(name)
    for split, result in results.items():
        say(f"\n{split}: {result['count']} problems")
        for metric, values in result["metrics"].items():
            if "low" in values:
                say(f"  {metric:<24}{values['value']:7.1%}   95 % interval [{values['low']:.1%}, {values['high']:.1%}]")
            else:
                say(f"  {metric:<24}{format_number(values['value']):>7}")


def format_number(value: float) -> str:
    """Returns a measured number with the digits worth reading: 12.3, 0.456."""
    return f"{value:,.1f}" if abs(value) >= 10 else f"{value:.3g}"


def share(successes: list[bool]) -> dict[str, float]:
    """Returns the share of successes with its 95 % interval (Wilson 1927, good also near 0 and 1).

    Args:
        successes: One entry for each independent problem.

    Returns:
        `value`, `low` and `high`, each in [0, 1].
    """
    n, z = len(successes), 1.959964
    p = sum(successes) / n
    center = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    # At 0 and 1 the bound is exact; in floating point it can miss by one unit.
    return {"value": p, "low": max(0.0, min(p, center - half)), "high": min(1.0, max(p, center + half))}


def mean(values: list[float]) -> dict[str, float]:
    """Returns the mean of scores in [0, 1] with its 95 % interval, the normal one.

    Args:
        values: One score for each independent problem.

    Returns:
        `value`, `low` and `high`, each in [0, 1].
    """
    average = sum(values) / len(values)
    variance = sum((value - average) ** 2 for value in values) / max(1, len(values) - 1)
    half = 1.959964 * math.sqrt(variance / len(values))
    return {"value": average, "low": max(0.0, average - half), "high": min(1.0, average + half)}


def pass_at_k(num_correct: list[int], num_samples: int, k: int) -> dict[str, float]:
    """Returns the chance that at least one of k samples is right, with a 95 % interval over the problems.

    The estimator is the unbiased one of Chen et al. 2021 (arXiv:2107.03374); the interval is the normal one of the mean.

    Args:
        num_correct: For each problem, how many of its samples are right.
        num_samples: Samples drawn for each problem.
        k: At most `num_samples`.

    Returns:
        `value`, `low` and `high`, each in [0, 1].
    """
    return mean([1 - math.comb(num_samples - right, k) / math.comb(num_samples, k) for right in num_correct])
