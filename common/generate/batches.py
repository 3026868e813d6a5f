"""Answering by transformers' `generate`, a batch of prompts after the other."""

from collections.abc import Callable
from dataclasses import dataclass

from common.generate.engine import Decoded
from common.progress import working

import torch
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
class Prompt:
    """A prompt as it is answered.

    Attributes:
        number: Its place among all prompts, from 0.
        text: What the model reads.
        adapter: Which one answers, of a model that has several.
        open_images: Opens its pictures; None if it has none.
        counts: Whether its completion is kept; else it is answered so that no process waits, see `share_out`.
    """

    number: int
    text: str
    adapter: str | None
    open_images: Callable[[], list[Image]] | None
    counts: bool = True


class _Confidence(LogitsProcessor):
    """Keeps the log-probability of the likeliest token at each step, the one that greedy decoding takes."""

    def __init__(self):
        self.steps: list[torch.Tensor] = []

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        self.steps.append(scores.max(dim=-1).values - scores.logsumexp(dim=-1))
        return scores


def in_batches(
    model: PreTrainedModel | PeftModel,
    processor: PreTrainedTokenizerBase | ProcessorMixin,
    device: torch.device,
    prompts: list[Prompt],
    along: Prompt | None,
    batch_size: int,
    config: GenerationConfig,
    logits_processor: LogitsProcessor | None,
) -> list[Decoded]:
    """Answers prompts by transformers' `generate`, a batch after the other.

    Args:
        model: The model, unwrapped.
        processor: Its tokenizer or processor.
        device: Where it stands.
        prompts: What this process answers.
        along: A prompt with pictures that every batch without any reads, too, and forgets; None where that is not needed.
        batch_size: Prompts at once.
        config: How is generated.
        logits_processor: Changes the logits of a batch at each step, before a token is taken.

    Returns:
        What was generated for each prompt.
    """
    done = []
    with working("answering", total=len(prompts)) as advance:
        for start in range(0, len(prompts), batch_size):
            batch = prompts[start : start + batch_size]
            read = [*batch, along] if along and not any(prompt.open_images for prompt in batch) else batch
            inputs = _to_inputs(processor, read).to(device)
            if batch[0].adapter:
                inputs["adapter_names"] = [prompt.adapter for prompt in batch]
            done += _by_generate(model, inputs, config, logits_processor)[: len(batch)]
            advance(len(batch))
    return done


def _to_inputs(processor: PreTrainedTokenizerBase | ProcessorMixin, prompts: list[Prompt]) -> BatchEncoding:
    """Returns a batch of prompts as a model's input, padded on the left."""
    images = [prompt.open_images() if prompt.open_images else [] for prompt in prompts]
    inputs = processor(
        text=[prompt.text for prompt in prompts],
        return_tensors="pt",
        padding=True,
        padding_side="left",
        add_special_tokens=False,
        **({"images": images} if any(images) else {}),
    )
    inputs.pop("token_type_ids", None)  # some tokenizers give them, and no causal model takes them
    return inputs


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
