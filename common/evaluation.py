"""Generating answers on all processes, and the intervals of what is measured on them."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from common.errors import say

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object, send_to_device, set_seed
from datasets import Dataset
from PIL.Image import Image
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    ProcessorMixin,
    TrainingArguments,
)
from trl.models import prepare_deepspeed, unwrap_model_for_generation
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling


@dataclass(frozen=True)
class Completion:
    """A generated answer.

    Attributes:
        text: Without special tokens.
        num_tokens: Length, the end-of-turn token included.
        raw: The text with its special tokens, for formats that are made of them.
        confidence: Of a greedy completion the probability that the model gave to its tokens, their geometric mean; else NaN.
    """

    text: str
    num_tokens: int
    raw: str = ""
    confidence: float = math.nan


class _Confidence(LogitsProcessor):
    """Keeps the log-probability of the likeliest token at each step, the one that greedy decoding takes."""

    def __init__(self):
        self.steps: list[torch.Tensor] = []

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        self.steps.append(scores.max(dim=-1).values - scores.logsumexp(dim=-1))
        return scores


def _generation_config(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, max_new_tokens: int, temperature: float
) -> GenerationConfig:
    stops = model.generation_config.eos_token_id
    stops = {tokenizer.eos_token_id} | set(stops if isinstance(stops, list) else [] if stops is None else [stops])
    # Penalties and nucleus sampling that a model suggests for chatting would change the score: each is set to "none".
    return GenerationConfig(
        max_new_tokens=max_new_tokens,
        do_sample=temperature > 0,
        temperature=temperature if temperature > 0 else 1.0,
        top_k=0 if temperature > 0 else 50,
        top_p=1.0,
        repetition_penalty=1.0,
        eos_token_id=sorted(stops),
        pad_token_id=tokenizer.pad_token_id,
    )


def generate(
    model: torch.nn.Module,
    accelerator: Accelerator,
    tokenizer: PreTrainedTokenizerBase | ProcessorMixin,
    prompts: list[list[dict[str, Any]]],
    *,
    batch_size: int,
    max_new_tokens: int,
    temperature: float = 0.0,
    gather_parameters: bool = True,
    tools: list[list[dict[str, Any]]] | None = None,
    open_images: Callable[[int], list[Image]] | None = None,
    adapters: list[str] | None = None,
    together: int = 1,
    logits_processor: LogitsProcessor | None = None,
) -> list[Completion]:
    """Generates one completion for each prompt; the prompts are shared out over the processes.

    Args:
        model: The model as the accelerator wrapped it (a DeepSpeed engine, a DDP module, or the bare model).
        accelerator: Knows the processes and the ZeRO stage.
        tokenizer: The model's tokenizer, with a chat template; of a model that reads pictures its processor.
        prompts: Conversations that the model continues.
        batch_size: Prompts generated at once on a device.
        max_new_tokens: Where a completion is cut.
        temperature: 0 takes the likeliest token (greedy, reproducible); above 0 samples from the whole distribution.
        gather_parameters: Under ZeRO-3, gather the whole model on each device while generating: much faster, but it must
            fit. `False` gathers layer by layer. TRL's `ds3_gather_for_generation`.
        tools: For each prompt the tools that the model may call.
        open_images: Returns the pictures of the prompt with a number, from 0; they are opened when their turn comes.
        adapters: For each prompt the adapter that answers, of a model that has several; "__base__" for none.
        together: Prompts that stay in one batch: the first so many, the next so many, and so on.
        logits_processor: Changes the logits of a batch at each step, before a token is taken.

    Returns:
        The completions in the order of the prompts, on every process.
    """
    rank, world_size = accelerator.process_index, accelerator.num_processes
    processor, tokenizer = tokenizer, getattr(tokenizer, "tokenizer", tokenizer)
    texts = [
        processor.apply_chat_template(prompt, tools=offered or None, tokenize=False, add_generation_prompt=True)
        for prompt, offered in zip(prompts, tools or [None] * len(prompts), strict=True)
    ]
    # Every process takes as many steps as the others, or layer-by-layer gathering waits for ever: the last ones repeat.
    indices = list(range(0, len(texts), together))
    first = (indices[rank::world_size] + indices[:1])[: math.ceil(len(indices) / world_size)]
    mine = [index + offset for index in first for offset in range(together)]
    batch_size = max(1, batch_size // together) * together
    completions = []
    with (
        unwrap_model_for_generation(model, accelerator, gather_deepspeed3_params=gather_parameters) as unwrapped,
        torch.no_grad(),
    ):
        was_training = unwrapped.training
        unwrapped.eval()
        config = _generation_config(unwrapped, tokenizer, max_new_tokens, temperature)
        for start in range(0, len(mine), batch_size):
            chunk = mine[start : start + batch_size]
            images = [open_images(index) for index in chunk] if open_images else []
            inputs = processor(
                text=[texts[index] for index in chunk],
                return_tensors="pt",
                padding=True,
                padding_side="left",
                add_special_tokens=False,
                **({"images": images} if any(images) else {}),
            ).to(accelerator.device)
            inputs.pop("token_type_ids", None)  # some tokenizers give them, and no causal model takes them
            if adapters:
                inputs["adapter_names"] = [adapters[index] for index in chunk]
            confidence = _Confidence()
            processors = [logits_processor] if logits_processor else []
            if temperature == 0:
                processors.append(confidence)
            output = unwrapped.generate(**inputs, generation_config=config, logits_processor=LogitsProcessorList(processors))
            chosen = torch.stack(confidence.steps, dim=1).tolist() if temperature == 0 else [[math.nan]] * len(chunk)
            for index, tokens, logs in zip(chunk, output[:, inputs["input_ids"].shape[1] :], chosen, strict=True):
                ends = torch.isin(tokens, torch.tensor(config.eos_token_id, device=tokens.device)).nonzero()
                tokens = tokens[: ends[0].item() + 1] if len(ends) else tokens
                text = tokenizer.decode(tokens, skip_special_tokens=True)
                confident = math.exp(sum(logs[: len(tokens)]) / len(tokens))
                completions.append((index, Completion(text, len(tokens), tokenizer.decode(tokens), confident)))
        unwrapped.train(was_training)
    gathered = dict(gather_object(completions))
    return [gathered[index] for index in range(len(texts))]


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
