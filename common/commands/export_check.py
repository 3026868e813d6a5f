"""Whether an export is the model that was trained: logits of a sample text, and whole weights."""

from pathlib import Path

from common.errors import fail

import torch
from peft import PeftModel
from PIL import Image
from safetensors import safe_open
from transformers import PreTrainedModel, PreTrainedTokenizerBase, ProcessorMixin

SAMPLE = "A train leaves at 9:40 and arrives at 13:05. It stops four times, 6 minutes each. How long does it move? Explain."
# How far float32 arithmetic in another order may move a logit, relative to the largest one; float32 has 7 digits.
TOLERANCE = 1e-4


def sample_prompt(tokenizer: PreTrainedTokenizerBase | ProcessorMixin) -> str:
    """Returns the sample text as the chat template writes it, after a picture if the model reads pictures."""
    content = SAMPLE if not isinstance(tokenizer, ProcessorMixin) else [{"type": "image"}, {"type": "text", "text": SAMPLE}]
    messages = [{"role": "user", "content": content}]
    return tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)


def sample_logits(
    model: PreTrainedModel | PeftModel, tokenizer: PreTrainedTokenizerBase | ProcessorMixin, prompt: str
) -> torch.Tensor:
    """Returns the logits at each position of a prompt, with a picture before it if the model reads pictures.

    Args:
        model: The model.
        tokenizer: Its tokenizer or processor.
        prompt: That of `sample_prompt`.

    Returns:
        Of shape (tokens, vocabulary).
    """
    if isinstance(tokenizer, ProcessorMixin):
        picture = Image.linear_gradient("L").resize((112, 56)).convert("RGB")
        inputs = tokenizer(images=[picture], text=[prompt], return_tensors="pt")
    else:
        inputs = {"input_ids": tokenizer(prompt, return_tensors="pt", add_special_tokens=False)["input_ids"]}
    with torch.no_grad():
        return model(**inputs).logits[0]


def difference(expected: torch.Tensor, found: torch.Tensor) -> float:
    """Returns the largest difference of two tensors."""
    return (expected - found).abs().max().item()


def check_equal(expected: torch.Tensor, found: torch.Tensor, what: str) -> None:
    """Fails if logits differ by more than the order of additions explains; also if they are not numbers."""
    largest, moved = expected.abs().max().item(), difference(expected, found)
    if not moved <= TOLERANCE * largest:
        fail(f"{what}: logits differ by {moved:.3g} on a sample text (the largest is {largest:.3g}); nothing was exported")


def check_tensors(folder: Path) -> None:
    """Fails if a saved weight is empty or not finite."""
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as weights:
            for name in weights.keys():  # noqa: SIM118 - not a dict
                tensor = weights.get_tensor(name)
                if tensor.numel() == 0 or not tensor.isfinite().all():
                    fail(f"the weight {name} is empty or not finite in the export; nothing was exported")
