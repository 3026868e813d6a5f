"""Pages run from top to bottom as they stand, nothing made smaller: `pytest -s` says what each block took."""

import json
import re
import time
from pathlib import Path
from statistics import mean, stdev

import pytest
from conftest import run_command

OTHER_MACHINES = re.compile(r"^# needs (?:GPUs|the hub|files)", re.MULTILINE)


def follow(page: str, root: Path) -> str:
    """Gives a page's ```bash blocks to a shell, one after the other; returns what they print."""
    printed = ""
    for block in re.findall(r"^```bash\n(.*?)^```", (root / page).read_text(), re.DOTALL | re.MULTILINE):
        here = OTHER_MACHINES.split(block)[0]
        begun = time.monotonic()
        ended = run_command(["bash", "-ec", here], timeout=1800, cwd=root, PYTHONPATH=str(root))
        print(f"{time.monotonic() - begun:6.0f} s  {here.splitlines()[0] if here else ''}\n{ended.stdout}")
        assert ended.returncode == 0, f"{here}\n{ended.stdout}{ended.stderr}"
        printed += ended.stdout
    return printed


def measured(run: Path) -> list[dict]:
    """Returns what a run measured on its held-out rows, in order."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [row["metrics"] for row in rows if row.get("split") == "held_out"]


@pytest.mark.slow
def test_own_data(checkout: Path):
    printed = follow("docs/own_data.md", checkout)
    for name, metric, least in (("my_shop", "exact_match", 0.5), ("my_farm", "accuracy", 0.6)):
        first, *_, last = measured(checkout / "outputs" / name / f"tiny-{name}")
        assert first[metric]["high"] < 0.25
        assert last[metric]["value"] > least
    assert "Shelf 28, first floor" in printed
    # The advantages that the run recorded are those of docs/grpo_by_hand.md.
    for line in (checkout / "outputs" / "my_farm" / "tiny-my_farm" / "rollouts.jsonl").read_text().splitlines():
        group = json.loads(line)["completions"]
        rewards = [completion["reward"] for completion in group]
        for completion in group:
            by_hand = (completion["reward"] - mean(rewards)) / (stdev(rewards) + 1e-4)
            assert completion["advantage"] == pytest.approx(by_hand, abs=5e-3)


@pytest.mark.slow
def test_swap_the_trainer(checkout: Path):
    follow("docs/swap_the_trainer.md", checkout)
    first, *_, last = measured(checkout / "outputs" / "preferences" / "tiny")
    assert first["words"]["value"] > 2
    assert last["words"]["value"] < 1.5
    assert last["named"]["value"] > 0.8
