"""The lock of a run's folder."""

import errno
import fcntl
import os
import socket
import subprocess
import sys
from pathlib import Path

from common.run import lock
from common.run.lock import lock_folder

import pytest

TAKE = "import sys, pathlib; from common.run.lock import lock_folder; print(lock_folder(pathlib.Path(sys.argv[1])))"


def taken_by_another(folder: Path, code: str = TAKE) -> str:
    return subprocess.run([sys.executable, "-c", code, folder], capture_output=True, text=True, check=True).stdout.strip()


def test_a_locked_folder_is_refused_at_once_and_free_again_afterwards(tmp_path: Path):
    folder = tmp_path / "new" / "run"
    assert taken_by_another(folder) == "None"
    assert not (tmp_path / "new").exists(), "nothing was written into it"
    assert lock_folder(folder) is None
    assert lock_folder(folder) is None, "this process has it already"
    assert taken_by_another(folder) == ""


def test_a_signal_between_the_file_and_its_lock_leaves_nothing(tmp_path: Path):
    cut = (
        "import pathlib, sys; from filelock import FileLock; from common.run import lock\n"
        "def cut(own): pathlib.Path(own.lock_file).touch(); FileLock._acquire = acquire; raise SystemExit\n"
        "acquire, FileLock._acquire = FileLock._acquire, cut\n"
    )
    assert taken_by_another(tmp_path / "run", cut + TAKE) == ""
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP])
def test_where_the_file_system_knows_no_locks(
    tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def refuse(file: object, operation: int) -> None:
        raise OSError(number, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    assert lock_folder(tmp_path) is None
    assert "the file system knows no locks (No locks available)" in capsys.readouterr().out
    for _ in range(2):  # whoever comes next finds the first, and leaves it as it is
        monkeypatch.setattr(lock, "_held", {})
        assert lock_folder(tmp_path) == (
            f" (process {os.getpid()} on {socket.gethostname()}; if it is long gone: `rm {tmp_path}/.lock`)"
        )
