"""Generating answers: the prompts are shared out over all processes."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

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
    BatchEncoding,
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
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


class _Confidence(LogitsProcessor):
    """Keeps the log-probability of the likeliest token at each step, the one that greedy decoding takes."""

    def __init__(self):
        self.steps: list[torch.Tensor] = []

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        self.steps.append(scores.max(dim=-1).values - scores.logsumexp(dim=-1))
        return scores


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
    from trl.models import unwrap_model_for_generation  # imports data sets: evaluate.py answers a mistake before that

    processor, tokenizer = tokenizer, getattr(tokenizer, "tokenizer", tokenizer)
    texts = [
        processor.apply_chat_template(prompt, tools=offered or None, tokenize=False, add_generation_prompt=True)
        for prompt, offered in zip(prompts, tools or [None] * len(prompts), strict=True)
    ]
    shared = share_out(len(texts) // together, accelerator.process_index, accelerator.num_processes)
    mine = [(group * together + offset, counts) for group, counts in shared for offset in range(together)]
    numbers = [index for index, _ in mine]
    names = [adapters[index] for index in numbers] if adapters else None
    batch_size = max(1, batch_size // together) * together
    if gather_parameters is None:
        gather_parameters = _whole_model_fits(model)
    with (
        unwrap_model_for_generation(model, accelerator, gather_deepspeed3_params=gather_parameters) as unwrapped,
        generating(unwrapped, generation_config(unwrapped, tokenizer, max_new_tokens=max_new_tokens, **sampling)) as config,
        torch.no_grad(),
    ):
        was_training = unwrapped.training
        unwrapped.eval()
        plain = not open_images and not logits_processor
        if mine and plain and engine_fits(unwrapped, accelerator, config, gather_parameters):
            ids = tokenizer([texts[index] for index in numbers], add_special_tokens=False)["input_ids"]
            seed = int(torch.randint(2**62, ())) if config.do_sample else 0  # a greedy answer draws no random number
            with working(f"answering {len(mine):,} prompts"):
                done = Decoder(config, batch_size)(unwrapped, ids, max_new_tokens, names, seed)
        else:
            seeing = [index for index, prompt in enumerate(prompts) if _has_pictures(prompt)] if open_images else []
            # A sharded vision tower runs when all processes run it: who has no picture reads one more, and forgets it.
            extra = seeing[0] if seeing and accelerator.num_processes > 1 and not gather_parameters else None
            done = []
            with working("answering", total=len(mine)) as advance:
                for start in range(0, len(mine), batch_size):
                    chunk = numbers[start : start + batch_size]
                    read = [*chunk, extra] if extra is not None and not set(chunk) & set(seeing) else chunk
                    images = [open_images(index) for index in read] if open_images else []
                    inputs = _to_inputs(processor, [texts[index] for index in read], images).to(accelerator.device)
                    if names:
                        inputs["adapter_names"] = names[start : start + batch_size]
                    done += _by_generate(unwrapped, inputs, config, logits_processor)[: len(chunk)]
                    advance(len(chunk))
        unwrapped.train(was_training)
    completions = [
        (index, _completion(decoded, tokenizer, config)) for (index, counts), decoded in zip(mine, done, strict=True) if counts
    ]
    gathered = dict(gather_object(completions))
    return [gathered[index] for index in range(len(texts))]


def _has_pictures(prompt: list[dict[str, Any]]) -> bool:
    return any(part["type"] == "image" for turn in prompt if isinstance(turn["content"], list) for part in turn["content"])


def _to_inputs(
    processor: PreTrainedTokenizerBase | ProcessorMixin, texts: list[str], images: list[list[Image]]
) -> BatchEncoding:
    """Returns a batch of prompts as a model's input, padded on the left."""
    inputs = processor(
        text=texts,
        return_tensors="pt",
        padding=True,
        padding_side="left",
        add_special_tokens=False,
        **({"images": images} if any(images) else {}),
    )
    inputs.pop("token_type_ids", None)  # some tokenizers give them, and no causal model takes them
    return inputs


def _completion(decoded: Decoded, tokenizer: PreTrainedTokenizerBase, config: GenerationConfig) -> Completion:
    """Returns a completion as text."""
    tokens = decoded.tokens
    confidence = math.nan if config.do_sample else math.exp(sum(decoded.logprobs) / len(tokens))
    text, raw = tokenizer.decode(tokens, skip_special_tokens=True), tokenizer.decode(tokens)
    return Completion(text, len(tokens), raw, confidence, tokens[-1] not in config.eos_token_id)


def _by_generate(
    model: PreTrainedModel | PeftModel,
    inputs: BatchEncoding,
    config: GenerationConfig,
    logits_processor: LogitsProcessor | None,
) -> list[Decoded]:
    """Generates by transformers' `generate`; log-probabilities are those of greedy completions."""
    confidence = _Confidence()
    processors = [logits_processor] if logits_processor else []
    if not config.do_sample:
        processors.append(confidence)
    output = model.generate(**inputs, generation_config=config, logits_processor=LogitsProcessorList(processors))
    generated = output[:, inputs["input_ids"].shape[1] :].tolist()
    logprobs = [[]] * len(generated) if config.do_sample else torch.stack(confidence.steps, dim=1).tolist()
    ends = [
        next((place for place, token in enumerate(tokens, 1) if token in config.eos_token_id), len(tokens))
        for tokens in generated
    ]
    return [Decoded(tokens[:end], logs[:end]) for tokens, logs, end in zip(generated, logprobs, ends, strict=True)]
