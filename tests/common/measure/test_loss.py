"""The loss of held-out rows is the model's own, and the model is left as it was."""

from common.measure.loss import mean_loss
from common.models.load import load_model, load_tokenizer

import pytest
import torch
from accelerate import Accelerator
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from transformers import set_seed
from trl import ModelConfig
from trl.trainer import add_fused_lm_head


@pytest.mark.parametrize("kind", ["as it was loaded", "with an adapter", "as SFTTrainer has it"])
def test_the_loss_is_that_of_the_models_own_logits(kind: str):
    args = ModelConfig(model_name_or_path="tiny:llama")
    tokenizer = load_tokenizer(args, ["one two three"])
    set_seed(0)
    model = load_model(args, tokenizer).float()
    if kind == "with an adapter":
        model = get_peft_model(model, LoraConfig(target_modules=["q_proj"], init_lora_weights=False))
    if kind == "as SFTTrainer has it":
        add_fused_lm_head(model)
    base = model.get_base_model() if kind == "with an adapter" else model
    before = vars(base).get("forward")
    rows = [list(range(20, 20 + length)) for length in (3, 11, 7)]
    labels = [[-100, *row[1:-1], -100] for row in rows]

    found = mean_loss(model, Accelerator(cpu=True), Dataset.from_dict({"input_ids": rows, "labels": labels}), batch_size=2)

    losses, count = 0.0, 0
    for row, label in zip(rows, labels, strict=True):
        with torch.no_grad():
            logits = model(torch.tensor([row])).logits[0, :-1]
        losses += torch.nn.functional.cross_entropy(logits, torch.tensor(label[1:]), reduction="sum").item()
        count += sum(token != -100 for token in label)
    assert found == {"value": pytest.approx(losses / count, rel=1e-5)}
    assert vars(base).get("forward") is before
