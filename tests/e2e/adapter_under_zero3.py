"""Trains adapters of attention and experts under ZeRO-3, compares what is saved with what was trained, prints a JSON line.

Started by test_gpt_oss.py with the folders of a model and of the adapter to be written.
"""

import json
import sys

from common.errors import say
from common.models.load import load_model, load_tokenizer

import deepspeed
import torch
from datasets import Dataset
from peft import PeftModel
from safetensors.torch import load_file
from transformers.integrations.deepspeed import unset_hf_deepspeed_config
from trl import ModelConfig, SFTConfig, SFTTrainer, get_peft_config


def settings(name: str, folder: str) -> tuple[SFTConfig, ModelConfig]:
    args = SFTConfig(
        output_dir=folder,
        max_steps=3,
        per_device_train_batch_size=2,
        learning_rate=0.01,
        lr_scheduler_type="constant",
        bf16=False,
        use_cpu=True,
        activation_checkpointing=False,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
    )
    model_args = ModelConfig(
        model_name_or_path=name,
        dtype="float32",
        attn_implementation="eager",
        use_peft=True,
        lora_r=4,
        lora_alpha=8,
        lora_dropout=0.0,
        lora_target_modules=["q_proj", "k_proj", "v_proj", "o_proj"],
        lora_target_parameters=["mlp.experts.gate_up_proj", "mlp.experts.down_proj"],
    )
    return args, model_args


def gathered(engine: deepspeed.DeepSpeedEngine) -> dict[str, torch.Tensor]:
    """Returns the trained parameters, whole on each process: shards cannot be compared."""
    trained = {}
    for name, parameter in engine.module.named_parameters():
        if parameter.requires_grad:
            with deepspeed.zero.GatheredParameters(parameter):
                trained[name.replace(".default", "")] = parameter.detach().clone()
    return trained


def main() -> None:
    name, folder = sys.argv[1:]
    args, model_args = settings(name, folder)
    tokenizer = load_tokenizer(model_args)
    tokens = list(range(10, 40))
    rows = Dataset.from_list([{"input_ids": tokens[number:], "labels": tokens[number:]} for number in range(12)])
    trainer = SFTTrainer(
        model=load_model(model_args, tokenizer),
        args=args,
        train_dataset=rows,
        processing_class=tokenizer,
        peft_config=get_peft_config(model_args),
    )
    trainer.train()
    trainer.save_model(folder)
    trainer.accelerator.wait_for_everyone()  # the first process writes, each reads
    text = torch.tensor([tokens])
    engine = trainer.model_wrapped
    engine.eval()
    with torch.no_grad():
        trained_logits = engine(input_ids=text).logits
    trained = gathered(engine)
    unset_hf_deepspeed_config()  # or the base would be sharded as well when it is loaded again
    saved = load_file(f"{folder}/adapter_model.safetensors")
    with torch.no_grad():
        reloaded = PeftModel.from_pretrained(load_model(model_args, tokenizer), folder).eval()
        difference = (reloaded(input_ids=text).logits - trained_logits).abs().max().item()
        with reloaded.disable_adapter():
            change = (trained_logits - reloaded(input_ids=text).logits).abs().max().item()
    found = {
        "same names": sorted(saved) == sorted(trained),
        "experts": sum("experts" in key for key in saved),
        "equal": all(saved[key].equal(weight.to(saved[key].dtype)) for key, weight in trained.items()),
        "moved experts": all(weight.abs().max().item() > 0 for key, weight in trained.items() if "lora_B" in key),
        "logits differ": difference,
        "training changed logits by": change,
    }
    say(f"FOUND {json.dumps(found)}")
    trainer.accelerator.end_training()


if __name__ == "__main__":
    main()
