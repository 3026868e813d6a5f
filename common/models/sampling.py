"""What a model suggests for sampling, though by its own settings it does not sample."""

from common.errors import say

from transformers import PreTrainedModel

# What transformers (`GenerationConfig.validate`) takes for a contradiction beside `do_sample: false`.
SAMPLING = ("temperature", "top_p", "top_k", "min_p", "top_h", "typical_p", "epsilon_cutoff", "eta_cutoff")


def leave_out_unused_sampling(model: PreTrainedModel) -> None:
    """Leaves out of a model's settings for generating what they do not use, and says so: transformers refuses to save it.

    Args:
        model: The model, as it was loaded.
    """
    config = model.generation_config
    unused = {} if config.do_sample else {name: value for name in SAMPLING if (value := getattr(config, name)) is not None}
    for name in unused:
        setattr(config, name, None)
    if unused:
        listed = ", ".join(f"{name} {value}" for name, value in unused.items())
        say(f"By its generation_config.json the model does not sample; what that suggests for sampling is left out: {listed}.")
