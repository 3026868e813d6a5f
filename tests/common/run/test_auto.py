"""Rows at once and recomputation that are left open: what is chosen keeps the tokens of an update, and is taken up again."""

import json
from argparse import Namespace
from pathlib import Path

from common.data.arguments import DataArguments
from common.run import auto
from common.run.auto import choose, settle
from common.run.config import parse
from common.run.launch import zero_settings

import pytest
import torch
from conftest import ROOT, recipe_modules
from trl import GRPOConfig, SFTConfig

ROWS, STEPS, RECOMPUTE = "per_device_train_batch_size", "gradient_accumulation_steps", "activation_checkpointing"
LENGTH = 128  # of tiny.yaml
OPEN = {"tokens_per_update": 8192, ROWS: "auto", RECOMPUTE: "auto"}
MODEL = {"model_name_or_path": "tiny:llama", "use_peft": False}


def settled(folder: Path, world_size: int = 1, given: tuple[str, ...] = (), **changes) -> tuple:
    """Returns rows at once, accumulation and recomputation of a run in a folder."""
    usual = {"max_length": LENGTH, "tokens_per_update": None, ROWS: 8, STEPS: 1, RECOMPUTE: False, "output_dir": str(folder)}
    values = Namespace(**usual | MODEL | changes)
    settle(values, dict.fromkeys(given), "sft_instruct", world_size)
    return getattr(values, ROWS), getattr(values, STEPS), getattr(values, RECOMPUTE)


def line_of(capsys: pytest.CaptureFixture[str], function, *argv, **more) -> str:
    with pytest.raises(SystemExit) as ended:
        function(*argv, **more)
    assert ended.value.code == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line]
    return line


