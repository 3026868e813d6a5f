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
    seeds: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Chooses a token for each row.

    Sampling divides the probabilities by exponential noise and takes the largest: a draw from their distribution, without the
    synchronisation of `torch.multinomial`. The noise comes from the row's own seed: what a completion says does not depend on
    what is generated beside it.

    Args:
        logits: Of shape (rows, vocabulary).
        history: The tokens so far, of shape (rows, positions), for a penalty on repetitions.
        config: How is generated.
        processors: See `processors_of`.
        seeds: Of each row, of shape (rows,).

    Returns:
        The tokens, of shape (rows,), and their log-probabilities as the model has them at this temperature, before anything
        is penalised or left out: what training computes of them.
    """
    sharpness = 1 / config.temperature if config.do_sample and config.temperature else 1.0
    only_tempered = all(isinstance(processor, TemperatureLogitsWarper) for processor in processors)
    scores = logits if only_tempered else processors(history, logits.float())
    if logits.is_cuda:
        from common.generate.kernels import choose

        return choose(logits, scores, seeds if config.do_sample else None, sharpness, sharpness if only_tempered else 1.0)
    logits = logits.float() * sharpness
    scores = logits if only_tempered else scores
    if config.do_sample:
        generator, noise = torch.Generator(), torch.empty_like(scores)
        for row, seed in zip(noise, seeds.tolist(), strict=True):
            row.exponential_(generator=generator.manual_seed(seed))
        scores = scores - noise.log()
    tokens = scores.argmax(dim=-1)
    return tokens, logits.gather(1, tokens[:, None])[:, 0] - logits.logsumexp(dim=-1)
