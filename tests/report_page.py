"""A run's folder, and what stands in its page."""

import json
import re
from pathlib import Path

from common.report.page import Curve, write_report

CURVES = [
    Curve("Accuracy", {"held out": "held_out:accuracy", "unseen": "unseen_numbers:accuracy"}, percent=True),
    Curve("Reward", {"reward": "reward", "never logged": "no_such_key"}),
    Curve("Not in this run", {"entropy": "entropy"}),
]


def share(value: float) -> dict:
    return {"value": value, "low": value - 0.043, "high": value + 0.047}


def evaluation(step: int, split: str, accuracy: float) -> dict:
    metrics = {"accuracy": share(accuracy), "mean_completion_length": {"value": 18.44}}
    return {"step": step, "seconds": 2.0 * step, "split": split, "count": 400, "metrics": metrics}


def sample(step: int, question: str, correct: bool, completion: str = "<think>\n6*7=42\n</think>\n42") -> dict:
    row = {"step": step, "split": "held_out", "question": question, "answer": "42", "completion": completion}
    return row | {"correct": correct}


def write_rows(path: Path, rows: list[dict]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def report(folder: Path, **more) -> str:
    settings = {"title": "GRPO on maths", "summary": "Tiny.", "curves": CURVES, "facts": {"Memory": "2 GiB"}}
    path = write_report(folder, **settings, **{"state": "interrupted"} | more)  # a complete run is drawn as a picture, too
    assert path == folder / "report.html"
    assert not list(folder.glob("*.tmp"))
    return path.read_text()


def visible(page: str) -> str:
    """Returns the text a reader sees, each run of white space as one space."""
    body = re.sub(r"<[^>]*>", " ", without_script(page).split("</style>")[1])
    return " ".join(body.split())


def without_script(page: str) -> str:
    """Returns what a reader has whose browser runs no script."""
    return re.sub(r"<script.*?</script>", "", page, flags=re.S)


def data_of(page: str) -> dict:
    """Returns what the script shows."""
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)[1])


def make_run(folder: Path) -> Path:
    """Writes what a run of sixty steps leaves, which gets nearly all right."""
    metrics = [{"step": step, "seconds": 2.0 * step, "reward": step / 60} for step in range(1, 61)]
    for split in ("held_out", "unseen_numbers"):
        metrics += [evaluation(0, split, 0.3), evaluation(30, split, 0.7), evaluation(60, split, 0.92)]
    write_rows(folder / "metrics.jsonl", metrics)
    after = {"Q1": True, "Q2": True, "Q3": True, "Q4": True, "Q5": True, "Q6": False}
    rows = [sample(0, question, correct=False) for question in after]
    rows += [sample(60, question, correct) for question, correct in after.items()]
    write_rows(folder / "samples.jsonl", rows)
    (folder / "config.yaml").write_text("# trl 1.16\nlearning_rate: 1.0e-3 # <fast>\n")
    return folder
