"""ocr_vision_language on one and two GPUs: pictures and tokens a second, and memory, of its configurations at full size.

    python benchmarks/ocr_gpu.py --output_dir /tmp/bench --results benchmarks/results/ocr_gpu.json

Runs the recipe's own launch command for 12 steps with each configuration and gathers what the runs left in metrics.jsonl. The
model has the shape of Qwen2-VL-2B-Instruct and random weights, the pictures are generated receipts, so no hub is needed: a step
costs what a real one of such pictures costs, and nothing is said about accuracy.
"""

import random
import sys
from functools import partial
from importlib.resources import files
from pathlib import Path

from common.models.tiny import tiny_tokenizer

from transformers import (
    AutoModelForImageTextToText,
    Qwen2VLConfig,
    Qwen2VLImageProcessorPil,
    Qwen2VLProcessor,
    Qwen2VLVideoProcessor,
)

from gpu import benchmark, save_random_model
from launching import ROOT, Run
from readings import read_supervised

OCR = "ocr_vision_language"
# Those of Qwen/Qwen2-VL-2B-Instruct's config.json on the hub.
TEXT_SIZES = {
    "vocab_size": 151936,
    "hidden_size": 1536,
    "intermediate_size": 8960,
    "num_hidden_layers": 28,
    "num_attention_heads": 12,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32768,
    "rms_norm_eps": 1e-6,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]},
}
VISION_SIZES = {"depth": 32, "embed_dim": 1280, "num_heads": 16, "mlp_ratio": 4, "patch_size": 14}
VISION_SIZES |= {"spatial_merge_size": 2, "temporal_patch_size": 2}

MAX_PIXELS = 256 * 28 * 28  # 256 tokens a picture
# A picture is drawn for each row, on other cores: on the one that trains the GPU would wait for it.
DATA = f"--dataset_name synthetic --units receipts --num_train 2000 --max_pixels {MAX_PIXELS} --dataloader_num_workers 4"

# An eighth of the accumulated rows: its steps take long enough. TRL's trainer takes its own 8 rows.
VARIANTS = {"1x4": "--gradient_accumulation_steps 4", "8x1": "--per_device_train_batch_size 8", "trl_sft_vlm": ""}


def both(num_gpus: int) -> list[Run]:
    """Returns the runs of the two configurations on so many GPUs."""
    return [Run(OCR, config, stage, num_gpus) for config in ("full", "config") for stage in ("zero2", "zero3")]


# One is another script: TRL's trainer as its examples/scripts/sft_vlm.py sets it up.
BESIDE = [Run(OCR, "full", "zero2", 1, "trl_sft_vlm", script="benchmarks/trl_sft_vlm.py"), Run(OCR, "full", "zero2", 1, "8x1")]
RUNS = [*both(1), *BESIDE, *both(2), Run(OCR, "qlora_8gb", "zero2", 1, "1x4")]


def make_processor() -> Qwen2VLProcessor:
    """Returns a processor that cuts pictures as Qwen2-VL's does, with a small tokenizer trained on generated receipts."""
    sys.path.insert(0, str(ROOT / "recipes" / OCR))
    from lesson.texts import draw_receipt, receipt_text

    rng = random.Random(0)
    texts = [receipt_text(draw_receipt(rng, held_out=False)[0]) for _ in range(1000)]
    tokenizer = tiny_tokenizer(texts, "qwen2_vl", vocab_size=4096)
    tokenizer.chat_template = (files("trl") / "chat_templates" / "qwen2_5_vl.jinja").read_text()
    return Qwen2VLProcessor(
        image_processor=Qwen2VLImageProcessorPil(size={"shortest_edge": 56 * 56, "longest_edge": MAX_PIXELS}),
        video_processor=Qwen2VLVideoProcessor(),  # none is read, but the processor cannot be without
        tokenizer=tokenizer,
        chat_template=tokenizer.chat_template,
    )


def make_model(folder: Path) -> list[str]:
    """Saves a model of Qwen2-VL-2B's shape with random weights, and its processor.

    Args:
        folder: Where to.

    Returns:
        The flags that name the data.
    """
    processor = make_processor()
    tokenizer = processor.tokenizer
    tokens = {"image": "image_pad", "video": "video_pad", "vision_start": "vision_start", "vision_end": "vision_end"}
    config = Qwen2VLConfig(
        text_config={
            "bos_token_id": None,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
            **TEXT_SIZES,
        },
        vision_config={"hidden_size": TEXT_SIZES["hidden_size"], **VISION_SIZES},
        tie_word_embeddings=True,
        **{f"{name}_token_id": tokenizer.convert_tokens_to_ids(f"<|{token}|>") for name, token in tokens.items()},
    )
    save_random_model(AutoModelForImageTextToText, config, processor, folder)
    return DATA.split()


def main() -> None:
    benchmark(__doc__, RUNS, VARIANTS, {OCR: make_model}, partial(read_supervised, row_name="images"))


if __name__ == "__main__":
    main()
