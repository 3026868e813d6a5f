"""What micro_batch_gpu.py compares gpt-oss with: TRL's SFTTrainer on the same rows, with the batch of its example.

    accelerate launch --config_file accelerate_configs/zero2.yaml benchmarks/trl_sft_gpt_oss.py --model_name_or_path FOLDER ...

As in TRL's examples/scripts/sft_gpt_oss.py (of 2026-07-24): 2 rows at once, none accumulated, recomputed activations. Flex
attention takes the place of the kernel that it names, which comes from the hub. The rest of that command cannot be had here: it
trains all weights, which takes more than one or two GPUs, on packed rows of 4096 tokens; the adapters and the rows are the
recipe's. Takes the recipe's flags, and leaves metrics.jsonl and config.yaml as its runs do.
"""

import sys
from pathlib import Path

from common.run.config import parse

import torch
from transformers import AutoModelForCausalLM
from trl import SFTConfig, SFTTrainer, get_peft_config

from trl_settings import Record, begin

RECIPE = Path(__file__).parent.parent / "recipes" / "gpt_oss_multilingual"
sys.path.insert(0, str(RECIPE))
from arguments import MultilingualArguments  # noqa: E402
from train import prepare_data  # noqa: E402


def main() -> None:
    args, given, model_args = parse(str(RECIPE / "train.py"), MultilingualArguments, SFTConfig)
    training_args = begin(given, per_device_train_batch_size=2, gradient_accumulation_steps=1)
    tokenizer, train_dataset, _, _ = prepare_data(args, given, model_args)
    model = AutoModelForCausalLM.from_pretrained(
        model_args.model_name_or_path,
        dtype=torch.bfloat16,
        attn_implementation="flex_attention" if torch.cuda.is_available() else "eager",
        use_cache=False,
    )
    trainer = SFTTrainer(
        model=model,
        args=training_args,
        train_dataset=train_dataset,
        processing_class=tokenizer,
        peft_config=get_peft_config(model_args),
        callbacks=[Record(Path(training_args.output_dir))],
    )
    trainer.train()


if __name__ == "__main__":
    main()
