"""Generating answers: the prompts are shared out over all processes."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from common.generate.batches import Prompt, in_batches
from common.generate.decode import Decoder, engine_fits
from common.generate.engine import Decoded
from common.generate.settings import generating, generation_config
from common.measure.shares import share_out
from common.models.zero3 import sharded_bytes
from common.progress import working

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from peft import PeftModel
from PIL.Image import Image
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    ProcessorMixin,
)


@dataclass(frozen=True)
class Completion:
    """A generated answer.

    Attributes:
        text: Without special tokens.
        num_tokens: Length, the end-of-turn token included.
        raw: The text with its special tokens, for formats that are made of them.
        confidence: Of a greedy completion the probability that the model gave to its tokens, their geometric mean; else NaN.
        cut: Whether it came to `max_new_tokens` before its end.
    """

    text: str
    num_tokens: int
    raw: str = ""
    confidence: float = math.nan
    cut: bool = False


def _whole_model_fits(model: torch.nn.Module) -> bool:
    """Returns whether each GPU has room for all the weights under ZeRO-3, beside what it holds, and a quarter more."""
    if not torch.cuda.is_available():
        return True
    torch.cuda.empty_cache()  # what training has put aside counts as taken
    free = min(gather_object([torch.cuda.mem_get_info()[0]]))
    return free > 1.25 * sharded_bytes(model)


def generate(
    model: torch.nn.Module,
    accelerator: Accelerator,
    tokenizer: PreTrainedTokenizerBase | ProcessorMixin,
    prompts: list[list[dict[str, Any]]],
    *,
    batch_size: int,
    max_new_tokens: int,
    gather_parameters: bool | None = None,
    tools: list[list[dict[str, Any]]] | None = None,
    open_images: Callable[[int], list[Image]] | None = None,
    adapters: list[str] | None = None,
    together: int = 1,
    logits_processor: LogitsProcessor | None = None,
    **sampling: float | None,
) -> list[Completion]:
    """Generates one completion for each prompt; the prompts are shared out over the processes.

    Args:
        model: The model as the accelerator wrapped it (a DeepSpeed engine, a DDP module, or the bare model).
        accelerator: Knows the processes and the ZeRO stage.
        tokenizer: The model's tokenizer, with a chat template; of a model that reads pictures its processor.
        prompts: Conversations that the model continues.
        batch_size: Prompts generated at once on a device.
        max_new_tokens: Where a completion is cut.
        gather_parameters: Under ZeRO-3, gather the whole model on each device while generating: much faster, but it must
            fit. `False` gathers layer by layer. TRL's `ds3_gather_for_generation`. None finds out whether it fits.
        tools: For each prompt the tools that the model may call.
        open_images: Returns the pictures of the prompt with a number, from 0; they are opened when their turn comes.
        adapters: For each prompt the adapter that answers, of a model that has several; "__base__" for none.
        together: Prompts that stay in one batch: the first so many, the next so many, and so on.
        logits_processor: Changes the logits of a batch at each step, before a token is taken.
        **sampling: `temperature`, `top_p`, `top_k` and `min_p`, see `common.generate.settings.generation_config`; without them
            the likeliest token is taken (greedy, reproducible).

    Returns:
        The completions in the order of the prompts, on every process.
    """
    processor, tokenizer = tokenizer, getattr(tokenizer, "tokenizer", tokenizer)
    asked = _read(processor, prompts, tools, open_images, adapters)
    mine = _take_share(asked, together, accelerator)
    batch_size = max(1, batch_size // together) * together
    gathers = _whole_model_fits(model) if gather_parameters is None else gather_parameters
    with _opened(model, accelerator, tokenizer, gathers, max_new_tokens=max_new_tokens, **sampling) as (opened, config):
        if mine and not open_images and not logits_processor and engine_fits(opened, accelerator, config, gathers):
            done = _by_engine(opened, tokenizer, mine, batch_size, config)
        else:
            along = None if gathers else _read_along(asked, accelerator)
            done = in_batches(opened, processor, accelerator.device, mine, along, batch_size, config, logits_processor)
    return _gathered(mine, done, tokenizer, config)


# --- Before: what is read, and by whom ------------------------------------------------------------------------------------


def _read(
    processor: PreTrainedTokenizerBase | ProcessorMixin,
    prompts: list[list[dict[str, Any]]],
    tools: list[list[dict[str, Any]]] | None,
    open_images: Callable[[int], list[Image]] | None,
    adapters: list[str] | None,
) -> list[Prompt]:
    """Returns the prompts as they are answered; see `generate`."""
    texts = [
        processor.apply_chat_template(prompt, tools=offered or None, tokenize=False, add_generation_prompt=True)
        for prompt, offered in zip(prompts, tools or [None] * len(prompts), strict=True)
    ]
    opens = [
        partial(open_images, number) if open_images and _has_pictures(prompt) else None for number, prompt in enumerate(prompts)
    ]
    names = adapters or [None] * len(prompts)
    return [Prompt(number, *each) for number, each in enumerate(zip(texts, names, opens, strict=True))]


def _has_pictures(prompt: list[dict[str, Any]]) -> bool:
    return any(part["type"] == "image" for turn in prompt if isinstance(turn["content"], list) for part in turn["content"])


def _take_share(asked: list[Prompt], together: int, accelerator: Accelerator) -> list[Prompt]:
    """Returns the prompts that this process answers, of as many in a row as stay together."""
    shared = share_out(len(asked) // together, accelerator.process_index, accelerator.num_processes)
    return [replace(asked[group * together + offset], counts=counts) for group, counts in shared for offset in range(together)]


def _read_along(asked: list[Prompt], accelerator: Accelerator) -> Prompt | None:
    """Returns a prompt with pictures, if several processes share a model that has to see them.

    A sharded vision tower runs when all processes run it: who has no picture reads one more, and forgets it.
    """
    return next((prompt for prompt in asked if prompt.open_images), None) if accelerator.num_processes > 1 else None


@contextmanager
def _opened(
    model: torch.nn.Module,
    accelerator: Accelerator,
    tokenizer: PreTrainedTokenizerBase,
    gathers: bool,
    **settings: float | None,
) -> Iterator[tuple[PreTrainedModel | PeftModel, GenerationConfig]]:
    """Opens a model to generate with; yields it unwrapped, and how it generates."""
    from trl.models import unwrap_model_for_generation  # imports data sets: evaluate.py answers a mistake before that

    with (
        unwrap_model_for_generation(model, accelerator, gather_deepspeed3_params=gathers) as unwrapped,
        generating(unwrapped, generation_config(unwrapped, tokenizer, **settings)) as config,
        torch.no_grad(),
    ):
        was_training = unwrapped.training
        unwrapped.eval()
        yield unwrapped, config
        unwrapped.train(was_training)


# --- Generating -----------------------------------------------------------------------------------------------------------


def _by_engine(
    model: PreTrainedModel | PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: list[Prompt],
    batch_size: int,
    config: GenerationConfig,
) -> list[Decoded]:
    """Answers prompts by the recorded steps of `common.generate.engine`."""
    ids = tokenizer([prompt.text for prompt in prompts], add_special_tokens=False)["input_ids"]
    names = [prompt.adapter for prompt in prompts] if prompts[0].adapter else None
    seed = int(torch.randint(2**62, ())) if config.do_sample else 0  # a greedy answer draws no random number
    with working(f"answering {len(prompts):,} prompts"):
        return Decoder(config, batch_size)(model, ids, config.max_new_tokens, names, seed)


# --- After ----------------------------------------------------------------------------------------------------------------


def _completion(decoded: Decoded, tokenizer: PreTrainedTokenizerBase, config: GenerationConfig) -> Completion:
    """Returns a completion as text."""
    tokens = decoded.tokens
    confidence = math.nan if config.do_sample else math.exp(sum(decoded.logprobs) / len(tokens))
    text, raw = tokenizer.decode(tokens, skip_special_tokens=True), tokenizer.decode(tokens)
    return Completion(text, len(tokens), raw, confidence, tokens[-1] not in config.eos_token_id)


def _gathered(
    prompts: list[Prompt], done: list[Decoded], tokenizer: PreTrainedTokenizerBase, config: GenerationConfig
) -> list[Completion]:
    """Returns the completions of all processes in the order of the prompts."""
    completions = [
        (prompt.number, _completion(decoded, tokenizer, config))
        for prompt, decoded in zip(prompts, done, strict=True)
        if prompt.counts
    ]
    found = dict(gather_object(completions))
    return [found[number] for number in range(len(found))]
