"""The choice of the next token, as transformers' `generate` makes it, in a form that a CUDA graph can hold."""

import torch
from transformers import (
    GenerationConfig,
    LogitsProcessorList,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

# What of transformers' settings is honoured; a model that is asked for another one answers by `generate`.
HONOURED = {
    "bos_token_id",
    "do_sample",
    "eos_token_id",
    "max_new_tokens",
    "min_p",
    "pad_token_id",
    "repetition_penalty",
    "temperature",
    "top_k",
    "top_p",
}
OF_NO_EFFECT = {"disable_compile", "transformers_version", "use_cache"}


def not_honoured(config: GenerationConfig) -> list[str]:
    """Returns the settings that `next_tokens` does not know.

    Args:
        config: How is generated.
    """
    return sorted(
        name
        for name, value in config.to_diff_dict().items()
        if value is not None and name not in HONOURED | OF_NO_EFFECT and not name.startswith("_")
    )


def processors_of(config: GenerationConfig) -> LogitsProcessorList:
    """Returns what changes the logits before a token is sampled, in the order of `generate`.

    Args:
        config: How is generated.
    """
    processors = LogitsProcessorList()
    if config.repetition_penalty not in (None, 1.0):
        processors.append(RepetitionPenaltyLogitsProcessor(config.repetition_penalty))
    if not config.do_sample:
        return processors
    if config.temperature not in (None, 1.0):
        processors.append(TemperatureLogitsWarper(config.temperature))
    if config.top_k:
        processors.append(TopKLogitsWarper(config.top_k))
    if config.top_p is not None and config.top_p < 1.0:
        processors.append(TopPLogitsWarper(config.top_p))
    if config.min_p is not None:
        processors.append(MinPLogitsWarper(config.min_p))
    return processors


def next_tokens(
    logits: torch.Tensor,
    history: torch.Tensor,
    config: GenerationConfig,
    processors: LogitsProcessorList,
    generator: torch.Generator,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Chooses a token for each row.

    Sampling divides the probabilities by exponential noise and takes the largest, which draws from their distribution
    without the synchronisation of `torch.multinomial` (the "exponential race", Gumbel 1954; in this form in gpt-fast).

    Args:
        logits: Of shape (rows, vocabulary).
        history: The tokens so far, of shape (rows, positions), for a penalty on repetitions.
        config: How is generated.
        processors: See `processors_of`.
        generator: Draws the noise.

    Returns:
        The tokens, of shape (rows,), and their log-probabilities as the model has them at this temperature, before anything
        is penalised or left out: what training computes of them.
    """
    logits = logits.float()
    temperature = config.temperature if config.do_sample and config.temperature is not None else 1.0
    scores = processors(history, logits)
    if config.do_sample:
        noise = torch.empty_like(scores).exponential_(generator=generator).clamp_min_(torch.finfo(torch.float32).tiny)
        tokens = (scores - noise.log_()).argmax(dim=-1)
    else:
        tokens = scores.argmax(dim=-1)
    tempered = logits if temperature == 1.0 else logits / temperature
    return tokens, tempered.gather(1, tokens[:, None])[:, 0] - tempered.logsumexp(dim=-1)
