"""A loss that leaps."""

from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

from common.run.divergence import DivergenceGuard

import pytest
import torch


def guard(folder: Path, stop_on_spike: bool, **settings: int) -> DivergenceGuard:
    tokenizer = SimpleNamespace(pad_token_id=0, decode=lambda ids: str(ids.tolist()))
    args = SimpleNamespace(output_dir=str(folder), device="cpu", fp16=False, **settings)
    found = DivergenceGuard(MagicMock(args=args, processing_class=SimpleNamespace(tokenizer=tokenizer)), stop_on_spike)
    found.batches = [{"input_ids": torch.tensor([[5, 6, 0]])}]
    return found


def test_a_leap_of_the_loss_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    watched = guard(tmp_path, stop_on_spike=False)
    watched.look_for_spike(12, [1.0] * 11 + [9.0])
    watched.look_for_spike(3, [1.0, 1.0, 90.0])
    assert capsys.readouterr().out == ""
    watched.look_for_spike(12, [1.0] * 11 + [11.0])
    assert "the loss has leapt to 11, 11 times its running median 1;" in capsys.readouterr().out
    watched.look_for_spike(110, [100.0] * 60 + [1.0] * 50 + [11.0])
    assert "its running median 1;" in capsys.readouterr().out, "that of the last 50"
    guard(tmp_path, stop_on_spike=True, num_generations=8).look_for_spike(12, [1.0] * 11 + [11.0])
    assert capsys.readouterr().out == "", "GRPO's loss is around zero"


def test_a_leap_of_the_loss_stops_if_asked_to(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit, match="2"):
        guard(tmp_path, stop_on_spike=True).look_for_spike(12, [1.0] * 11 + [11.0])
    assert f"the batch is in {tmp_path}/diverged-step-12.jsonl" in capsys.readouterr().err
    assert (tmp_path / "diverged-step-12.jsonl").read_text() == '{"process": 0, "input_ids": "[5, 6]"}\n'


def test_the_last_finite_checkpoint_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for step in (2, 4, 6):
        (tmp_path / f"checkpoint-{step}").mkdir()
        (tmp_path / f"checkpoint-{step}" / ("complete" if step < 6 else "model.safetensors")).touch()
    with pytest.raises(SystemExit, match="2"):
        guard(tmp_path, stop_on_spike=False).stop(7, "the training has diverged")
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"step 7: the training has diverged; the last finite checkpoint is {tmp_path}/checkpoint-4, the batch is in" in error
