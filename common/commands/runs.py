"""`recipes runs`: what has been trained, how far it is and how good it has become."""

import json
import os
import re
from pathlib import Path
from typing import Any

from common.commands import places
from common.data.runs import COMPLETE, RECORD, checkpoint_steps, last_evaluations, parse_record, parse_rows
from common.errors import fail
from common.report.numbers import format_value
from common.report.table import Table
from common.run.lock import is_locked


def _find(folder: Path) -> list[Path]:
    """Returns the folders of the runs in a folder, itself perhaps; parts of a run (a team's) and its checkpoints are none."""
    found = []
    for path, folders, files in os.walk(folder):
        if RECORD in files:
            found.append(Path(path))
            folders.clear()
    return found


def _parts(run: Path) -> list[Path]:
    """Returns the folders of a run's parts, in the order in which they began."""
    return sorted((record.parent for record in run.glob(f"*/{RECORD}")), key=lambda part: (part / RECORD).stat().st_mtime)


def _changed(run: Path) -> float:
    """Returns when a run or a part of it has written its rows last, or began: seconds since 1970."""
    files = [folder / name for folder in (run, *_parts(run)) for name in (RECORD, "metrics.jsonl")]
    return max(file.stat().st_mtime for file in files if file.exists())


def _whole_steps(run: Path) -> list[int]:
    """Returns the steps of the checkpoints that are marked as whole, the newest first; their checksums are not looked at."""
    return [step for step in checkpoint_steps(run) if (run / f"checkpoint-{step}" / COMPLETE).exists()]


def state_of(run: Path, is_running: bool) -> str:
    """Returns what has become of a run, as far as its files tell.

    Args:
        run: Its folder.
        is_running: Whether it is going on.
    """
    if (run / COMPLETE).exists():
        return "complete"
    if is_running:
        return "training"
    diverged = [int(path.stem.rpartition("-")[2]) for path in run.glob("diverged-step-*.jsonl")]
    if diverged:
        return f"failed: diverged at step {max(diverged)}"
    steps = _whole_steps(run)
    if steps:
        return f"interrupted, continues from step {steps[0]}"
    begun = [part.name for part in _parts(run) if (part / COMPLETE).exists() or _whole_steps(part)]
    return f"interrupted, continues in {begun[-1]}" if begun else "interrupted, begins anew"


def _max_steps(run: Path, settings: dict[str, Any]) -> int | None:
    """Returns how many steps a run has: its setting, or what a checkpoint says where epochs are counted; None if neither."""
    if isinstance(settings.get("max_steps"), int) and settings["max_steps"] > 0:
        return settings["max_steps"]
    for step in _whole_steps(run):
        try:
            return json.loads((run / f"checkpoint-{step}" / "trainer_state.json").read_text(encoding="utf-8"))["max_steps"]
        except (OSError, ValueError, KeyError):  # damaged since: an older one says it too
            continue
    return None


def _describe(run: Path, is_running: bool) -> dict[str, Any]:
    """Returns what `recipes runs --json` says of a run, or of a part of one."""
    record, state, rows = parse_record(run), state_of(run, is_running), []
    try:
        rows, damaged = parse_rows(run / "metrics.jsonl")
        state += f"; metrics.jsonl, line {damaged[0]} is damaged" if damaged else ""
    except PermissionError:  # another user's, which must not hide one's own
        state += "; you may not read metrics.jsonl"
    if record is None:
        state = f"{RECORD} cannot be read"
    settings = record["settings"] if record else {}
    steps = [row["step"] for row in rows]
    is_complete = (run / COMPLETE).exists()
    step = (steps[-1] if is_complete else max(steps)) if steps else None  # the totals stand last; a team's parts count anew
    scores = {}
    for split, row in last_evaluations(rows).items():
        name, metric = next(iter(row["metrics"].items()))
        scores[split] = {"metric": name, **metric}
    return {
        "folder": places.shown(run),
        "recipe": record["recipe"] if record else None,
        "model": settings.get("model_name_or_path"),
        "data": settings.get("dataset_name"),
        "step": step,
        "max_steps": step if is_complete and steps else _max_steps(run, settings),
        "scores": scores,
        "state": state,
    }


def _line(found: dict[str, Any], name: str) -> list[str]:
    """Returns a run's line of the table."""
    steps = [str(found[key]) for key in ("step", "max_steps") if None not in (found["step"], found[key])]
    scores = [f"{split} {score['metric']} {format_value(score)}" for split, score in found["scores"].items()]
    cells = [found["recipe"], found["model"], found["data"], "/".join(steps), ", ".join(scores), found["state"]]
    return [name, *(re.sub(r"\s+", " ", cell or "-") for cell in cells)]


def list_runs(folder: Path, as_json: bool) -> None:
    """Lists the runs in a folder, the one that has changed last first: what they train on what, how far, and the last scores.

    Args:
        folder: Where to look, at any depth.
        as_json: Print a list of `folder`, `recipe`, `model`, `data`, `step`, `max_steps`, `scores` (by held-out set the name of
            the first metric, `value`, and `low`, `high` and `count` of a share), `state`, and of a team `parts`; nothing else.

    Raises:
        SystemExit: With code 2 and one line if there is no such folder, but for the one that the first run makes.
    """
    if not folder.is_dir() and folder != places.OUTPUTS:
        fail(f"{folder}: there is no such folder; pass the one that your runs are in (`--output_dir` of a run, or one above)")
    listed = []
    for run in sorted(_find(folder), key=_changed, reverse=True):
        is_running = is_locked(run)
        listed.append(_describe(run, is_running) | {"parts": [_describe(part, is_running) for part in _parts(run)]})
    if as_json:
        print(json.dumps(listed))
        return
    if not listed:
        print(f"No run is in {folder} yet.")
        return
    lines = []
    for found in listed:
        lines.append(_line(found, found["folder"]))
        lines += [_line(part, f"  {Path(part['folder']).name}") for part in found["parts"]]
    print(Table("Runs", ["run", "recipe", "model", "data", "step", "last scores", "state"], lines).as_text())
