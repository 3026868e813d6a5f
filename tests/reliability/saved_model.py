"""Reads saved models with transformers and PEFT alone, and compares each with what its model gave in memory.

    python saved_model.py REQUESTS

REQUESTS is a json list. Each entry names the `folder`, the `base` of an adapter (else null) and the `trained` file of
trained_model.py, and gets what was `found`.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from safetensors import safe_open
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoProcessor,
    AutoTokenizer,
    PreTrainedModel,
)

DAY = re.compile(r"\d{2} [A-Z][a-z]{2} \d{4}|\d{4}-\d{2}-\d{2}|\d{2} [A-Z][a-z]+ \d{4}")


def load_whole(folder: str, **settings: Any) -> tuple[PreTrainedModel, dict[str, Any]]:
    """Loads all weights of a folder; also what is missing, left over or of another shape."""
    reads_pictures = hasattr(AutoConfig.from_pretrained(folder), "vision_config")
    auto_class = AutoModelForImageTextToText if reads_pictures else AutoModelForCausalLM
    model, found = auto_class.from_pretrained(folder, output_loading_info=True, **settings)
    return model, {name: sorted(map(str, wrong)) for name, wrong in found.items() if wrong}


def load(folder: str, base: str | None) -> tuple[PreTrainedModel | PeftModel, dict[str, Any]]:
    """Loads a model, or an adapter on its base, which may be stored in fewer bits than it was trained in."""
    if base is None:
        return load_whole(folder)
    model, wrong = load_whole(base, dtype=torch.float32)
    model = PeftModel.from_pretrained(model, folder)
    loaded = model.load_adapter(folder, "again")  # says what it has not found
    model.set_adapter("default")
    missing = [name for name in loaded.missing_keys if "again" in name]
    return model, wrong | {name: keys for name, keys in (("missing", missing), ("unexpected", loaded.unexpected_keys)) if keys}


def conversation_of(folder: str) -> str:
    """Returns what the saved tokenizer makes of a question, as trained_model.py asks it."""
    question: Any = "What is 2 + 2?"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    if (Path(folder) / "processor_config.json").exists():
        tokenizer, question = AutoProcessor.from_pretrained(folder), [{"type": "text", "text": question}]
    turns = [{"role": "user", "content": question}]
    return tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)


def compare(folder: str, base: str | None, trained: str) -> dict[str, Any]:
    """Returns how far a saved model is from the trained one."""
    with safe_open(trained, "pt") as file:
        inputs = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
        conversation = file.metadata()["conversation"]
    logits = inputs.pop("logits")
    model, wrong = load(folder, base)
    with torch.no_grad():
        found = model.eval()(**inputs, use_cache=False).logits
    return {
        "difference": (found - logits).abs().max().item(),
        "largest": logits.abs().max().item(),
        "wrong": wrong,
        # A run names a fixed day, and its export that on which it is asked.
        "same conversation": DAY.sub("a day", conversation_of(folder)) == DAY.sub("a day", conversation),
    }


if __name__ == "__main__":
    path = Path(sys.argv[1])
    requests = json.loads(path.read_text())
    answers = [request | {"found": compare(**request)} for request in requests]
    assert not any(name.partition(".")[0] == "common" for name in sys.modules), "this must not need the recipes"
    path.write_text(json.dumps(answers))
