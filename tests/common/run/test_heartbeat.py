"""The line on a process that hangs."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

from common.run.heartbeat import Beat, Heartbeat, describe

import pytest


def beat(process: int, place: str, waits: bool = False, step: int = 3) -> Beat:
    return Beat(process, f"n{process}", 100 + process, count=9, step=step, place=place, waits=waits)


def test_a_process_that_does_not_answer_comes_first():
    beats = [
        beat(0, "backward (a.py:1)", waits=True),
        beat(1, "data (b.py:2)", step=2),
        beat(2, "backward (a.py:1)", waits=True),
    ]
    assert describe(beats, {1}, 900) == (
        "step 2 has not gone on for 900 s: process 1 (pid 101 on n1): no answer; "
        "process 0 (pid 100 on n0) and 1 more: waiting in backward (a.py:1)"
    )


def test_a_process_that_hangs_in_its_own_code_comes_before_those_that_wait_for_it():
    beats = [beat(0, "backward (a.py:1)", waits=True), beat(1, "correct (rewards.py:7)")]
    assert describe(beats, set(), 15).partition(" s: ")[2] == (
        "process 1 (pid 101 on n1): in correct (rewards.py:7); process 0 (pid 100 on n0): waiting in backward (a.py:1)"
    )


def test_a_thousand_processes_are_one_line():
    beats = [beat(process, f"place {process}") for process in range(1000)]
    assert describe(beats, set(), 15).endswith("; and 992 other places")


@pytest.mark.parametrize(("ddp_timeout", "seconds"), [(1800, 30), (600, 30), (300, 15), (20, 1)])
def test_a_sign_of_life_comes_twice_a_minute_or_more_often(tmp_path: Path, ddp_timeout: int, seconds: int):
    alone = SimpleNamespace(output_dir=str(tmp_path), ddp_timeout=ddp_timeout, process_index=0, world_size=1)
    assert Heartbeat(alone).interval == seconds
    assert not list(tmp_path.iterdir()), "one process has nobody to tell"


def test_the_first_sign_comes_at_once(tmp_path: Path):
    """One that is stopped within its first steps is named with its number and its machine."""
    beating = Heartbeat(SimpleNamespace(output_dir=str(tmp_path), ddp_timeout=1800, process_index=1, world_size=2))
    deadline = time.monotonic() + 10
    while not (tmp_path / ".heartbeat-1.json").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert json.loads((tmp_path / ".heartbeat-1.json").read_text())["pid"] == os.getpid()
    beating.close()
    assert not list(tmp_path.iterdir())


def test_a_process_that_is_stopped_before_its_first_sign_ends_the_run_too(tmp_path: Path):
    waits = f"""
import time
from types import SimpleNamespace
from common.run.heartbeat import Heartbeat
Heartbeat(SimpleNamespace(output_dir={str(tmp_path)!r}, ddp_timeout=2, process_index=0, world_size=2))
time.sleep(30)
"""
    run = subprocess.run([sys.executable, "-c", waits], capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert "has not gone on for 2 s: process 1: no answer; process 0 (pid " in run.stderr
    assert run.stderr.endswith("that is more than ddp_timeout, 2 s: the run ends\n")
