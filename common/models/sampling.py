"""How a model suggests to be sampled (generation_config.json)."""

import re

from common.errors import say

from transformers import PreTrainedModel


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
