"""What trackers hold of a run that was interrupted: one run each, its evaluations and settings, and no row of its data."""

import importlib.util
import json
import signal
import sqlite3
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import GRPO_MATH, SHORT
from forks import serving, wait_for
from wandb.proto import wandb_internal_pb2

EVALUATIONS = {f"eval/{split}/accuracy" for split in ("held_out", "unseen_numbers")}
REWARD = "train/reward"
BLOCK = 32768  # bytes, after which a record goes on with another header


def records(file: Path) -> Iterator[wandb_internal_pb2.Record]:
    """Reads wandb's offline record: a log of LevelDB with a header of its own, 7 bytes long."""
    content, position, parts = file.read_bytes(), 7, []
    while position + 7 <= len(content):
        if BLOCK - position % BLOCK < 7:
            position += BLOCK - position % BLOCK
            continue
        _, length, kind = struct.unpack("<IHB", content[position : position + 7])
        parts.append(content[position + 7 : position + 7 + length])
        position += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield wandb_internal_pb2.Record.FromString(b"".join(parts))
            parts = []


def wandb_runs(folder: Path) -> dict[str, dict]:
    """Returns by id of a run its project, its settings, and the values of each step."""
    runs: dict[str, dict] = {}
    for file in sorted(folder.glob("wandb/offline-run-*/*.wandb")):
        found = list(records(file))
        (begun,) = [record.run for record in found if record.HasField("run")][:1]
        run = runs.setdefault(begun.run_id, {"project": begun.project, "config": {}, "history": [], "parts": 0})
        run["parts"] += 1
        for record in found:
            for update in [record.config, *([record.run.config] if record.HasField("run") else [])]:
                run["config"] |= {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in update.update}
            if record.HasField("history"):
                items = record.history.item
                run["history"].append({item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items})
    return runs


def scalars(folder: Path) -> dict[str, list[int]]:
    """Returns the steps of each value in TensorBoard."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return {name: [event.step for event in events.Scalars(name)] for name in events.Tags()["scalars"]}


@pytest.mark.slow
def test_an_interrupted_run_is_one_run_in_each_tracker(tmp_path: Path):
    installed = [name for name in ("tensorboard", "trackio") if importlib.util.find_spec(name)]
    folder = tmp_path / "run"
    command = [GRPO_MATH, *SHORT, "--max_steps", "6", "--eval_steps", "2", "--output_dir", str(folder)]
    command += ["--report_to", "wandb", *installed]
    env = {"WANDB_MODE": "offline", "WANDB_DIR": str(tmp_path)}
    (tmp_path / "server").mkdir()
    with serving(tmp_path / "server", HF_HOME=str(tmp_path / "home")) as server:  # where trackio writes
        started = server.start(*command, launched=False, **env)
        wait_for((folder / "checkpoint-3" / "complete").exists, started)
        started.send(signal.SIGTERM)
        assert started.wait() == [143], started.text()
        again = server.start(*command, launched=False, **env)
        assert again.wait() == [0], again.text()
    assert "has failed" not in started.text() + again.text()

    identity = json.loads((folder / "run.json").read_text())["id"]
    ((run_id, run),) = wandb_runs(tmp_path).items()
    assert (run_id, run["project"], run["parts"]) == (identity, "grpo_math", 2)
    assert run["config"]["dataset_name"] == "synthetic"
    steps = {name: {row["train/global_step"] for row in run["history"] if name in row} for name in (*EVALUATIONS, REWARD)}
    assert steps == {name: {0, 2, 4, 6} for name in EVALUATIONS} | {REWARD: {1, 2, 3, 4, 5, 6}}
    question = json.loads((folder / "samples.jsonl").read_text().splitlines()[0])["question"].encode()
    written = [path for path in tmp_path.rglob("*") if path.is_file() and folder not in path.parents]
    assert not [path for path in written if question in path.read_bytes()]

    if "tensorboard" in installed:
        found = scalars(folder / "tensorboard")
        assert {name: found[name] for name in EVALUATIONS} == {name: [0, 2, 4, 6] for name in EVALUATIONS}
        assert found[REWARD] == [1, 2, 3, 4, 5, 6]
    if "trackio" in installed:
        runs = sqlite3.connect(tmp_path / "home" / "trackio" / "grpo_math.db").execute(
            "select distinct run_name, run_id from metrics"
        )
        assert [name for name, _ in runs] == [f"run-{identity}"]
