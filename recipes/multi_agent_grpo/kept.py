"""What was measured, kept in files: a run that is continued reads it instead of measuring again."""

import json
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from common.errors import is_main_process
from common.generate.completions import Completion
from common.run.disk import naming_disk_faults
from common.run.files import write_whole

from combine import Measured, Outcome


def read(path: Path) -> Measured:
    """Reads what a file of `once` keeps."""
    content = json.loads(path.read_text(encoding="utf-8"))
    outcomes = {name: Outcome(**outcome) for name, outcome in content["outcomes"].items()}
    return outcomes, [{name: Completion(**done) for name, done in row.items()} for row in content["said"]]


def once(path: Path, measure: Callable[[], Measured]) -> Measured:
    """Measures, and keeps the result in a file, or reads what the file keeps.

    Args:
        path: The file; with a suffix .json.
        measure: Measures; called on every process.
    """
    if path.exists():
        return read(path)
    started = time.monotonic()
    outcomes, said = measure()
    if is_main_process():
        content = {
            "seconds": round(time.monotonic() - started, 2),
            "outcomes": {name: asdict(outcome) for name, outcome in outcomes.items()},
            "said": [{name: asdict(done) for name, done in row.items()} for row in said],
        }
        with naming_disk_faults(path.parent):
            write_whole(path, json.dumps(content) + "\n")
    return outcomes, said