@pytest.mark.parametrize(("world_size", "chosen"), [(1, (32, 2)), (2, (32, 1)), (4, (16, 1))])
def test_an_update_keeps_its_tokens(tmp_path: Path, capsys: pytest.CaptureFixture[str], world_size: int, chosen: tuple):
    """However many processes there are, and however many rows the user takes at once."""
    assert settled(tmp_path, world_size, **OPEN) == (*chosen, False)
    assert chosen[0] * chosen[1] * world_size * LENGTH == OPEN["tokens_per_update"]
    assert capsys.readouterr().out == (
        f"auto: {chosen[0]} rows at once on each of {world_size} processes, {chosen[1]} times for an update; "
        "activations are kept (on a CPU up to 32 rows at once, and nothing is recomputed).\n"
    )
    assert settled(tmp_path, world_size, **OPEN | {ROWS: 8}) == (8, 8 // world_size, False)  # the user's own numbers win
    assert settled(tmp_path, world_size, **OPEN | {RECOMPUTE: True}) == (*chosen, True)
    assert settled(tmp_path, world_size, (STEPS,), **OPEN | {ROWS: 8, STEPS: 3}) == (8, 3, False)
    assert settled(tmp_path, world_size, **{RECOMPUTE: "auto"}) == (8, 1, False)
    assert settled(tmp_path, world_size) == (8, 1, False)


def test_what_cannot_be_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    line = line_of(capsys, settled, tmp_path, 2, **OPEN | {"tokens_per_update": 8000})
    assert line.endswith("8000: no whole rows of max_length 128 for each of 2 processes; nearest: 7936 or 8192")
    line = line_of(capsys, settled, tmp_path, **OPEN | {ROWS: 24})
    assert line.endswith("are on each of 1 processes do not divide by it; nearest: 16 or 32")
    line = line_of(capsys, settled, tmp_path, **{ROWS: "auto"})
    assert line.endswith("set `tokens_per_update`, or give the number of rows at once")
    line = line_of(capsys, settled, tmp_path, **OPEN | {"max_length": None})
    assert "tokens_per_update is not for this recipe" in line


@pytest.mark.parametrize(("flag", "word", "line"), [(ROWS, "most", "most"), (RECOMPUTE, "perhaps", "perhaps")])
def test_only_auto_is_left_open(flag: str, word: str, line: str, capsys: pytest.CaptureFixture[str]):
    script = str(ROOT / "recipes/sft_instruct/train.py")
    assert line in line_of(capsys, parse, script, DataArguments, SFTConfig, [f"--{flag}", word])


@pytest.mark.parametrize("flag", [ROWS, RECOMPUTE])
def test_grpo_counts_in_groups(flag: str, capsys: pytest.CaptureFixture[str]):
    script = str(ROOT / "recipes/grpo_math/train.py")
    with recipe_modules("grpo_math", ["arguments"]) as modules:
        line = line_of(capsys, parse, script, modules["arguments"].MathArguments, GRPOConfig, [f"--{flag}", "auto"])
    assert "the batches of GRPO are whole groups of completions" in line


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU of 80 GiB, on which a row takes 4 GiB, or 1 with recomputation, and all else 30."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(auto, "gpu_gib", lambda: 80.0)
    monkeypatch.setattr(auto, "_planned", lambda *_: lambda rows, recompute: 30 + rows * (1 if recompute else 4))


def test_a_run_that_is_continued_keeps_its_choice(gpu: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Also where another GPU would take more rows at once; for another run is chosen anew."""
    more = OPEN | {"max_length": 2048, "tokens_per_update": 65536}
    assert settled(tmp_path / "run", **more) == (8, 4, False)
    assert "(planned are 62.0 of the GPU's 80.0 GiB)" in capsys.readouterr().out
    (tmp_path / "run-2").mkdir()
    record = {"recipe": "sft_instruct", "world_size": 1, "settings": MODEL | more | {ROWS: 4, STEPS: 8, RECOMPUTE: True}}
    (tmp_path / "run-2/run.json").write_text(json.dumps(record))
    for name in ("run", "run-2"):  # the default name, and the number that it got
        assert settled(tmp_path / name, **more) == (4, 8, True)
        assert "(as the run began)." in capsys.readouterr().out
    assert settled(tmp_path / "run-2", **more | {ROWS: 16}) == (16, 2, True)
    assert settled(tmp_path / "run-2", **more | {"use_peft": True}) == (8, 4, False)
    assert settled(tmp_path / "run-2", 2, **more) == (4, 4, True)  # converted: the update's tokens stay


def test_a_gpu_without_deepspeed_is_not_planned(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    line = line_of(capsys, settled, tmp_path, **OPEN | {"deepspeed": None})
    assert "memory is planned for DeepSpeed; launch with a zero*.yaml, or give numbers" in line


def test_the_launcher_says_what_is_sharded(monkeypatch: pytest.MonkeyPatch):
    assert zero_settings(Namespace(deepspeed=None)) is None
    config = str(ROOT / "accelerate_configs/ds_zero3.json")
    plain = {"zero_stage": 3, "offload_optimizer": False, "offload_param": False}
    assert zero_settings(Namespace(deepspeed=config)) == plain
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    monkeypatch.setenv("ACCELERATE_DEEPSPEED_ZERO_STAGE", "3")
    monkeypatch.setenv("ACCELERATE_DEEPSPEED_OFFLOAD_OPTIMIZER_DEVICE", "cpu")
    assert zero_settings(Namespace(deepspeed=None)) == plain | {"offload_optimizer": True}


def test_recomputation_is_left_out_where_enough_tokens_fit_without():
    def needed(rows: int, recompute: bool) -> float:
        return 30 + rows * (1 if recompute else 4)

    assert choose(32, 2048, None, None, needed, 80)[:2] == (8, False)
    assert choose(32, 2048, None, None, needed, 40)[:2] == (8, True)  # without it 2 rows fit: too few to be fast
    assert choose(2, 2048, None, None, needed, 40)[:2] == (2, False)  # all that an update has
    assert choose(32, 2048, None, True, needed, 80)[:2] == (32, True)
    assert choose(32, 2048, 2, None, needed, 80)[:2] == (2, True)
    assert choose(32, 2048, 2, False, needed, 80)[:2] == (2, False)
    assert choose(24, 2048, None, True, needed, 48)[:2] == (12, True)  # which divides 24, as 18 does not


def test_what_does_not_fit_is_one_line(capsys: pytest.CaptureFixture[str]):
    line = line_of(capsys, choose, 32, 2048, None, None, lambda rows, recompute: 100.0, 80)
    assert "1 rows of 2048 tokens need 100.0 GiB, and the GPU has 80.0; train adapters" in line
