"""What is read of yaml files, flags and a run's own settings, and which of them wins."""

import json
from pathlib import Path

from common.run.config import parse
from common.run.flags import check_built

import pytest
import torch
from conftest import ROOT
from parsing import GRPO, SFT, TEAM, classes_of, uses_grpo
from trl import GRPOConfig, ModelConfig, SFTConfig


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch):
    """Returns a function that parses as a recipe does, and returns all settings by name."""

    def read(recipe: str, *argv: str, script: str = "train.py", **more) -> dict:
        monkeypatch.setattr("common.run.config.check_built", lambda *_: None)
        training = GRPOConfig if uses_grpo(recipe) else SFTConfig
        _, training_args, _ = parse(
            str(ROOT / "recipes" / recipe / script), classes_of(recipe)[-1], training, list(argv), **more
        )
        return training_args.run_values

    return read


def test_the_text_of_a_yaml_is_kept(tmp_path: Path, parsed):
    (tmp_path / "my.yaml").write_text(
        "system_prompt: 2024-01-01\nsave_strategy: no\nlora_target_modules: q_proj\nreport_to: [none]\n"
        "learning_rate: 1e-5\nmodel_revision: 0123\nlr_scheduler_kwargs: {min_lr: 1.0e-6}\ndataset_config: null\nnum_train: 9\n"
    )
    values = parsed(GRPO, "--config", str(tmp_path / "my.yaml"), "--use_peft", "true")
    assert values["system_prompt"] == "2024-01-01"
    assert (values["save_strategy"], values["lora_target_modules"], values["report_to"]) == ("no", ["q_proj"], ["none"])
    assert (values["learning_rate"], values["model_revision"]) == (1e-5, "0123")
    assert (values["lr_scheduler_kwargs"], values["dataset_config"]) == ({"min_lr": 1e-6}, None)


def test_later_files_and_flags_win(tmp_path: Path, parsed):
    (tmp_path / "my.yaml").write_text("seed: 5\nnum_held_out: 6\ndtype: float32\n")
    values = parsed(SFT, "--config", str(tmp_path / "my.yaml"), "--seed", "7")
    assert (values["seed"], values["num_held_out"], values["max_new_tokens"]) == (7, 6, 512)


def test_several_trackers(monkeypatch: pytest.MonkeyPatch, parsed):
    monkeypatch.setattr("transformers.integrations.get_available_reporting_integrations", lambda: ["wandb", "tensorboard"])
    assert parsed(GRPO, "--report_to", "wandb", "tensorboard")["report_to"] == ["wandb", "tensorboard"]


def test_an_evaluation_takes_the_settings_of_its_run(tmp_path: Path, parsed, capsys: pytest.CaptureFixture[str]):
    """config.yaml < tiny.yaml < the run < --config < flags."""
    settings = {
        "num_train": 77,
        "question": "What is it?",
        "max_pixels": 1568,
        "min_pixels": 3,
        "model_name_or_path": "tiny:qwen2_vl",
    }
    record = {"recipe": "ocr_vision_language", "world_size": 1, "settings": settings | {"use_cpu": False, "gone": 1}}
    run = tmp_path / "run"
    (run / "checkpoint-3").mkdir(parents=True)
    (run / "run.json").write_text(json.dumps(record))
    (tmp_path / "my.yaml").write_text("min_pixels: 4\n")
    for folder in (run, run / "checkpoint-3"):
        argv = ["--model_name_or_path", str(folder), "--config", str(tmp_path / "my.yaml"), "--num_train", "8"]
        values = parsed("ocr_vision_language", *argv, "--dtype", "float32", script="evaluate.py")
        assert (values["question"], values["max_pixels"]) == ("What is it?", 1568)
        assert (values["min_pixels"], values["num_train"], values["use_cpu"]) == (4, 8, True)
        assert values["model_name_or_path"] == str(folder)
    capsys.readouterr()
    assert parsed(SFT, "--model_name_or_path", str(run), script="evaluate.py")["num_train"] == 0
    out = capsys.readouterr().out
    assert "is a run of the recipe ocr_vision_language: its settings are not taken." in out
    assert "No GPU: using " in out
    (run / "run.json").write_text(
        json.dumps({"recipe": TEAM, "world_size": 1, "settings": {"model_name_or_path": "my/base", "num_train": 77}})
    )
    values = parsed(TEAM, "--run_dir", str(run), script="evaluate.py", run_flag="run_dir")
    assert (values["model_name_or_path"], values["num_train"], values["run_dir"]) == ("my/base", 77, str(run))
    assert capsys.readouterr().out == f"Settings: those of the run {run}, unless --config or a flag says otherwise.\n"


@pytest.mark.parametrize(("given", "read"), [("q_proj", ["q_proj"]), ("mlp.down_proj", ["mlp.down_proj"])])
def test_adapters_on_a_single_module(given: str, read: list[str]):
    model_args = ModelConfig(lora_target_modules=[given])
    check_built(SFTConfig(use_cpu=True, report_to="none"), model_args, trains=True)
    assert model_args.lora_target_modules == read


@pytest.mark.parametrize("given", ["all-linear", r".*\.[qv]_proj"])
def test_adapters_by_a_pattern(given: str):
    model_args = ModelConfig(lora_target_modules=[given])
    check_built(SFTConfig(use_cpu=True, report_to="none"), model_args, trains=True)
    assert model_args.lora_target_modules == given
