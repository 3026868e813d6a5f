"""The settings that every training has, beside TRL's and the recipe's own: its end, its updates, what trackers get."""

import os
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common.data.sources import sources_of
from common.errors import fail, say


@dataclass
class RunArguments:
    """When a training stops before its end, how large its updates are, and what its trackers get."""

    max_run_time: str | None = field(
        default=None,
        metadata={"help": "Save and stop after this time, as H:MM:SS from the start of the process: a job's time limit."},
    )
    stop_on_spike: bool = field(
        default=False, metadata={"help": "Stop when the loss leaps to ten times its running median; otherwise it is only said."}
    )
    track_samples: bool = field(
        default=False,
        metadata={
            "help": "Also hand the kept samples and report.html to the trackers of report_to: they hold rows of your data."
        },
    )
    tokens_per_update: int | None = field(
        default=None,
        metadata={
            "help": "Tokens of an update on all GPUs, in rows of max_length; gradient_accumulation_steps follows from it."
        },
    )


def seconds_of(time: str) -> int | None:
    """Returns the seconds of a time as H:MM:SS, or None if it is none."""
    match = re.fullmatch(r"(\d+):([0-5]\d):([0-5]\d)", time)
    seconds = int(match[1]) * 3600 + int(match[2]) * 60 + int(match[3]) if match else 0
    return seconds or None


def default_output_dir(recipe: str, name: str, dataset_name: str, usual: str | None) -> str:
    """Returns the folder of a run that names none: `outputs/RECIPE/NAME`, with the data's name behind it if that is not usual.

    Args:
        recipe: The recipe's name.
        name: That of the yaml, for example `tiny`.
        dataset_name: The data.
        usual: The data that the yaml names.
    """
    folder = Path("outputs") / recipe / name
    if dataset_name != usual:
        names = [Path(name).name for name, _ in sources_of(dataset_name)]
        data = "+".join(re.sub(r"(\.(jsonl|ndjson|json|csv|tsv|parquet|txt|gz|zst))+$", "", name, flags=re.I) for name in names)
        folder = folder.with_name(f"{name}-{re.sub(r'[^A-Za-z0-9._+-]+', '_', data)[:60]}")
        say(f"output_dir {folder}: named after the data too.")
    return str(folder)


def hide_token(*settings: dict[str, Any]) -> None:
    """Hands the hub's token to the libraries by the environment, where nothing writes it down, and takes it from the flags.

    Args:
        *settings: Settings by name, the later ones win; `hub_token` becomes None.
    """
    for values in settings:
        if values.get("hub_token"):
            os.environ["HF_TOKEN"], values["hub_token"] = values["hub_token"], None
    for position in reversed(range(1, len(sys.argv))):  # trackers keep the command line
        flag, has_value, _ = sys.argv[position].partition("=")
        if flag in ("--hub_token", "--hub-token"):
            del sys.argv[position : position + (1 if has_value else 2)]


def check_run(values: dict[str, Any]) -> None:
    """Refuses a time that is none, and processes that do not know of each other.

    Args:
        values: The settings by name.

    Raises:
        SystemExit: With code 2.
    """
    # SLURM_STEP_NUM_TASKS is of the step, SLURM_NTASKS of the whole job: an interactive shell of two tasks is one process.
    tasks = int(os.environ.get("SLURM_STEP_NUM_TASKS") or os.environ.get("SLURM_NTASKS") or 1)
    if "SLURM_PROCID" in os.environ and tasks > 1 and "RANK" not in os.environ:
        fail(
            f"srun started {tasks} tasks that do not know of each other: each would train the whole run; start one task on a "
            "machine, and in it a launcher: `srun --ntasks-per-node 1 accelerate launch ...`"
        )
    if values["max_run_time"] is not None and seconds_of(values["max_run_time"]) is None:
        fail(f"max_run_time {values['max_run_time']}: not a time as H:MM:SS; three hours and fifty minutes are 3:50:00")
