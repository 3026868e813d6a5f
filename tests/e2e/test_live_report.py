"""The report of a run that trains, watched in a browser: it keeps up, and says when the run was interrupted."""

import json
import signal
from pathlib import Path

import pytest
from browser import browser, needs_browser
from conftest import GRPO_MATH, SHORT
from forks import Server, wait_for


@pytest.mark.slow
@needs_browser
def test_a_run_is_watched_while_it_trains_and_when_it_is_interrupted(server: Server, output_dir: Path, tmp_path: Path):
    longer = [*SHORT, "--max_steps", "40", "--eval_steps", "2", "--output_dir", str(output_dir)]
    started = server.start(GRPO_MATH, *longer, launched=False)
    report = output_dir / "report.html"
    wait_for(report.exists, started)
    with browser(tmp_path / "browser") as page:
        page.open(report)
        assert "Training; written" in page.value("document.getElementById('state').textContent")
        steps = (
            "[...document.querySelectorAll('.headline small')].map((one) => parseInt(one.textContent.split('step ')[1] || 0))"
        )
        step = f"Math.max(...{steps})"
        page.wait_for(f"{step} >= 4", timeout=120)
        page.wait_for("document.querySelectorAll('#groups .rollout').length >= 8")
        started.send(signal.SIGTERM)
        assert started.wait() == [143]
        page.wait_for("document.getElementById('state')?.textContent.startsWith('Interrupted')", timeout=60)
        assert page.complaints == []
    rows = [json.loads(line) for line in (output_dir / "rollouts.jsonl").read_text().splitlines()]
    for row in rows:
        advantages = [completion["advantage"] for completion in row["completions"]]
        rewards = [completion["reward"] for completion in row["completions"]]
        assert sum(advantages) == pytest.approx(0, abs=1e-2)
        assert len(set(rewards)) == 1 or rewards.index(max(rewards)) == advantages.index(max(advantages))
    # Continued, it writes no step twice.
    again = server.start(GRPO_MATH, *longer, launched=False)
    assert again.wait(timeout=600) == [0], again.text()
    steps = [json.loads(line)["step"] for line in (output_dir / "rollouts.jsonl").read_text().splitlines()]
    assert steps == sorted(steps)
    assert {steps.count(step) for step in steps} == {2}
    assert "Interrupted" not in report.read_text().partition("<script")[0]
