"""Generating answers on all processes, and the intervals of what is measured on them."""

import math
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase
from trl.models import unwrap_model_for_generation


@dataclass(frozen=True)
class Completion:
    """A generated answer.

    Attributes:
        text: Without special tokens.
        num_tokens: Length, the end-of-turn token included.
    """

    text: str
    num_tokens: int


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
    tokenizer: PreTrainedTokenizerBase,
    prompts: list[list[dict[str, str]]],
    *,
    batch_size: int,
    max_new_tokens: int,
    temperature: float = 0.0,
    gather_parameters: bool = True,
) -> list[Completion]:
    """Generates one completion for each prompt; the prompts are shared out over the processes.

    Args:
        model: The model as the accelerator wrapped it (a DeepSpeed engine, a DDP module, or the bare model).
        accelerator: Knows the processes and the ZeRO stage.
        tokenizer: The model's tokenizer, with a chat template.
        prompts: Conversations that the model continues.
        batch_size: Prompts generated at once on a device.
        max_new_tokens: Where a completion is cut.
        temperature: 0 takes the likeliest token (greedy, reproducible); above 0 samples from the whole distribution.
        gather_parameters: Under ZeRO-3, gather the whole model on each device while generating: much faster, but it must
            fit. `False` gathers layer by layer. TRL's `ds3_gather_for_generation`.

    Returns:
        The completions in the order of the prompts, on every process.
    """
    rank, world_size = accelerator.process_index, accelerator.num_processes
    texts = [tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True) for prompt in prompts]
    # Every process takes as many steps as the others, or layer-by-layer gathering waits for ever: the last ones repeat.
    indices = list(range(len(texts)))
    mine = (indices[rank::world_size] + indices[:1])[: math.ceil(len(texts) / world_size)]
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
            inputs = tokenizer(
                [texts[index] for index in chunk],
                return_tensors="pt",
                padding=True,
                padding_side="left",
                add_special_tokens=False,
            ).to(accelerator.device)
            output = unwrapped.generate(
                input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], generation_config=config
            )
            for index, tokens in zip(chunk, output[:, inputs["input_ids"].shape[1] :], strict=True):
                ends = torch.isin(tokens, torch.tensor(config.eos_token_id, device=tokens.device)).nonzero()
                tokens = tokens[: ends[0].item() + 1] if len(ends) else tokens
                text = tokenizer.decode(tokens, skip_special_tokens=True)
                completions.append((index, Completion(text, len(tokens))))
        unwrapped.train(was_training)
    gathered = dict(gather_object(completions))
    return [gathered[index] for index in indices]


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
    chances = [1 - math.comb(num_samples - right, k) / math.comb(num_samples, k) for right in num_correct]
    mean = sum(chances) / len(chances)
    variance = sum((chance - mean) ** 2 for chance in chances) / max(1, len(chances) - 1)
    half = 1.959964 * math.sqrt(variance / len(chances))
    return {"value": mean, "low": max(0.0, mean - half), "high": min(1.0, mean + half)}
