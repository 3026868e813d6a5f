"""Interrupted at any moment, the same command continues and ends with the very same weights."""

import json
import shutil
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest
from conftest import GRPO_MATH, ROOT, accelerate, command_env, run_command
from safetensors.torch import load_file

SETTINGS = (
    "--max_steps 6 --save_steps 2 --eval_steps 3 --num_train 64 --num_held_out 8 --per_device_train_batch_size 16".split()
)


def interrupt(command: list[str], output_dir: Path, sent: signal.Signals) -> None:
    """Starts a command and stops it while it trains on, some time after its second checkpoint."""
    output = subprocess.DEVNULL
    process = subprocess.Popen(command, cwd=ROOT, env=command_env(), stdout=output, stderr=output)
    deadline = time.monotonic() + 240
    while not (output_dir / "checkpoint-4" / "complete").exists():
        assert process.poll() is None, "the run ended before it could be interrupted"
        assert time.monotonic() < deadline, "no second checkpoint within four minutes"
        time.sleep(0.05)
    # SIGKILL cannot be passed on, so every process gets it, as from the kernel out of memory. The others reach the launcher
    # alone (torch puts its workers in sessions of their own, out of Ctrl-C's reach), which stops its workers.
    workers = psutil.Process(process.pid).children(recursive=True)
    for target in [psutil.Process(process.pid), *(workers if sent == signal.SIGKILL else [])]:
        target.send_signal(sent)
    process.wait(timeout=60)
    psutil.wait_procs(workers, timeout=60)
    assert not (output_dir / "complete").exists()


def check_interrupted(script: str, settings: str, folder: Path) -> None:
    """Asserts that two processes under ZeRO-3, killed between steps and continued, end with the weights of two that are not."""
    whole, parts = folder / "whole", folder / "parts"
    finished = run_command(accelerate(script, *settings.split(), "--output_dir", str(whole), num_processes=2))
    assert finished.returncode == 0, finished.stderr
    command = accelerate(script, *settings.split(), "--output_dir", str(parts), num_processes=2)
    interrupt(command, parts, signal.SIGKILL)
    assert not (parts / "README.md").exists()  # TRL's card knows neither the data nor the model
    continued = run_command(command)
    assert continued.returncode == 0, continued.stderr
    assert "Continuing from" in continued.stdout
    expected, found = load_file(whole / "model.safetensors"), load_file(parts / "model.safetensors")
    assert all(expected[name].equal(found[name]) for name in expected)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("num_processes", "sent", "more"),
    [
        # Without a launcher's own ways with signals, tests/reliability has more.
        (1, signal.SIGKILL, []),
        (2, signal.SIGTERM, []),
        (1, signal.SIGINT, []),
        (2, signal.SIGKILL, []),
        # Two updates from each generation: what was sampled before the checkpoint must not be needed after it.
        (1, signal.SIGKILL, ["--num_iterations", "2"]),
    ],
)
def test_an_interrupted_run_ends_with_the_same_weights(
    tmp_path: Path, num_processes: int, sent: signal.Signals, more: list[str]
):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    settings = [*SETTINGS, *more]
    finished = run_command(accelerate(GRPO_MATH, *settings, "--output_dir", str(whole), num_processes=num_processes))
    assert finished.returncode == 0, finished.stderr

    command = accelerate(GRPO_MATH, *settings, "--output_dir", str(parts), num_processes=num_processes)
    interrupt(command, parts, sent)
    # A checkpoint torn by the interruption: newer than the complete one, and without some of its files.
    newest = max((path.parent for path in parts.glob("checkpoint-*/complete")), key=lambda path: int(path.name[11:]))
    torn = parts / "checkpoint-7"
    shutil.copytree(newest, torn)
    (torn / "complete").unlink()
    (torn / "trainer_state.json").unlink()

    continued = run_command(command)
    assert continued.returncode == 0, continued.stderr
    assert "checkpoint-7 is incomplete" in continued.stdout
    assert f"Continuing from {newest}" in continued.stdout

    expected, found = load_file(whole / "model.safetensors"), load_file(parts / "model.safetensors")
    assert expected.keys() == found.keys()
    assert all(expected[name].equal(found[name]) for name in expected)

    # The log reads as if nothing had happened: each step once, and the evaluations before, during and after.
    rows = [json.loads(line) for line in (parts / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "loss" in row] == [1, 2, 3, 4, 5, 6]
    assert [row["step"] for row in rows if row.get("split") == "held_out"] == [0, 3, 6]
    whole_rows = [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
    assert [row.get("reward") for row in rows if "loss" in row] == [row.get("reward") for row in whole_rows if "loss" in row]
