"""The folder of a run, read: its record, and which checkpoint is complete."""

import json
import math
import re
from pathlib import Path
from typing import Any

from common.data.checksum import checksum
from common.errors import fail, say

RECORD = "run.json"
# In a run's folder an empty file: the run is finished. In a checkpoint its mark, written when every process has written its
# part: {rank: {file: [bytes, checksum]}}. Empty marks are of 0.1.0, which kept no checksums.
COMPLETE = "complete"


def finite(data: Any) -> Any:
    """Returns data for JSON, which knows no NaN and no infinity: None in their place, also within lists and dictionaries."""
    if isinstance(data, dict):
        return {key: finite(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [finite(value) for value in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data


def run_of(folder: str | Path) -> Path:
    """Returns the folder of the run that a folder belongs to: the parent of a checkpoint, else the folder itself."""
    folder = Path(folder)
    return folder.parent if re.fullmatch(r"checkpoint-\d+", folder.name) else folder


def read_record(folder: str | Path) -> tuple[Path, dict[str, Any]]:
    """Reads run.json of a run.

    Args:
        folder: The run's folder, or one of its checkpoints.

    Returns:
        The run's folder, and what `write_record` wrote; records of 0.1.0 have neither `sharding` nor `inputs`.

    Raises:
        SystemExit: With code 2 if there is no run, or its record cannot be read.
    """
    run = run_of(folder)
    try:
        (run / RECORD).open("rb").close()
    except PermissionError:
        fail(f"{run / RECORD}: you may not read it; ask its owner, or pass the --output_dir of another run")
    except OSError:
        fail(f"{folder} is not a run of these recipes (there is no {run / RECORD}); pass the --output_dir of a run")
    record = parse_record(run)
    if record is None:
        fail(f"{run / RECORD} is damaged, or not of these recipes; pass the --output_dir of another run")
    return run, record


def parse_record(run: Path) -> dict[str, Any] | None:
    """Returns what stands in run.json of a run, or None if it is missing or not what a run writes."""
    try:
        record = json.loads((run / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    whole = isinstance(record, dict) and isinstance(record.get("recipe"), str) and isinstance(record.get("settings"), dict)
    return record if whole and isinstance(record.get("world_size"), int) else None


def checkpoint_steps(output_dir: str | Path) -> list[int]:
    """Returns the steps of a run's checkpoints, the newest first, complete or not."""
    found = (re.fullmatch(r"checkpoint-(\d+)", path.name) for path in Path(output_dir).glob("checkpoint-*"))
    return sorted((int(match[1]) for match in found if match), reverse=True)


def damage(checkpoint: Path, rank: int | None = None) -> str | None:
    """Returns what is wrong with a checkpoint, or None if it is what was marked as complete.

    Args:
        checkpoint: Its folder.
        rank: Of which process the files are looked at; of all if not given.
    """
    try:
        mark = (checkpoint / COMPLETE).read_text(encoding="utf-8")
        files = json.loads(mark) if mark else {}
    except OSError:
        return "is incomplete (the run was stopped while it was written)"
    except ValueError:
        return "is damaged (its mark cannot be read)"
    for owner, parts in files.items():
        for name, (size, expected) in parts.items() if rank in (None, int(owner)) else ():
            path = checkpoint / name
            if not path.is_file():
                return f"is damaged ({name} is missing)"
            if path.stat().st_size != size:
                return f"is damaged ({name} has {path.stat().st_size} bytes instead of {size})"
            if checksum(path) != expected:
                return f"is damaged ({name} is not what was written)"
    return None


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Reads metrics.jsonl or samples.jsonl of a run.

    A run that was killed while it wrote leaves half a last line: it is left out, and a run that is continued writes it again.
    Anything else that is no row was damaged later. It is an error, since a report would be wrong without the row.

    Args:
        path: The file.

    Returns:
        Its rows in order; none if there is no file.

    Raises:
        SystemExit: With code 2 if a line before the last is no row.
    """
    rows, damaged = parse_rows(path)
    if damaged:
        fail(f"{path}, line {damaged[0]} is damaged; remove the line, or put back the file that the run has written")
    return rows


def parse_rows(path: Path) -> tuple[list[dict[str, Any]], list[int]]:
    """Returns the rows of a file as `read_rows` does, and the numbers of the lines before the last that are none, from 1."""
    lines = path.read_bytes().rstrip().split(b"\n") if path.is_file() else []
    rows, damaged = [], []
    for number, line in enumerate(lines, start=1):
        try:
            rows.append(json.loads(line))
        except ValueError:
            if number < len(lines):
                damaged.append(number)
    return rows, damaged


def last_evaluations(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Returns the last evaluation of each held-out set, by its name: that of the weights that are kept, in a finished run.

    Args:
        rows: Those of metrics.jsonl.
    """
    return {row["split"]: row for row in rows if "split" in row}


def newest_complete_checkpoint(output_dir: str | Path) -> Path | None:
    """Returns the newest complete checkpoint of a run; torn and damaged ones are passed over, and that is said.

    transformers itself picks the highest number, complete or not (huggingface/transformers#35782). A torn checkpoint stays
    where it is until the run comes to that step again and overwrites it.

    Args:
        output_dir: The run's folder.

    Returns:
        The checkpoint's folder, or None if there is none and the run starts from its beginning.
    """
    for step in checkpoint_steps(output_dir):
        checkpoint = Path(output_dir) / f"checkpoint-{step}"
        wrong = damage(checkpoint)
        if wrong is None:
            return checkpoint
        say(f"{checkpoint} {wrong}: passing over it.")
    return None
