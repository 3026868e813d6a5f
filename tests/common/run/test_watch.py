"""What is looked at after a save."""

import time
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

from common.run.signals import StopRequest
from common.run.watch import Watch

import pytest
import torch


def test_a_save_that_takes_longer_than_the_launcher_waits_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "of a launcher")
    monkeypatch.setenv("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", "50")
    (tmp_path / "run.json").touch()
    args = SimpleNamespace(output_dir=str(tmp_path), save_total_limit=None, device="cpu", world_size=1, process_index=0)
    state = SimpleNamespace(global_step=2, best_model_checkpoint=None)
    trainer = MagicMock(args=args, state=state, model=torch.nn.Linear(1, 1))
    watch = Watch(trainer, MagicMock(spec=StopRequest), MagicMock(), 0, tmp_path)
    said = []
    for seconds in (40, 60, 60):
        (tmp_path / "checkpoint-2").mkdir(exist_ok=True)
        watch.step_ended = time.monotonic() - seconds
        watch.on_save(args, state, None)
        said.append(capsys.readouterr().out)
    line = "Saving took 60 s, and a launcher that is told to stop waits 50 s for it: "
    assert said == ["", f"{line}`export TORCH_ELASTIC_SHUTDOWN_TIMEOUT=120`\n", ""]
    assert (tmp_path / "checkpoint-2/complete").exists()
