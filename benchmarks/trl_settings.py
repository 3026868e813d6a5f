"""What the runs of TRL's own trainer share: its settings, and a record as a recipe leaves it."""

import json
import time
from pathlib import Path
from typing import Any

import torch
import yaml
from transformers import TrainerCallback
from trl import SFTConfig


class Record(TrainerCallback):
    """Writes the rows of metrics.jsonl that benchmarks/readings.py reads."""

    def __init__(self, folder: Path) -> None:
        self.path, self.began = folder / "metrics.jsonl", time.monotonic()

    def on_log(self, args, state, control, logs, **kwargs) -> None:
        if not state.is_world_process_zero:
            return
        row = {"step": state.global_step, "seconds": time.monotonic() - self.began, **logs}
        row["peak_memory_gib"] = round(torch.cuda.max_memory_allocated() / 2**30, 2) if torch.cuda.is_available() else 0
        with self.path.open("a") as file:
            file.write(json.dumps(row) + "\n")


def begin(given: SFTConfig, **settings: Any) -> SFTConfig:
    """Returns TRL's defaults for a few steps without evaluations, and makes the run's folder with its config.yaml.

    Args:
        given: The recipe's settings; the folder and the number of steps are taken from there.
        **settings: What differs from TRL's defaults.
    """
    args = SFTConfig(
        output_dir=given.output_dir,
        bf16=True,
        use_cpu=not torch.cuda.is_available(),
        max_length=None,
        max_steps=given.max_steps,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        **settings,
    )
    folder = Path(args.output_dir)
    folder.mkdir(parents=True, exist_ok=True)  # each process comes by
    kept = ("per_device_train_batch_size", "gradient_accumulation_steps")
    (folder / "config.yaml").write_text(yaml.safe_dump({name: getattr(args, name) for name in kept}))
    return args
