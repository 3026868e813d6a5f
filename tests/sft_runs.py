"""Short runs of sft_instruct, and what they have written."""

import json
from pathlib import Path

TRAIN, EVALUATE = "recipes/sft_instruct/train.py", "recipes/sft_instruct/evaluate.py"

# The smallest run that goes through every part of the tiny recipe.
SHORT = "--max_steps 2 --num_held_out 8 --per_device_train_batch_size 8 --eval_steps 1 --save_steps 1 --warmup_steps 1".split()
ZERO2 = ["--deepspeed", "accelerate_configs/ds_zero2.json"]


def rows(output_dir: Path) -> list[dict]:
    return [json.loads(line) for line in (output_dir / "metrics.jsonl").read_text().splitlines()]


def losses(output_dir: Path) -> list[float]:
    return [row["loss"] for row in rows(output_dir) if "loss" in row]
