"""Values that cannot work, and settings that cannot go together: one line each, before a model loads."""

import json
import re
from pathlib import Path

from common.run.flags import check_built

import pytest
import torch
from conftest import CPU_PRECISION, ROOT
from parsing import GRPO, SFT, refusal
from transformers import trainer_optimizer
from transformers.training_args import OptimizerNames
from trl import ModelConfig, SFTConfig


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)


WRONG = [
    (GRPO, "--temperature 0", "temperature is 0.0: it must be above 0"),
    (GRPO, "--loss_type gspo", "loss_type gspo: GSPO is `--loss_type grpo --importance_sampling_level sequence`"),
    (GRPO, "--loss_type dapoo", "loss_type: there is no `dapoo`; did you mean `dapo`?"),
    (SFT, "--loss_type nil", "argument --loss_type/--loss-type: there is no `nil`; did you mean `nll`?"),
    (GRPO, "--use_vllm true", "use_vllm true: vLLM is not installed; ..."),
    (GRPO, "--report_to wandbb", "report_to: there is no tracker `wandbb`; did you mean `wandb`?"),
    (GRPO, "--report_to dvclive", "report_to dvclive: it is not installed (`uv pip install dvclive`); ..."),
    (GRPO, "--report_to wandb dvclive", "report_to dvclive: it is not installed (`uv pip install dvclive`); ..."),
    (SFT, "--eval_strategy no", "early_stopping_patience 3 needs evaluations: add `--eval_strategy steps`..."),
    (SFT, "--load_best_model_at_end false", "early_stopping_patience 3 needs a metric to watch: ..."),
    (SFT, "--metric_for_best_model exact_match", "metric_for_best_model: there is no `exact_match`; there is: loss, eval_loss"),
    (
        SFT,
        "--save_strategy best --load_best_model_at_end false --early_stopping_patience 0",
        "save_strategy best needs evaluations and a metric: ...",
    ),
    (GRPO, "--save_strategy best", "save_strategy best needs evaluations and a metric: ..."),
    (SFT, "--eval_steps 0.5", "eval_steps is 0.5: it must be a whole number of steps, at least 1"),
    (GRPO, "--eval_steps 0", "eval_steps is 0.0: it must be a whole number of steps, at least 1"),
    (GRPO, "--attn_implementation flash_attention_2", "attn_implementation flash_attention_2: it is not installed, ..."),
    (GRPO, "--attn_implementation flesh", "attn_implementation: there is no `flesh`; ..."),
    (GRPO, "--lora_r 0", "lora_r is 0: it must be at least 1"),
    (GRPO, "--seed -1", "seed is -1: it must be from 0 to 4294967295"),
    (GRPO, "--learning_rate nan", "learning_rate is nan: give a finite number"),
    (GRPO, "--learning_rate inf", "learning_rate is inf: give a finite number"),
    (GRPO, "--learning_rate -1", "learning_rate is -1.0: it must be above 0"),
    (GRPO, "--reward_weights nan 1 1", "reward_weights is nan 1.0 1.0: give a finite number"),
    (GRPO, "--reward_weights 0 0 0", "reward_weights 0 0 0: no reward counts, so nothing would be learned; ..."),
    (GRPO, "--weight_decay -0.1", "weight_decay is -0.1: it must be 0 or more"),
    (GRPO, "--max_completion_length 0", "max_completion_length is 0: it must be at least 1"),
    (GRPO, "--max_steps 0", "max_steps is 0: it must be -1 (all epochs) or at least 1"),
    (GRPO, "--top_p 0", "top_p is 0.0: it must be above 0, and at most 1"),
    (GRPO, "--sync_ref_model true", "sync_ref_model true with beta 0: ..."),
    (GRPO, "--chat_template_kwargs thinking", "chat_template_kwargs thinking: write a JSON object, for example ..."),
    (GRPO, "--deepspeed true", "deepspeed true: there is no such file; ..."),
    (SFT, "--max_length 0", "max_length is 0: it must be at least 1"),
]


