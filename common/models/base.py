"""The model below its adapters."""

from peft import PeftModel
from transformers import PreTrainedModel


def base_of(model: PreTrainedModel | PeftModel) -> PreTrainedModel:
    """Returns the model below its adapters, which is the model itself if it has none."""
    return model.get_base_model() if isinstance(model, PeftModel) else model
