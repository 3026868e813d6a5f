"""What ocr_gpu.py compares the recipe with: TRL's SFTTrainer on the same pictures, set up as its example for such models.

    accelerate launch --config_file accelerate_configs/zero2.yaml benchmarks/trl_sft_vlm.py --model_name_or_path FOLDER ...

As in TRL's examples/scripts/sft_vlm.py: TRL's own collator, which turns a batch into tokens when it comes and trains the
question as well as the answer, all defaults (8 rows at once, not accumulated, recomputed activations, torch's choice of
attention kernels), no limit to the length; adapters where the configuration has some. Takes the recipe's flags, and leaves
metrics.jsonl and config.yaml as its runs do.
"""

import sys
from pathlib import Path

from common.run.config import parse

import torch
from datasets import Dataset
from transformers import AutoModelForImageTextToText, AutoProcessor
from trl import SFTConfig, SFTTrainer, get_peft_config

from trl_settings import Record, begin

ROOT = Path(__file__).parent.parent
RECIPE = ROOT / "recipes" / "ocr_vision_language"
sys.path.insert(0, str(RECIPE))
from arguments import OcrArguments  # noqa: E402
from data import load_data  # noqa: E402
from images import fit  # noqa: E402


def main() -> None:
    torch.backends.cuda.enable_cudnn_sdp(True)  # torch's default
    args, given, model_args = parse(str(RECIPE / "train.py"), OcrArguments, SFTConfig)
    training_args = begin(given)
    training_args.remove_unused_columns = False

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
        callbacks=[Record(Path(training_args.output_dir))],
    )
    trainer.train()


if __name__ == "__main__":
    main()
