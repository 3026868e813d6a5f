"""The supervised recipes on one and two GPUs: rows at once, recomputation, Liger's modules, beside TRL's examples.

    python benchmarks/micro_batch_gpu.py --output_dir /tmp/bench --results benchmarks/results/micro_batch_gpu.json \
        --timeout 110 --stop_after 370 --only sft_instruct

Models and data are those of sft_gpu.py, ocr_gpu.py and gpt_oss_model.py: the recipes' shapes, random weights. Each run is of 12
steps, those of gpt-oss of 8, of which the first four do not count; the profiled ones say which part of a step is what. What
matters most goes first, and none is begun after `--stop_after` seconds; a call for each recipe fits into ten minutes.
"""

from functools import partial
from pathlib import Path

import gpt_oss_model
import ocr_gpu
import sft_gpu
from gpu import benchmark
from launching import Run
from readings import read_profile, read_supervised

SFT, CALLING, OCR, GPT_OSS = "sft_instruct", "trl_function_calling", "ocr_vision_language", "gpt_oss_multilingual"
ROWS = "--per_device_train_batch_size {} --gradient_accumulation_steps {}".format
NO_LIGER, NO_RECOMPUTE = " --use_liger_kernel false", " --activation_checkpointing false"
VARIANTS = {
    "": "",  # as the recipe's file has it
    "4x1": ROWS(4, 1) + NO_LIGER,
    "4x8": ROWS(4, 8) + NO_LIGER,
    "16x2": ROWS(16, 2) + NO_LIGER,
    "8x4_plain": ROWS(8, 4) + NO_RECOMPUTE,
    "4x8_plain": ROWS(4, 8) + NO_RECOMPUTE,
    "2x16_plain": ROWS(2, 16) + NO_RECOMPUTE,
    "auto": "--tokens_per_update 65536 --per_device_train_batch_size auto --activation_checkpointing auto" + NO_LIGER,
    "4x2": ROWS(4, 2) + NO_LIGER,
    "8x1_liger_plain": ROWS(8, 1) + NO_RECOMPUTE,
    "4x2_liger_plain": ROWS(4, 2) + NO_RECOMPUTE,
    "8x1": ROWS(8, 1),
    "32x1_frozen": ROWS(32, 1) + " --freeze_vision_tower true",
    "16x2_plain": ROWS(16, 2) + NO_RECOMPUTE,
    "8x2": ROWS(8, 2) + " --activation_checkpointing true",
    "1x16": ROWS(1, 16) + " --activation_checkpointing true",
    "no_liger": NO_LIGER.strip(),
    "2x2": ROWS(2, 2),
    "3x5": ROWS(3, 5),
    "8bit_adam": "--optim adamw_bnb_8bit",
    "trl_sft_vlm": "",
    "trl_sft_gpt_oss": "",
}
TRL = {"trl_sft_vlm", "trl_sft_gpt_oss"}  # scripts of TRL's own trainer


def one(recipe: str, variant: str, config: str = "config", stage: str = "zero2") -> Run:
    """Returns a run on one GPU."""
    return Run(recipe, config, stage, 1, variant, f"benchmarks/{variant}.py" if variant in TRL else "")


def profiled(recipe: str, variant: str) -> Run:
    """Returns a run that ends with the parts of a step."""
    script = f"benchmarks/profile_step.py --kernels 40 recipes/{recipe}/train.py"
    return Run(recipe, "config", "zero2", 1, f"{variant}_profile".lstrip("_"), script)


RUNS = [
    *(one(SFT, variant) for variant in ("4x1", "", "16x2")),
    *(profiled(SFT, variant) for variant in ("4x1", "")),
    *(one(SFT, "4x8", "lora", stage) for stage in ("zero3", "zero2")),
    *(one(SFT, variant, "lora") for variant in ("8x4_plain", "")),
    *(one(SFT, variant) for variant in ("2x16_plain", "4x8_plain", "auto")),
    # With the optimizer on two GPUs there is room for activations.
    *(Run(SFT, "config", "zero2", 2, variant) for variant in ("8x4_plain", "16x2_plain", "4x8_plain")),
    *(Run(SFT, "config", stage, 2, "8x4_plain") for stage in ("zero1", "zero3")),
    # Under ZeRO-2 one GPU's part of 3.2 billion weights is more than bitsandbytes counts.
    *(one(SFT, variant, stage="zero3") for variant in ("", "8bit_adam")),
    *(one(SFT, "", stage=stage) for stage in ("zero2_offload", "zero3_offload")),
    *(one(CALLING, variant) for variant in ("4x2", "", "8bit_adam", "8x1_liger_plain", "4x2_liger_plain")),
    *(profiled(CALLING, variant) for variant in ("4x2", "")),
    *(one(OCR, variant) for variant in ("trl_sft_vlm", "", "8x1", "16x2_plain", "32x1_frozen")),
    *(profiled(OCR, variant) for variant in ("8x1", "")),
    *(one(GPT_OSS, variant) for variant in ("trl_sft_gpt_oss", "")),
    *(profiled(GPT_OSS, variant) for variant in ("", "2x2")),
    *(one(GPT_OSS, variant) for variant in ("2x2", "3x5", "no_liger", "8x2", "1x16")),
]


def make_gpt_oss(folder: Path) -> list[str]:
    """Saves gpt-oss's model, and rows for updates of 16: see `gpt_oss_model.make_model`."""
    return [*gpt_oss_model.make_model(folder, count=180), "--max_steps", "8"]


def read(run: Run, folder: Path) -> dict:
    """Returns the speed and memory of a run; of a profiled one its parts."""
    if run.variant.endswith("profile"):
        return read_profile(folder)
    return read_supervised(run, folder, "images" if run.recipe == OCR else None)


def main() -> None:
    models = {recipe: partial(sft_gpu.make_model, recipe) for recipe in (SFT, CALLING)}
    models |= {OCR: ocr_gpu.make_model, GPT_OSS: make_gpt_oss}
    variants = {run.variant: VARIANTS[run.variant.removesuffix("profile").rstrip("_")] for run in RUNS}
    benchmark(__doc__, RUNS, variants, models, read)


if __name__ == "__main__":
    main()