def assert_line(line: str, expected: str) -> None:
    assert line.startswith(expected.removesuffix("...")) if expected.endswith("...") else line == expected


@pytest.mark.parametrize(("recipe", "flags", "line"), WRONG, ids=[f"{recipe} {flags}" for recipe, flags, _ in WRONG])
def test_a_value_that_cannot_work(recipe: str, flags: str, line: str, capsys: pytest.CaptureFixture[str]):
    assert_line(refusal(recipe, *flags.split(), capsys=capsys), line)


IS_BF16 = CPU_PRECISION == "bf16"
OWN = "deepspeed {tmp}/ds.json: `"
JSONS = [
    (
        {"train_micro_batch_size_per_gpu": 3},
        OWN + "train_micro_batch_size_per_gpu` is 3 and per_device_train_batch_size is 32; ...",
    ),
    ({"train_batch_size": 3}, OWN + "train_batch_size` is 3 and the settings make 32; ..."),
    ({"fp16": {"enabled": True}}, OWN + "fp16.enabled` is true and fp16 is False; ..."),
    ({"bf16": {"enabled": not IS_BF16}}, OWN + f"bf16.enabled` is {str(not IS_BF16).lower()} and bf16 is {IS_BF16}; ..."),
    ({"optimizer": {"params": {"lr": 1.0}}}, OWN + "optimizer.params.lr` is 1.0 and learning_rate is 0.004; ..."),
    ({"scheduler": {"type": "WarmupLR"}}, OWN + "scheduler` would take the place of lr_scheduler_type and warmup_steps; ..."),
]


@pytest.mark.parametrize(("content", "line"), JSONS)
def test_a_deepspeed_json_that_says_otherwise(tmp_path: Path, content, line: str, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "ds.json").write_text(json.dumps(content))
    found = refusal(SFT, "--deepspeed", str(tmp_path / "ds.json"), capsys=capsys)
    assert_line(found, line.replace("{tmp}", str(tmp_path)))


def test_deepspeed_twice(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    monkeypatch.setenv("ACCELERATE_DEEPSPEED_ZERO_STAGE", "3")
    line = refusal(SFT, "--deepspeed", str(ROOT / "accelerate_configs/ds_zero2.json"), capsys=capsys)
    assert "the launcher brings DeepSpeed too (ZeRO-3)" in line


def test_plain_python_with_several_gpus(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    for name in ("RANK", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    assert refusal(SFT, capsys=capsys).startswith("4 GPUs are visible and there is no launcher: start with `accelerate launch")


@pytest.mark.parametrize("name", list(OptimizerNames))
def test_an_optimizer_that_cannot_be_made_is_refused_before_the_model_loads(
    name: OptimizerNames, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """All whose package is not here, by one line that names it; those of torch, transformers and bitsandbytes go on."""
    for package in ("galore_torch", "apollo_torch", "lomo", "grokadamw", "torchao", "schedulefree", "torch_optimi"):
        monkeypatch.setattr(f"transformers.trainer_optimizer.is_{package}_available", lambda *_: False)
    args = SFTConfig(use_cpu=True, report_to="none", optim=name)
    here = ("adamw_torch", "adamw_torch_fused", "adafactor", "sgd", "adagrad", "rmsprop")
    if name in (*here, *trainer_optimizer._BITSANDBYTES_OPTIMIZERS):
        return check_built(args, ModelConfig(), trains=True)
    check_built(args, ModelConfig(), trains=False)
    with pytest.raises(SystemExit) as ended:
        check_built(args, ModelConfig(), trains=True)
    line = capsys.readouterr().err
    assert (ended.value.code, line.count("\n")) == (2, 1)
    assert re.match(rf"error: optim {name.value}: .*(install|import).*; or take another, such as `--optim adamw_torch`$", line)
