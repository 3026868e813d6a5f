"""`recipes plan`: what fits, what does not, and one line for each mistake."""

import json
from pathlib import Path

from common.commands.main import main

import pytest

CALLING = ["plan", "trl_function_calling", "--gpus", "1"]


def planned(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict:
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--json"])
    assert ended.value.code == 0
    return json.loads(capsys.readouterr().out)


def test_what_fits_and_what_does_not(capsys: pytest.CaptureFixture[str]):
    large = planned(capsys, *CALLING, "--gpu-memory", "80")
    assert large["recipe"] == "trl_function_calling"
    assert large["parameters"] == 596_049_920
    assert large["does_not_fit"] == []
    whole = large["fits"][0]
    assert (whole["config"], whole["stage"], whole["micro_batch"]) == ("config.yaml", "zero2", 8)
    assert whole["gib"]["peak"] == pytest.approx(12.63, rel=0.02)  # measured
    assert sum(value for name, value in whole["gib"].items() if name not in ("peak", "needed")) == pytest.approx(12.5, abs=0.1)
    assert "tokens/s" in whole["measured"]["speed"]
    launch = "accelerate launch --config_file accelerate_configs/zero2.yaml recipes/trl_function_calling/train.py"
    assert whole["command"] == launch
    small = planned(capsys, *CALLING, "--gpu-memory", "8")
    assert {(entry["config"], entry["stage"]) for entry in small["does_not_fit"]} >= {("config.yaml", "zero2")}
    fits = {entry["config"]: entry for entry in small["fits"]}
    assert fits["config.yaml"]["stage"] == "zero2_offload"
    assert fits["config.yaml"]["host_gib"] > 5
    assert fits["lora.yaml"]["stage"] == "zero2"
    assert all(entry["gib"]["needed"] <= 8 for entry in small["fits"])


def test_fewer_rows_at_once_are_as_many_for_an_update(capsys: pytest.CaptureFixture[str]):
    found = planned(capsys, *CALLING, "--gpu-memory", "13.2", "--config", "config.yaml")["fits"][0]
    assert (found["stage"], found["micro_batch"], found["gradient_accumulation_steps"]) == ("zero2_offload", 8, 1)
    found = planned(capsys, *CALLING, "--gpu-memory", "3.9", "--config", "lora.yaml")["fits"][0]
    assert found["micro_batch"] * found["gradient_accumulation_steps"] == 8
    assert found["micro_batch"] < 8
    assert f"--per_device_train_batch_size {found['micro_batch']} " in found["command"]


def test_a_model_is_planned_with_rows_of_conversations(capsys: pytest.CaptureFixture[str]):
    main_line = ["plan", "Qwen/Qwen3-0.6B", "--gpus", "2", "--gpu-memory", "24", "--config", "config.yaml"]
    with pytest.raises(SystemExit):
        main(main_line)
    said = capsys.readouterr().out
    assert "sft_instruct with Qwen/Qwen3-0.6B, 0.60 billion parameters, on 2 GPUs of 24 GiB" in said
    assert "--num_processes 2 recipes/sft_instruct/train.py --model_name_or_path Qwen/Qwen3-0.6B" in said


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["sft_instruc", "--gpu-memory", "8"], "there is no recipe and no model `sft_instruc`; did you mean `sft_instruct`?"),
        (["sft_instruct", "--gpus", "0", "--gpu-memory", "8"], "--gpus 0: pass how many GPUs there are, 1 or more"),
        (["sft_instruct", "--gpu-memory", "nan"], "--gpu-memory nan: pass the GiB of one GPU, for example 24"),
        (["sft_instruct", "--gpu-memory", "-4"], "--gpu-memory -4: pass the GiB of one GPU, for example 24"),
        (["sft_instruct", "--gpu-memory", "much"], "Invalid value for '--gpu-memory'"),
        (["sft_instruct", "--gpu-memory", "8", "--config", "none.yaml"], "cannot read the configuration none.yaml"),
        (["sft_instruct", "--gpu-memory", "8", "--config", "{tmp}/rows.yaml"], "rows.yaml:2: `max_length` must be a whole"),
    ],
)
def test_a_mistake_is_one_line(arguments: list[str], line: str, capsys: pytest.CaptureFixture[str], tmp_path: Path):
    (tmp_path / "rows.yaml").write_text("use_peft: true\nmax_length: 2k\n")
    with pytest.raises(SystemExit) as ended:
        main(["plan", *(argument.format(tmp=tmp_path) for argument in arguments)])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert line in said
    assert said.count("\n") == 1


def test_without_a_gpu_its_memory_is_asked_for(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(SystemExit):
        main(["plan", "sft_instruct"])
    assert "pass --gpu-memory" in capsys.readouterr().err
