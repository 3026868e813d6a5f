"""A saved model as transformers 4 reads it too, on which many engines still are built; transformers 5 reads the same model.

Transformers 5 has other names for what it saves, and transformers 4 passes over a name that it does not know: without what is
written here a Llama 3.2 gets other rotary frequencies, without a word. Tried with 4.57: tests/reliability/test_older_readers.py
"""

import json
from pathlib import Path
from typing import Any

# Files that transformers 4 looks for, and the part of processor_config.json that stands in each.
PROCESSOR_PARTS = {"preprocessor_config.json": "image_processor", "video_preprocessor_config.json": "video_processor"}


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


def _older_rope(rope: dict[str, Any]) -> dict[str, Any]:
    """Returns what of the rotary embedding has been put together as `rope_parameters`.

    Args:
        rope: The parameters; in Gemma 3 those of each kind of attention.
    """
    older = {}
    if rope.keys() >= {"full_attention", "sliding_attention"}:
        older["rope_local_base_freq"] = rope["sliding_attention"]["rope_theta"]
        rope = rope["full_attention"]
    names = [name for name in ("rope_theta", "partial_rotary_factor") if name in rope]
    if rope["rope_type"] == "longrope":  # Phi refuses a fourth name in `rope_scaling`, and calls the kind of it `type`
        names.append("original_max_position_embeddings")
        rope = {"type" if name == "rope_type" else name: value for name, value in rope.items()}
    scaling = {name: value for name, value in rope.items() if name not in names}
    # None too is written: some families scale unless they are told otherwise.
    older["rope_scaling"] = None if scaling == {"rope_type": "default"} else scaling
    return older | {name: rope[name] for name in names}


def _with_older_names(config: dict[str, Any]) -> dict[str, Any]:
    """Returns a model's configuration, or the part of it for text, with the older names beside the newer ones."""
    older = {"torch_dtype": config["dtype"]} if "dtype" in config else {}
    if config.get("rope_parameters"):
        older |= _older_rope(config["rope_parameters"])
    if "num_local_experts" in config:
        older["num_experts"] = config["num_local_experts"]  # as Qwen's mixtures of experts call them
    if "text_config" in config:
        tied = {"tie_word_embeddings": config.get("tie_word_embeddings", False)}
        older["text_config"] = _with_older_names(config["text_config"] | tied)
    return config | older


def write_for_older_readers(folder: Path) -> None:
    """Adds to a saved model what transformers 4 looks for.

    Args:
        folder: Where transformers 5 has saved the model with its tokenizer or processor.
    """
    path = folder / "config.json"
    _write(path, _with_older_names(_read(path)))

    path = folder / "tokenizer_config.json"
    tokenizer = _read(path)
    if tokenizer["tokenizer_class"] == "TokenizersBackend":
        tokenizer["tokenizer_class"] = "PreTrainedTokenizerFast"
    if isinstance(tokenizer.get("extra_special_tokens"), list):  # only one of the two names may be there
        tokenizer["additional_special_tokens"] = tokenizer.pop("extra_special_tokens")
    template = folder / "chat_template.jinja"
    if template.exists():
        tokenizer["chat_template"] = template.read_text(encoding="utf-8")
    _write(path, tokenizer)

    path = folder / "processor_config.json"
    processor = _read(path) if path.exists() else {}
    for name, part in PROCESSOR_PARTS.items():
        if part in processor:
            _write(folder / name, processor[part] | {"processor_class": processor["processor_class"]})
