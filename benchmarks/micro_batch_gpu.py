"""sft_instruct on one GPU: rows at once, recomputation left open, and LoRA under ZeRO-2 and ZeRO-3, in one call.

    python benchmarks/micro_batch_gpu.py --output_dir /tmp/bench --results benchmarks/results/micro_batch_gpu.json \
        --timeout 110 --stop_after 370

The model and the data are those of sft_gpu.py: Llama-3.2-3B's shape, random weights, packed rows of 2048 tokens. Each run is of
12 steps, of which the first four do not count. What matters most goes first, and none is begun after `--stop_after` seconds.
"""

from functools import partial
from pathlib import Path

from common.data.runs import read_rows

from gpu import SHORT, SKIPPED_STEPS, Run, benchmark, read_supervised
from sft_gpu import make_model

SFT = "sft_instruct"
VARIANTS = {
    "4x1": "--per_device_train_batch_size 4 --gradient_accumulation_steps 1",
    "4x8": "--per_device_train_batch_size 4 --gradient_accumulation_steps 8",
    "16x2": "--per_device_train_batch_size 16 --gradient_accumulation_steps 2",
    "16x2_liger": "--per_device_train_batch_size 16 --gradient_accumulation_steps 2 --use_liger_kernel true",
    "8x4_plain": "--per_device_train_batch_size 8 --gradient_accumulation_steps 4 --use_liger_kernel true"
    " --activation_checkpointing false",
    "auto": "--tokens_per_update 65536 --per_device_train_batch_size auto --activation_checkpointing auto",
}
RUNS = [
    *(Run(SFT, "config", "zero2", 1, variant) for variant in ("4x1", "16x2")),
    *(Run(SFT, "lora", stage, 1, "4x8") for stage in ("zero3", "zero2")),
    *(Run(SFT, "config", "zero2", 1, variant) for variant in ("auto", "16x2_liger")),
    *(Run(SFT, "lora", "zero2", 1, variant) for variant in ("8x4_plain", "16x2_liger")),
]


def read(run: Run, folder: Path) -> dict:
    """Returns the speed and memory of a run, and what the meter wrote of the steps that count."""
    steps = [row for row in read_rows(folder / "metrics.jsonl") if "train_seconds" in row][SKIPPED_STEPS:]
    seconds = sum(row["train_seconds"] for row in steps)
    tokens = sum(row["tokens_per_second"] * row["train_seconds"] for row in steps)
    entry = {"meter: tokens/s": round(tokens / seconds), "data wait s": sum(row["data_wait"] for row in steps) / len(steps)}
    if "mfu" in steps[0]:
        entry["MFU"] = round(sum(row["mfu"] * row["train_seconds"] for row in steps) / seconds, 4)
    return read_supervised(run, folder) | entry


def main() -> None:
    short = SHORT.replace("--max_steps 20", "--max_steps 12")
    benchmark(__doc__, RUNS, VARIANTS, {SFT: partial(make_model, SFT)}, read, short)


if __name__ == "__main__":
    main()
