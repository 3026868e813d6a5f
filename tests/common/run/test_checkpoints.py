"""Which checkpoint a run continues from."""

from collections.abc import Callable
from pathlib import Path

from common.data.runs import COMPLETE, checkpoint_steps, damage, newest_complete_checkpoint
from common.run.checkpoints import mark, rotate

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


@pytest.mark.parametrize(
    ("limit", "best", "kept"),
    [
        (None, None, [2, 4, 6, 8]),
        (1, None, [8]),
        (2, None, [4, 8]),
        (1, "x/checkpoint-2", [2, 8]),
        (3, "x/checkpoint-2", [2, 4, 8]),
    ],
)
def test_the_oldest_are_removed(tmp_path: Path, limit: int | None, best: str | None, kept: list[int]):
    for step, complete in ((2, True), (4, True), (6, False), (8, True)):
        checkpoint(tmp_path, step, complete)
    rotate(tmp_path, 8, limit, best)
    assert sorted(checkpoint_steps(tmp_path)) == kept


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (lambda part: None, None),
        (lambda part: part.unlink(), "is damaged (state.pt is missing)"),
        (lambda part: part.write_bytes(b""), "is damaged (state.pt has 0 bytes instead of 1000)"),
        (lambda part: part.write_bytes(bytes(500) + b"\1" + bytes(499)), "is damaged (state.pt is not what was written)"),
        (lambda part: (part.parent / COMPLETE).write_text('{"0": {'), "is damaged (its mark cannot be read)"),
        (lambda part: (part.parent / COMPLETE).write_text(""), None),  # of 0.1.0, which kept no sums
    ],
)
def test_damage_is_found(tmp_path: Path, fault: Callable[[Path], None], said: str | None):
    part = checkpoint(tmp_path, 2, False) / "state.pt"
    part.write_bytes(bytes(1000))
    mark(part.parent, rank=0)
    fault(part)
    assert damage(part.parent) == said
    assert newest_complete_checkpoint(tmp_path) == (part.parent if said is None else None)
