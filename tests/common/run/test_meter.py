"""What a training computes a second: counted by hand, and without what is no training."""

import time
from pathlib import Path
from types import SimpleNamespace

from common.run import meter
from common.run.meter import Meter, average_speed, peak_of, speed, used_weights

import pytest
import torch
from datasets import Dataset
from tokenizers import Tokenizer, models
from transformers import AutoModelForCausalLM, GptOssConfig, LlamaConfig, PreTrainedTokenizerFast, TrainerCallback
from trl import SFTConfig, SFTTrainer

LENGTHS = [3, 9, 5, 7, 4, 8, 6, 2]  # 44 tokens
TINY = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 64}
TINY |= {"num_key_value_heads": 1, "head_dim": 8, "pad_token_id": 0, "eos_token_id": 1, "bos_token_id": None}


class Rows(TrainerCallback):
    """Keeps what trackers are given."""

    def __init__(self) -> None:
        self.rows: list[dict] = []

    def on_log(self, args, state, control, logs=None, **kwargs):
        if "loss" in logs:
            self.rows.append({"step": state.global_step, **logs})


class Slow(TrainerCallback):
    """Evaluates and saves for a while, after each step."""

    def on_step_end(self, args, state, control, **kwargs):
        time.sleep(0.3)


def train(
    folder: Path, checkpoint: str | None = None, callbacks: tuple = (), rows: list[dict] | None = None, **settings
) -> list:
    """Trains a tiny model on rows of `LENGTHS`, of which only the last token is learned, and returns what is logged."""
    rows = [{"input_ids": [2] * length, "labels": [-100] * (length - 1) + [2]} for length in LENGTHS]
    usual = {"max_steps": 4, "logging_steps": 1, "per_device_train_batch_size": 2, "max_length": 16, "use_cpu": True}
    usual |= {
        "report_to": "none",
        "save_strategy": "no",
        "bf16": False,
        "activation_checkpointing": False,
        "disable_tqdm": True,
    }
    words = Tokenizer(models.WordLevel({"p": 0, "e": 1}, "p"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="p", eos_token="e")
    seen = Rows()
    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_config(LlamaConfig(**TINY)),
        args=SFTConfig(str(folder), **usual | settings),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        callbacks=[seen, *callbacks],
    )
    trainer.callback_handler.callbacks.insert(0, Meter(trainer))
    trainer.train(resume_from_checkpoint=checkpoint)
    return seen.rows


def tokens_of(rows: list[dict]) -> float:
    return sum(row["tokens_per_second"] * row["train_seconds"] for row in rows)


@pytest.mark.parametrize("settings", [{}, {"gradient_accumulation_steps": 2, "max_steps": 2}, {"logging_steps": 2}], ids=str)
def test_real_tokens_are_counted_and_padding_is_not(tmp_path: Path, settings: dict):
    """Prompts count, and what is learned of them does not matter."""
    rows = train(tmp_path, train_sampling_strategy="sequential", **settings)
    assert rows[-1]["num_tokens"] == sum(LENGTHS) == 44
    assert tokens_of(rows) == pytest.approx(44, rel=0.01)
    widths = [max(LENGTHS[start : start + 2]) * 2 for start in range(0, 8, 2)]  # 18, 14, 16, 12 places
    per_row = len(widths) // len(rows)
    for number, row in enumerate(rows):
        places = sum(widths[number * per_row : (number + 1) * per_row])
        real = sum(LENGTHS[2 * number * per_row : 2 * (number + 1) * per_row])
        assert row["padding_share"] == pytest.approx(1 - real / places, abs=1e-3)
        assert row["peak_memory_gib"] > 0
        assert "mfu" not in row  # of a CPU nothing is known


def test_packed_rows_have_no_padding(tmp_path: Path):
    rows = train(tmp_path, packing=True, packing_strategy="bfd", num_train_epochs=1, max_steps=-1)
    assert rows[-1]["num_tokens"] == 44
    assert {row["padding_share"] for row in rows} == {0.0}


