"""`recipes eval RUN [flags]`: the recipe's evaluate.py with the model of a run."""

import re
from pathlib import Path

from common.commands import places
from common.data.runs import read_record
from common.errors import fail


def evaluate_run(run: Path, args: list[str]) -> None:
    """Evaluates the model of a run as its recipe does, in this process alone.

    Args:
        run: The run's folder, or one of its checkpoints.
        args: Flags of the recipe's evaluate.py.

    Raises:
        SystemExit: With code 2 and one line if there is no such run, or its recipe is not here.
    """
    _, record = read_record(run)
    recipe = places.recipe_of(record)
    if recipe is None:
        fail(
            f"there is no recipe {record['recipe']!r} here, of which {run} is a run; "
            "run `python FOLDER/evaluate.py` of yours, whose --help names the flag for a run"
        )
    script = recipe / "evaluate.py"
    if not script.is_file():
        fail(f"{places.shown(recipe)} has no evaluate.py; its report is {run}/report.html")
    named = re.search(r'run_flag="(\w+)"', script.read_text(encoding="utf-8"))  # what `parse` is told
    places.run_script(script, [f"--{named[1] if named else 'model_name_or_path'}", str(run), *args])
