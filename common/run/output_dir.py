"""The output folder of a run: whether a run can be there, of which number it is, and that nobody else writes into it."""

import os
from pathlib import Path
from typing import Any

from common.data.runs import COMPLETE, RECORD, parse_record
from common.errors import fail, is_main_process, say
from common.run.disk import SEEN, check_shared
from common.run.lock import LOCK, lock_folder
from common.run.record import record_of
from common.run.signals import end_with_launcher

from accelerate.utils import broadcast_object_list
from transformers import TrainingArguments

# What a start that was killed in its first moments may leave: nothing that another one would miss.
LEFTOVERS = {LOCK, SEEN, RECORD, f".{RECORD}", "config.yaml", ".config.yaml", "logs"}  # logs: of a launcher, as in cluster/


def _difference(run: dict[str, Any], this: dict[str, Any]) -> str | None:
    """Returns how a folder's run differs from this one and what to do about it, or None if it is the same."""
    if run["recipe"] != this["recipe"]:
        return f"holds a run of the recipe {run['recipe']}, not {this['recipe']}"
    if run.get("script", this["script"]) != this["script"]:  # 0.1.0 did not record it
        return f"holds a run of {run['script']}, not of {this['script']}"
    changes = [
        (name, run["settings"][name], value)
        for name, value in this["settings"].items()
        if run["settings"].get(name, value) != value
    ]
    if changes:
        (name, was, now), more = changes[0], f" (and {len(changes) - 1} more)" if len(changes) > 1 else ""
        return f"holds a run with {name} {was}, this one has {now}{more}; continue it with its own settings"
    inputs = run.get("inputs", this["inputs"])
    changed = [name for name in sorted(inputs.keys() | this["inputs"]) if inputs.get(name) != this["inputs"].get(name)]
    if changed:
        was, now = inputs.get(changed[0], "not there"), this["inputs"].get(changed[0], "not there")
        return f"holds a run that began with another {changed[0]} ({was}; now {now}); put that back"
    return None


def _other_launch(folder: Path, run: dict[str, Any], this: dict[str, Any]) -> str | None:
    """Returns how the launch of a folder's run differs from this one, and what to do about it."""
    was, now = run["world_size"], this["world_size"]
    if was != now:
        return (
            f"holds a run on {was} processes, this launch has {now} and checkpoints are split by process; launch with "
            f"--num_processes {was}, convert a copy (`recipes reshard {folder} --num_processes {now}`)"
        )
    if run.get("sharding", this["sharding"]) != this["sharding"]:
        return (
            f"holds a run with {run['sharding']}, this launch has {this['sharding']} and checkpoints are written by it; launch "
            "as before"
        )
    return None


def _unwritable(folder: Path) -> str | None:
    """Returns why a run cannot write into a folder, or None if it can; it may have to be made."""
    if os.path.lexists(folder) and not folder.is_dir():
        return "is there already and is not of a run of these recipes"
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if os.path.exists(path))
    made = "cannot be used" if there == folder.absolute() else "cannot be made"
    if not there.is_dir() or not os.access(there, os.R_OK | os.W_OK | os.X_OK):
        return f"{made}: {there} is not a folder that you may write in"
    if there == folder.absolute():
        for path in there.iterdir():  # of another user's run, in a folder that all may write into
            if not os.access(path, os.R_OK | os.W_OK) and os.path.exists(path):
                return f"{made}: you may not write into {path}; it may be another user's run"
    return None


def _look(folder: Path, this: dict[str, Any]) -> tuple[str | None, bool]:
    """Returns why a run cannot be in a folder (None if it can), and whether it is finished there. Writes nothing."""
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    run = parse_record(folder)
    if run is None and names <= LEFTOVERS:
        return None, False
    if run is None and RECORD not in names:
        return "is there already and is not of a run of these recipes", False
    if run is None:
        return f"holds a run whose {RECORD} is damaged, so nothing can continue it; remove it (`rm -r {folder}`)", False
    return _difference(run, this) or _other_launch(folder, run, this), COMPLETE in names and _difference(run, this) is None


def _choose(script: str, args: TrainingArguments) -> tuple[str, str | None, bool]:
    """Returns the folder of this run, why it cannot be there, and whether it is finished there; locks it."""
    this, number, chosen = record_of(script, args), 1, args.output_dir
    while True:
        folder = Path(chosen)
        problem, finished = _unwritable(folder), False
        if problem is None:
            problem, finished = _look(folder, this)
            if problem is None and not finished:
                try:
                    holder = lock_folder(folder)
                except OSError as error:
                    return chosen, f"cannot be used: {error.filename or folder}: {error.strerror or error}", False
                if holder is not None:
                    return chosen, f"is in use: a run is going on there{holder}; end it first (`ps aux | grep train.py`)", False
                problem, finished = _look(folder, this)  # again, now that nobody else can change it
        if problem is None or not args.has_default_output_dir or problem.startswith("cannot be"):
            return chosen, problem, finished
        number += 1
        chosen, passed = f"{args.output_dir}-{number}", chosen
        say(f"output_dir {passed} {problem.partition(';')[0]}: this one goes to {chosen}.")


def check_output_dir(script: str, args: TrainingArguments) -> None:
    """Makes sure that the output folder is new, or holds this very run, before anything is loaded, and locks it.

    A folder that was not chosen with `output_dir` gets a number if it holds something else: the first one that is free, or
    that holds this very run. The main process chooses for all. But for the lock, which goes when the process ends, nothing is
    written.

    Args:
        script: The recipe's `__file__`.
        args: The training arguments, with `run_values` and `has_default_output_dir` from `common.run.config.parse`.

    Raises:
        SystemExit: With code 0 if the run is complete already. With code 2 if a run is going on in the folder, or it holds
            something else (another recipe, settings, inputs or number of processes), or is not seen by all machines.
    """
    end_with_launcher(args)
    verdict = [_choose(script, args) if is_main_process() else None]
    if args.world_size > 1:
        broadcast_object_list(verdict)
    args.output_dir, problem, finished = verdict[0]
    if finished:
        say(f"This run is complete: see {args.output_dir}/report.html. For a new one choose another --output_dir.")
        raise SystemExit(0)
    if problem:
        cure = problem.partition("; ")[2]
        fail(f"output_dir {args.output_dir} {problem}{', or' if cure else ';'} choose another --output_dir")
    if args.world_size > 1:
        check_shared(Path(args.output_dir))