def test_evaluations_and_checkpoints_are_no_training_time(tmp_path: Path):
    begun = time.perf_counter()
    rows = train(tmp_path, callbacks=(Slow(),))
    assert sum(row["train_seconds"] for row in rows) < time.perf_counter() - begun - 4 * 0.3 + 0.05


def test_what_a_step_waits_for_the_loader_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    plain = train(tmp_path / "plain")
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling as Collator

    collate = Collator.torch_call
    monkeypatch.setattr(Collator, "torch_call", lambda self, examples: time.sleep(0.1) or collate(self, examples))
    slow = train(tmp_path / "slow", gradient_accumulation_steps=2, max_steps=2)
    assert slow[1]["data_wait"] == pytest.approx(0.2, abs=0.15)  # two batches an update
    assert slow[1]["data_wait"] > 0.1 > plain[1]["data_wait"]
    assert slow[1]["train_seconds"] > slow[1]["data_wait"]


def test_a_continued_run_counts_on(tmp_path: Path):
    whole = train(tmp_path, save_strategy="steps", save_steps=1)
    continued = train(tmp_path, checkpoint=str(tmp_path / "checkpoint-2"))
    assert [row["num_tokens"] for row in continued] == [row["num_tokens"] for row in whole[2:]]
    for row in continued:  # none of the tokens, and no time, of the steps before
        assert row["tokens_per_second"] * row["train_seconds"] < 2 * max(LENGTHS) + 0.5


def test_mfu_is_that_of_the_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(meter, "peak_of", lambda args: 1e9)
    row = train(tmp_path)[-1]
    attention, mlp, norms = 16 * 8 * (2 + 1 + 1) + 16 * 16, 3 * 16 * 32, 3 * 16
    weights = attention + mlp + norms + 2 * 64 * 16
    assert row["mfu"] == pytest.approx(6 * weights * row["tokens_per_second"] / 1e9, rel=0.02, abs=1e-4)


def test_a_card_that_is_not_known_whole_has_no_peak(monkeypatch: pytest.MonkeyPatch):
    args = SimpleNamespace(device=torch.device("cuda", 0), bf16=True, fp16=False, world_size=2)
    names = {"NVIDIA H100 80GB HBM3": 2 * 989e12, "NVIDIA H100 80GB HBM3 MIG 1g.10gb": 0.0, "NVIDIA GH200 480GB": 0.0}
    for name, peak in names.items():
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda device, name=name: name)
        assert peak_of(args) == peak
    args.bf16 = False  # float32 has another peak
    assert peak_of(args) == 0.0


def test_a_tied_embedding_counts_once_and_of_experts_the_chosen_ones():
    untied, tied = (
        used_weights(AutoModelForCausalLM.from_config(LlamaConfig(**TINY, tie_word_embeddings=tied)))[0]
        for tied in (False, True)
    )
    assert untied - tied == 64 * 16
    config = GptOssConfig(**TINY, num_local_experts=4, num_experts_per_tok=1)
    model = AutoModelForCausalLM.from_config(config)
    experts = sum(weight.numel() for name, weight in model.named_parameters() if ".experts." in name)
    assert used_weights(model)[0] == model.num_parameters() - 0.75 * experts


def test_lines_say_it():
    row = {
        "train_seconds": 2.0,
        "tokens_per_second": 1234.0,
        "data_wait": 0.02,
        "padding_share": 0.25,
        "peak_memory_gib": 65.94,
    }
    assert speed(row) == "1,234 tokens/s, padding 25%, waits 0.02 s for data, 65.9 GiB"
    sampled = row | {"mfu": 0.4, "rollout_share": 0.5, "rollout_tokens_per_second": 9000.0}
    assert speed(sampled).startswith("1,234 tokens/s, MFU 40%, rollout 50% of a step at 9,000 tokens/s, ")
    other = sampled | {"train_seconds": 6.0, "tokens_per_second": 1000.0, "mfu": 0.2}
    assert average_speed([{"step": 0, "split": "held_out"}, sampled, other]).startswith(
        "1,058 trained tokens a second of training, MFU 25.0%, 50% of a step is rollout, "
    )
    assert average_speed([]) == speed({"eval_loss": 1.0}) == ""
