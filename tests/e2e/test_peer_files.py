"""The sample files of another project are trained as they are: every row, and every call."""

import json
from pathlib import Path

import pytest
from conftest import ROOT
from forks import Server

FILES = ROOT.parent / "shared" / "data" / "llamafactory"
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not FILES.exists(), reason=f"needs the data in {FILES}")]
STEPS = 40


def train(server: Server, recipe: str, name: str, folder: Path, *more: str) -> str:
    """Trains on a file, prints the losses and checks that they fall; returns what the run has said."""
    flags = f"--dataset_name {FILES / name} --max_steps {STEPS} --logging_steps 1 --per_device_train_batch_size 4".split()
    flags += "--num_held_out 8 --eval_steps 20 --save_steps 20 --early_stopping_patience 0 --learning_rate 2e-3".split()
    run = server.start(f"recipes/{recipe}/train.py", *flags, *more, "--output_dir", str(folder), launched=False)
    assert run.wait(900) == [0], run.text()
    losses = [row["loss"] for row in map(json.loads, (folder / "metrics.jsonl").read_text().splitlines()) if "loss" in row]
    first, last = (sum(part) / 5 for part in (losses[:5], losses[-5:]))
    print(f"{recipe} on {name}: loss a token {first:.2f} in the first five steps, {last:.2f} in the last five of {STEPS}")
    assert last < first - 0.5
    return run.text()


@pytest.mark.timeout(1000)
def test_alpaca(server: Server, tmp_path: Path):
    said = train(server, "sft_instruct", "alpaca_en_demo.json", tmp_path / "run", "--max_length", "2048")
    assert "alpaca_en_demo.json: 999 rows" in said
    assert "Left out" not in said


@pytest.mark.timeout(1000)
def test_glaive(server: Server, tmp_path: Path):
    more = ["--max_length", "4096", "--skip_bad_rows", "true"]
    said = train(server, "trl_function_calling", "glaive_toolcall_en_demo.json", tmp_path / "run", *more)
    assert "300 rows of conversations (conversations, tools)" in said
    assert "conversations whose calls have a value that their tool's schema does not allow: 1." in said
    left_out = next(line for line in said.splitlines() if line.startswith("Left out"))
    assert left_out.startswith("Left out 5 of 231 rows of")
    assert left_out.endswith("By kind: 5 x the conversation has N tokens and max_length is N")
