"""Tiny models of the families that read pictures in Qwen2-VL's way, with random weights, saved as any other model is."""

from importlib.resources import files
from pathlib import Path

from common.models.tiny import tiny_tokenizer

from transformers import (
    AutoModelForImageTextToText,
    PreTrainedConfig,
    Qwen2_5_VLConfig,
    Qwen2_5_VLProcessor,
    Qwen2VLConfig,
    Qwen2VLImageProcessorPil,
    Qwen2VLProcessor,
    Qwen2VLVideoProcessor,
    Qwen3VLConfig,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
    set_seed,
)

TEXT = {
    "hidden_size": 48,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 12,
    "max_position_embeddings": 512,
    "tie_word_embeddings": True,
}
ROPE = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 2, 2]}

# Of each family: the classes of its configuration and processor, TRL's name of its chat template, the edge of a patch, and what
# the vision tower has in it.
FAMILIES = {
    "qwen2_vl": (Qwen2VLConfig, Qwen2VLProcessor, "qwen2_5_vl", 14, {"embed_dim": 32, "hidden_size": 48, "mlp_ratio": 2}),
    # Windows of two tokens, so that what is larger is seen through several; one of two layers looks at the whole picture.
    "qwen2_5_vl": (
        Qwen2_5_VLConfig,
        Qwen2_5_VLProcessor,
        "qwen2_5_vl",
        14,
        {"hidden_size": 32, "intermediate_size": 64, "out_hidden_size": 48, "window_size": 56, "fullatt_block_indexes": [1]},
    ),
    "qwen3_vl": (
        Qwen3VLConfig,
        Qwen3VLProcessor,
        "qwen3_vl",
        16,
        {
            "hidden_size": 32,
            "intermediate_size": 64,
            "out_hidden_size": 48,
            "num_position_embeddings": 64,
            "deepstack_visual_indexes": [0],
        },
    ),
}


def save_vision_model(family: str, folder: Path) -> None:
    """Saves a tiny model of a family and its processor, with a token for each character.

    Args:
        family: A key of `FAMILIES`.
        folder: To be made.
    """
    config_class, processor_class, template, patch_size, tower = FAMILIES[family]
    tokenizer = tiny_tokenizer([], "qwen2_vl", vocab_size=320, words=r"[\s\S]")
    tokenizer.chat_template = (files("trl") / "chat_templates" / f"{template}.jinja").read_text(encoding="utf-8")
    patches = {"patch_size": patch_size, "merge_size": 2, "temporal_patch_size": 2}
    video = Qwen3VLVideoProcessor if family == "qwen3_vl" else Qwen2VLVideoProcessor
    processor = processor_class(
        image_processor=Qwen2VLImageProcessorPil(**patches),
        video_processor=video(**patches),
        tokenizer=tokenizer,
        chat_template=tokenizer.chat_template,
    )
    names = {"image": "image_pad", "video": "video_pad", "vision_start": "vision_start", "vision_end": "vision_end"}
    ids = {f"{name}_token_id": tokenizer.convert_tokens_to_ids(f"<|{token}|>") for name, token in names.items()}
    ends = {"bos_token_id": None, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    sizes = {"depth": 2, "num_heads": 4, "patch_size": patch_size, "spatial_merge_size": 2, "temporal_patch_size": 2}
    config: PreTrainedConfig = config_class(
        text_config={**TEXT, **ends, "vocab_size": 320, "rope_parameters": ROPE},
        vision_config={**sizes, **tower},
        tie_word_embeddings=True,
        **ids,
    )
    set_seed(0)
    AutoModelForImageTextToText.from_config(config).save_pretrained(folder)
    processor.save_pretrained(folder)
