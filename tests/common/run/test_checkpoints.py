"""Which checkpoint a run continues from."""

from pathlib import Path

from common.data.runs import COMPLETE, newest_complete_checkpoint

import pytest


def checkpoint(folder: Path, step: int, complete: bool) -> Path:
    path = folder / f"checkpoint-{step}"
    path.mkdir(parents=True)
    if complete:
        (path / COMPLETE).touch()
    return path


def test_torn_checkpoints_are_passed_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    checkpoint(tmp_path, 8, True)
    newest = checkpoint(tmp_path, 10, True)
    torn = checkpoint(tmp_path, 12, False)
    (tmp_path / "checkpoint-final").mkdir()
    assert newest_complete_checkpoint(tmp_path) == newest
    assert capsys.readouterr().out.splitlines() == [
        f"{torn} is incomplete (the run was stopped while it was written): passing over it."
    ]
    assert torn.exists()


def test_without_a_complete_one_a_run_starts_anew(tmp_path: Path):
    assert newest_complete_checkpoint(tmp_path / "none") is None
    checkpoint(tmp_path, 2, False)
    assert newest_complete_checkpoint(tmp_path) is None
