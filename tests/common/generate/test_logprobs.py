"""GRPO's log-probabilities without padding are those with it."""

from common.generate.logprobs import skip_padding
from common.models.load import load_tokenizer
from common.models.tiny import tiny_config

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, set_seed
from trl import GRPOConfig, GRPOTrainer, ModelConfig

PROMPTS, COMPLETIONS = [1, 5, 3, 5], [4, 1, 0, 2]  # lengths in tokens; a completion that was cut may be left out


@pytest.mark.parametrize("adapters", [None, LoraConfig(target_modules="all-linear", init_lora_weights=False)])
def test_rows_without_padding_score_as_with_it(varlen: list[int], tmp_path, adapters: LoraConfig | None):
    tokenizer = load_tokenizer(ModelConfig(model_name_or_path="tiny:llama"), ["one two three"])
    set_seed(0)
    trainer = GRPOTrainer(
        model=AutoModelForCausalLM.from_config(tiny_config("llama", tokenizer), attn_implementation="sdpa").float(),
        args=GRPOConfig(output_dir=str(tmp_path), report_to="none", use_cpu=True, bf16=False, temperature=0.7),
        reward_funcs=lambda completions, **columns: [0.0] * len(completions),
        train_dataset=Dataset.from_list([{"prompt": "one"}]),
        processing_class=tokenizer,
        peft_config=adapters,
    )
    columns = torch.arange(5), torch.arange(4)
    mask = torch.cat(
        [
            columns[0] >= 5 - torch.tensor(PROMPTS)[:, None],  # prompts are padded on the left, completions on the right
            columns[1] < torch.tensor(COMPLETIONS)[:, None],
        ],
        dim=1,
    ).long()
    ids = torch.randint(5, 20, mask.shape) * mask
    asked = {"input_ids": ids, "attention_mask": mask, "logits_to_keep": 4, "compute_entropy": True}

    def scored(**changes) -> list[torch.Tensor]:
        logprobs, entropies, _ = trainer._get_per_token_logps_and_entropies(trainer.model, **asked | changes)
        trainer.model.zero_grad()
        (logprobs * torch.linspace(1, 2, 4)).sum().backward()
        gradients = [weight.grad.clone() for weight in trainer.model.parameters() if weight.grad is not None]
        return [logprobs.detach(), entropies.detach(), *gradients]

    padded = scored()
    skip_padding(trainer)
    for same in zip(padded, scored(), strict=True):
        assert torch.equal(*same)  # with sdpa, which would see the rows of a pack apart only by a mask, nothing changes
    trainer.model.set_attn_implementation("varlen")
    for changes, rows in ({}, [int(mask.sum())]), ({"batch_size": 2}, mask.view(2, -1).sum(dim=1).tolist()):
        varlen.clear()
        for one, other in zip(padded, scored(**changes), strict=True):
            torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)
        assert list(dict.fromkeys(varlen)) == rows  # what the attention sees is real tokens
