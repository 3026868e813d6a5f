"""Reads saved models with the transformers of this Python, whatever its version, and says what each one is to it.

    python older_reader.py REQUESTS

REQUESTS is a json list. Each entry names the `folder` and the `base` of an adapter (else null), and gets what was `found`, and
what `minijinja`, which engines in Rust take for Jinja, makes of the chat template.
"""

import json
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from saved_model import load
from transformers import AutoProcessor, AutoTokenizer, PreTrainedModel

QUESTION = "What is 2 + 2? One two three four five six seven eight."


def turns_of(source: Path) -> list[dict[str, Any]]:
    """Returns the question, with a picture if the model reads pictures."""
    content: Any = QUESTION
    if (source / "preprocessor_config.json").exists():
        content = [{"type": "image"}, {"type": "text", "text": QUESTION}]
    return [{"role": "user", "content": content}]


def render_by_minijinja(source: Path) -> str:
    """Returns the question as the chat template in tokenizer_config.json writes it, without transformers."""
    import minijinja

    config = json.loads((source / "tokenizer_config.json").read_text(encoding="utf-8"))
    environment = minijinja.Environment(trim_blocks=True, lstrip_blocks=True, auto_escape_callback=lambda name: False)
    environment.add_function("strftime_now", datetime.now().strftime)
    values = {"messages": turns_of(source), "add_generation_prompt": True, **config}
    return environment.render_str(config["chat_template"], **values)


def read(folder: str, base: str | None, model: PreTrainedModel | None = None) -> dict[str, Any]:
    """Returns the question as the model sees it, the logits of its tokens, what ends an answer, and what was not found.

    Args:
        folder: A model, or an adapter.
        base: The base of an adapter, with its tokenizer.
        model: The model itself, if it has been loaded.
    """
    source = Path(base or folder)
    if (source / "preprocessor_config.json").exists():
        processor = AutoProcessor.from_pretrained(source)
        tokenizer = processor.tokenizer
    else:
        processor = tokenizer = AutoTokenizer.from_pretrained(source)
    text = processor.apply_chat_template(turns_of(source), add_generation_prompt=True, tokenize=False)
    if processor is tokenizer:
        inputs = tokenizer(text, add_special_tokens=False, return_tensors="pt")
        inputs.pop("token_type_ids", None)
    else:
        picture = Image.linear_gradient("L").resize((112, 56)).convert("RGB")
        inputs = processor(images=[picture], text=[text], return_tensors="pt")
    model, wrong = (model, {}) if model else load(folder, base)
    with torch.no_grad():
        logits = model.float().eval()(**inputs, use_cache=False).logits[0]
    return {
        "text": text,
        "input_ids": inputs["input_ids"][0].tolist(),
        "plain text": tokenizer.decode(inputs["input_ids"][0], skip_special_tokens=True),
        "stops": [tokenizer.eos_token_id, model.generation_config.eos_token_id],
        "wrong": wrong,
        "logits": logits.tolist(),
    }


if __name__ == "__main__":
    path = Path(sys.argv[1])
    requests = json.loads(path.read_text())
    for request in requests:
        found, text = read(**request), render_by_minijinja(Path(request["base"] or request["folder"]))
        request |= {"found": found, "minijinja": text}
    path.write_text(json.dumps(requests))
