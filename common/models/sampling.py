"""How a model suggests to generate (generation_config.json): where it stops, how it is sampled."""

import re

from common.errors import say

from transformers import GenerationConfig, PreTrainedModel


def stop_tokens(config: GenerationConfig) -> list[int]:
    """Returns the tokens at which a model stops; its settings may hold one, several or none."""
    stops = config.eos_token_id
    return stops if isinstance(stops, list) else [] if stops is None else [stops]


def mend_sampling(model: PreTrainedModel, name: str) -> None:
    """Takes out of a model's suggestions what has no effect, and says so: transformers loads it, and refuses to save it.

    For example a `temperature` beside `do_sample: false`: the model generates greedily before and after.

    Args:
        model: The model; nothing changes in what it generates by itself.
        name: How the line names it.
    """
    try:
        model.generation_config.validate(strict=True)
    except ValueError as error:
        ignored = re.findall(r"^- `(\w+)`: ", str(error), re.MULTILINE)
        if not ignored:
            raise
        values = ", ".join(f"{setting} {getattr(model.generation_config, setting)}" for setting in ignored)
        for setting in ignored:
            setattr(model.generation_config, setting, None)
        say(f"{name}: its generation_config.json sets {values}, which has no effect beside the rest; taken out.")
