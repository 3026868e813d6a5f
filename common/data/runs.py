"""The folder of a run, read: its record, and which checkpoint is complete."""

import json
import re
from pathlib import Path
from typing import Any

from common.errors import fail, say

RECORD = "run.json"
COMPLETE = "complete"  # an empty file, written into a checkpoint when every process has written its part


def read_record(folder: str | Path) -> tuple[Path, dict[str, Any]]:
    """Reads run.json of a run.

    Args:
        folder: The run's folder, or one of its checkpoints.

    Returns:
        The run's folder, and what `write_record` wrote; records of older runs have no `folder`.

    Raises:
        SystemExit: With code 2 if there is no run.
    """
    folder = Path(folder)
    run = folder.parent if re.fullmatch(r"checkpoint-\d+", folder.name) else folder
    if not (run / RECORD).is_file():
        fail(f"{folder} is not a run of these recipes (there is no {run / RECORD}); pass the --output_dir of a run")
    return run, json.loads((run / RECORD).read_text())


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
    lines = path.read_bytes().rstrip().split(b"\n") if path.is_file() else []
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            rows.append(json.loads(line))
        except ValueError:
            if number < len(lines):
                fail(f"{path}, line {number} is damaged; remove the line, or put back the file that the run has written")
    return rows


def newest_complete_checkpoint(output_dir: str | Path) -> Path | None:
    """Returns the newest complete checkpoint of a run; torn ones are passed over, and that is said.

    transformers itself picks the highest number, complete or not (huggingface/transformers#35782). A torn checkpoint stays
    where it is until the run comes to that step again and overwrites it.

    Args:
        output_dir: The run's folder.

    Returns:
        The checkpoint's folder, or None if there is none and the run starts from its beginning.
    """
    found = [(re.fullmatch(r"checkpoint-(\d+)", path.name), path) for path in Path(output_dir).glob("checkpoint-*")]
    for _, checkpoint in sorted(((int(match[1]), path) for match, path in found if match), reverse=True):
        if (checkpoint / COMPLETE).exists():
            return checkpoint
        say(f"{checkpoint} is incomplete (the run was stopped while it was written): passing over it.")
    return None
