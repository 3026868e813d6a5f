"""How a model generates: as it is measured, whatever it suggests for chatting."""

from collections.abc import Iterator
from contextlib import contextmanager

from common.models.base import base_of
from common.models.sampling import stop_tokens

from peft import PeftModel
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase


def generation_config(
    model: PreTrainedModel | PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_new_tokens: int,
    temperature: float = 0.0,
    top_p: float | None = None,
    top_k: int | None = None,
    min_p: float | None = None,
) -> GenerationConfig:
    """Returns how evaluations and chats generate: greedily or by sampling, without any penalty.

    It has to be the model's own while it generates (see `generating`): transformers fills what it leaves open with what the
    model suggests, such as a `repetition_penalty`, which would change the score.

    Args:
        model: The model; what ends its turn is taken from its own settings.
        tokenizer: Its tokenizer, whose end of turn ends it too.
        max_new_tokens: Where an answer is cut.
        temperature: 0 takes the likeliest token; above 0 samples.
        top_p: Samples from the likeliest tokens that have this probability together; from all if None.
        top_k: Samples from so many of the likeliest tokens; from all if None or 0.
        min_p: Samples from the tokens with at least this part of the likeliest one's probability; from all if None.
    """
    stops = {*stop_tokens(model.generation_config), tokenizer.eos_token_id}
    # What is not given is none, and not transformers' default, which is 50 for `top_k`.
    sampling = {
        "temperature": temperature,
        "top_p": 1.0 if top_p is None else top_p,
        "top_k": top_k or 0,
        "min_p": min_p,
    }
    return GenerationConfig(
        max_new_tokens=max_new_tokens,
        do_sample=temperature > 0,
        eos_token_id=sorted(stops),
        pad_token_id=tokenizer.pad_token_id,
        **(sampling if temperature > 0 else {}),
    )


def stop_at(model: PreTrainedModel, token: int) -> None:
    """Has a model stop at one more token, here and wherever it is loaded: the setting is saved with it.

    Args:
        model: The model.
        token: The token's number.
    """
    stops = stop_tokens(model.generation_config)
    model.generation_config.eos_token_id = stops if token in stops else [*stops, token]


@contextmanager
def generating(model: PreTrainedModel | PeftModel, config: GenerationConfig) -> Iterator[GenerationConfig]:
    """Puts a model's own settings aside while it generates with others; they are saved with it.

    Args:
        model: The model.
        config: What it generates with; also what is yielded.
    """
    base = base_of(model)
    own, base.generation_config = base.generation_config, config
    try:
        yield config
    finally:
        base.generation_config = own
