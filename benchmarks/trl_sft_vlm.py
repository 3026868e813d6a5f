"""What ocr_gpu.py compares the recipe with: TRL's SFTTrainer on the same pictures, set up as its example for such models.

    accelerate launch --config_file accelerate_configs/zero2.yaml benchmarks/trl_sft_vlm.py --model_name_or_path FOLDER ...

As in TRL's examples/scripts/sft_vlm.py: TRL's own collator, which turns a batch into tokens when it comes and trains the
question as well as the answer, all defaults (8 rows at once, not accumulated, recomputed activations, torch's choice of
attention kernels), no limit to the length; adapters where the configuration has some. Takes the recipe's flags, and leaves
metrics.jsonl and config.yaml as its runs do.
"""

import json
import sys
import time
from pathlib import Path

from common.run.config import parse

import torch
import yaml
from datasets import Dataset
from transformers import AutoModelForImageTextToText, AutoProcessor, TrainerCallback
from trl import SFTConfig, SFTTrainer, get_peft_config

ROOT = Path(__file__).parent.parent
RECIPE = ROOT / "recipes" / "ocr_vision_language"
sys.path.insert(0, str(RECIPE))
from arguments import OcrArguments  # noqa: E402
from data import load_data  # noqa: E402
from images import fit  # noqa: E402


class Record(TrainerCallback):
    """Writes the rows of metrics.jsonl that benchmarks/readings.py reads."""

    def __init__(self, folder: Path) -> None:
        self.path, self.began = folder / "metrics.jsonl", time.monotonic()

    def on_log(self, args, state, control, logs, **kwargs) -> None:
        row = {"step": state.global_step, "seconds": time.monotonic() - self.began, **logs}
        row["peak_memory_gib"] = round(torch.cuda.max_memory_allocated() / 2**30, 2) if torch.cuda.is_available() else 0
        with self.path.open("a") as file:
            file.write(json.dumps(row) + "\n")


def main() -> None:
    torch.backends.cuda.enable_cudnn_sdp(True)  # torch's default
    args, given, model_args = parse(str(RECIPE / "train.py"), OcrArguments, SFTConfig)
    folder = Path(given.output_dir)
    training_args = SFTConfig(
        output_dir=str(folder),
        bf16=True,
        use_cpu=not torch.cuda.is_available(),
        max_length=None,
        max_steps=given.max_steps,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    training_args.remove_unused_columns = False
    folder.mkdir(parents=True)
    settings = ("per_device_train_batch_size", "gradient_accumulation_steps")
    (folder / "config.yaml").write_text(yaml.safe_dump({name: getattr(training_args, name) for name in settings}))

    rows, _, _ = load_data(args, seed=0)
    rows = rows[: given.max_steps * training_args.per_device_train_batch_size * training_args.world_size]
    processor = AutoProcessor.from_pretrained(model_args.model_name_or_path)
    patch_size = processor.image_processor.patch_size
    pictures = [[fit(source.open(), args.min_pixels, args.max_pixels, patch_size) for source in row["images"]] for row in rows]
    columns = {"images": pictures, "messages": [row["messages"] for row in rows]}
    model = AutoModelForImageTextToText.from_pretrained(model_args.model_name_or_path, dtype=torch.bfloat16)
    trainer = SFTTrainer(
        model=model,
        args=training_args,
        train_dataset=Dataset.from_dict(columns),
        processing_class=processor,
        peft_config=get_peft_config(model_args),
        callbacks=[Record(folder)],
    )
    trainer.train()


if __name__ == "__main__":
    main()
