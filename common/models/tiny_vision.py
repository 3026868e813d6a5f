"""A tiny Qwen2-VL and its processor, built on the spot: `--model_name_or_path tiny:qwen2_vl`, or `tiny:qwen2_vl_wide`."""

from collections.abc import Iterable
from importlib.resources import files

from common.models import tiny

from transformers import (
    Qwen2VLConfig,
    Qwen2VLImageProcessorPil,
    Qwen2VLProcessor,
    Qwen2VLVideoProcessor,
)

PATCH_SIZE, MERGE_SIZE = 14, 2  # as in Qwen2-VL: 28 x 28 pixels are a token

# The first has sizes that learn to read lines of 28 pixels in minutes on a CPU core, 0.9 million parameters, more of them for
# seeing than for writing: with a language model of 128 by 384 a step costs more, and the same number of steps reads worse. The
# rotary frequencies are high, and nearly all count columns: what is read next stands one column further right, and there are
# few. The second, of 7 million for minutes on a GPU, is for the print of real receipts. The narrower a model, the larger its
# first weights: Qwen2-VL's are 0.02.
SIZES = {
    "qwen2_vl": {
        "text_config": {
            "hidden_size": 96,
            "intermediate_size": 256,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 4,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10.0, "mrope_section": [1, 1, 10]},
        },
        "vision_config": {"depth": 2, "embed_dim": 128, "num_heads": 4, "mlp_ratio": 2},
        "initializer_range": 0.08,
    },
    "qwen2_vl_wide": {
        "text_config": {
            "hidden_size": 256,
            "intermediate_size": 768,
            "num_hidden_layers": 4,
            "num_attention_heads": 8,
            "num_key_value_heads": 8,
            "rope_parameters": {"rope_type": "default", "rope_theta": 100.0, "mrope_section": [1, 1, 14]},
        },
        "vision_config": {"depth": 4, "embed_dim": 256, "num_heads": 8, "mlp_ratio": 2},
        "initializer_range": 0.05,
    },
}
TINY = [f"{tiny.PREFIX}{name}" for name in SIZES]


def tiny_processor(min_pixels: int, max_pixels: int, phrases: Iterable[str]) -> Qwen2VLProcessor:
    """Returns the processor of a tiny Qwen2-VL, with a token for each character.

    Args:
        min_pixels: A smaller picture is enlarged.
        max_pixels: A larger picture is made smaller.
        phrases: Texts that always come whole: one token each.
    """
    template_texts = ["system\nYou are a helpful assistant.", "user\n", "assistant\n"]
    # A token is a character, or a text that always comes whole.
    tokenizer = tiny.tiny_tokenizer([], "qwen2_vl", vocab_size=320, phrases=[*template_texts, *phrases], words=r"[\s\S]")
    tokenizer.chat_template = (files("trl") / "chat_templates" / "qwen2_5_vl.jinja").read_text(encoding="utf-8")
    patches = {"patch_size": PATCH_SIZE, "merge_size": MERGE_SIZE, "temporal_patch_size": 1}
    pixels = {"size": {"shortest_edge": min_pixels, "longest_edge": max_pixels}}
    paper = {"image_mean": [0.85] * 3, "image_std": [0.25] * 3}  # of print on paper, so that it begins near 0
    return Qwen2VLProcessor(
        image_processor=Qwen2VLImageProcessorPil(**patches, **pixels, **paper),
        video_processor=Qwen2VLVideoProcessor(**patches),  # none is read, but the processor cannot be without
        tokenizer=tokenizer,
        chat_template=tokenizer.chat_template,
    )


def tiny_vision_config(name: str, processor: Qwen2VLProcessor | None = None) -> Qwen2VLConfig:
    """Returns the configuration of a tiny Qwen2-VL.

    Args:
        name: One of `TINY`.
        processor: The processor whose tokens the model gets; without one its sizes are right, and its vocabulary is not.
    """
    sizes = SIZES[name.removeprefix(tiny.PREFIX)]
    initial = {"initializer_range": sizes["initializer_range"]}
    ids, vocabulary = {}, {}
    if processor:
        tokenizer = processor.tokenizer
        kinds = {"image": "image_pad", "video": "video_pad", "vision_start": "vision_start", "vision_end": "vision_end"}
        ids = {f"{kind}_token_id": tokenizer.convert_tokens_to_ids(f"<|{token}|>") for kind, token in kinds.items()}
        vocabulary = {
            "vocab_size": -(-len(tokenizer) // 64) * 64,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
        }
    return Qwen2VLConfig(
        text_config={
            "bos_token_id": None,
            **vocabulary,
            "max_position_embeddings": 1024,
            **initial,
            **sizes["text_config"],
        },
        vision_config={
            "hidden_size": sizes["text_config"]["hidden_size"],
            "patch_size": PATCH_SIZE,
            "spatial_merge_size": MERGE_SIZE,
            "temporal_patch_size": 1,  # a picture is not doubled to a film
            **initial,
            **sizes["vision_config"],
        },
        tie_word_embeddings=True,
        **initial,
        **ids,
    )
