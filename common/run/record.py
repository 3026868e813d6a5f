"""What a run writes about itself, and whether an output folder belongs to it."""

import fcntl
import json
import os
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any, TextIO

from common.data.runs import COMPLETE, RECORD
from common.errors import fail, is_main_process, say

import torch
import yaml
from transformers import TrainingArguments

_locks: list[TextIO] = []
PACKAGES = ["torch", "transformers", "accelerate", "deepspeed", "trl", "peft", "datasets"]

# Settings that may differ between the parts of an interrupted run: they change what is shown or kept, not what is learned.
MAY_CHANGE = {
    "dataloader_num_workers",
    "ddp_timeout",
    "disable_tqdm",
    "local_rank",
    "log_completions",
    "log_level",
    "num_completions_to_print",
    "output_dir",
    "project",
    "report_to",
    "run_name",
    "save_total_limit",
}


def recipe_name(script: str) -> str:
    """Returns a recipe's name: the folder of its script."""
    return Path(script).resolve().parent.name


def _settings(args: TrainingArguments) -> dict[str, Any]:
    kept = {name: value for name, value in args.run_values.items() if name not in MAY_CHANGE}
    return json.loads(json.dumps(kept, default=str))


def check_output_dir(script: str, args: TrainingArguments) -> None:
    """Makes sure that the output folder is new, or holds this very run, before anything is loaded. Writes nothing.

    Args:
        script: The recipe's `__file__`.
        args: The training arguments, with `run_values` from `common.run.config.parse`.

    Raises:
        SystemExit: With code 0 if the run is complete already. With code 2 if the folder holds something else: a run of
            another recipe or with other settings, or this run on another number of processes.
    """
    folder, elsewhere = Path(args.output_dir), "choose another --output_dir"
    parent = next(path for path in folder.absolute().parents if path.exists())
    if not folder.exists() and not (parent.is_dir() and os.access(parent, os.W_OK)):
        fail(f"output_dir {folder} cannot be made: {parent} is not a folder that you may write in; {elsewhere}")
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not (folder / RECORD).exists():
        fail(f"output_dir {folder} is there already and is not of a run of these recipes; {elsewhere}")
    with open(folder / RECORD) as file:
        run = json.load(file)
        try:
            if is_main_process():
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            fail(f"output_dir {folder}: a run is going on there; end it first (`ps aux | grep train.py`), or {elsewhere}")
    if run["recipe"] != recipe_name(script):
        fail(f"output_dir {folder} holds a run of the recipe {run['recipe']}, not {recipe_name(script)}; {elsewhere}")
    settings = _settings(args)
    changed = [name for name in settings if run["settings"].get(name, settings[name]) != settings[name]]
    if changed:
        name, more = changed[0], f" (and {len(changed) - 1} more)" if len(changed) > 1 else ""
        fail(
            f"output_dir {folder} holds a run with {name} {run['settings'][name]}, this one has {settings[name]}{more}; "
            f"continue it with its own settings, or {elsewhere}"
        )
    if (folder / COMPLETE).exists():
        say(f"This run is complete: see {folder}/report.html. For a new one {elsewhere}.")
        raise SystemExit(0)
    if run["world_size"] != args.world_size:
        fail(
            f"output_dir {folder} holds a run on {run['world_size']} processes, this launch has {args.world_size} and "
            f"checkpoints are split by process; launch with --num_processes {run['world_size']}, or {elsewhere}"
        )


def versions() -> dict[str, str]:
    """Returns the versions that a result depends on, and the repository's git revision where there is one."""
    found = {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}
    git = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=12"],
        cwd=Path(sys.argv[0]).resolve().parent,
        capture_output=True,
        text=True,
    )
    found["git revision"] = git.stdout.strip() or "not a git checkout"
    if torch.cuda.is_available():
        found["GPU"] = torch.cuda.get_device_name()
    return found


def launcher(args: TrainingArguments) -> str:
    """Returns how the run was started and what is sharded, as a line."""
    if args.deepspeed_plugin is not None:
        sharding = f"DeepSpeed ZeRO-{args.deepspeed_plugin.zero_stage}"
    else:
        sharding = "DDP" if args.world_size > 1 else "no sharding"
    precision = "bf16" if args.bf16 else "fp16" if args.fp16 else "fp32"
    return f"{args.world_size} x {args.device.type}, {sharding}, {precision}"


def write_record(script: str, args: TrainingArguments) -> None:
    """Writes run.json, which later starts are compared with, and config.yaml, the resolved settings for people.

    config.yaml can be passed to `--config` to run the same again. The record of an interrupted run stays as it is. While
    this process lives it holds a lock on run.json, so that the same command given twice does not train twice in one folder.

    Args:
        script: The recipe's `__file__`.
        args: The training arguments, with `run_values` from `common.run.config.parse`.
    """
    folder = Path(args.output_dir)
    if not is_main_process():
        return
    if not (folder / RECORD).exists():
        folder.mkdir(parents=True, exist_ok=True)
        header = [f"# {recipe_name(script)}: {launcher(args)}"]
        header += [f"# {name}: {value}" for name, value in versions().items()]
        given = {name: value for name, value in args.run_values.items() if value is not None and name != "output_dir"}
        values = yaml.safe_dump(json.loads(json.dumps(given, default=str)))
        (folder / "config.yaml").write_text("\n".join(header) + "\n" + values)
        recipe = {"recipe": recipe_name(script), "folder": str(Path(script).resolve().parent)}
        run = recipe | {"world_size": args.world_size, "settings": _settings(args)}
        (folder / f".{RECORD}").write_text(json.dumps(run, indent=1) + "\n")
        os.replace(folder / f".{RECORD}", folder / RECORD)
    _locks.append(open(folder / RECORD))  # noqa: SIM115 - closed, and so unlocked, when the process ends
    fcntl.flock(_locks[-1], fcntl.LOCK_EX)
