"""What a run writes about itself."""

import json
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any
from uuid import uuid4

from common.data.runs import RECORD, parse_record
from common.errors import is_main_process
from common.run.disk import naming_disk_faults
from common.run.files import write_whole
from common.run.fingerprint import fingerprints
from common.run.signals import REQUEUE

import torch
import yaml
from transformers import TrainingArguments

PACKAGES = ["torch", "transformers", "accelerate", "deepspeed", "trl", "peft", "datasets"]
# Settings that may differ between the parts of an interrupted run: they change what is shown or kept, not what is learned.
MAY_CHANGE = {
    "dataloader_num_workers",
    "dataloader_persistent_workers",
    "dataloader_pin_memory",
    "dataloader_prefetch_factor",
    "ddp_timeout",
    "disable_tqdm",
    "eval_on_start",
    "eval_steps",
    "hub_token",
    "local_rank",
    "log_completions",
    "log_level",
    "log_level_replica",
    "log_on_each_node",
    "logging_first_step",
    "logging_steps",
    "logging_strategy",
    "max_run_time",
    "num_completions_to_print",
    "output_dir",
    "per_device_eval_batch_size",
    "project",
    "report_to",
    "run_name",
    "save_steps",
    "save_strategy",
    "save_total_limit",
    "stop_on_spike",
    "track_samples",
    "trackio_space_id",
}


def _settings(args: TrainingArguments) -> dict[str, Any]:
    kept = {name: value for name, value in args.run_values.items() if name not in MAY_CHANGE}
    return json.loads(json.dumps(kept, default=str))


def sharding(args: TrainingArguments) -> str:
    """Returns what the launcher shards over the processes, as words."""
    if args.deepspeed_plugin is not None:
        return f"DeepSpeed ZeRO-{args.deepspeed_plugin.zero_stage}"
    return "DDP" if args.world_size > 1 else "no sharding"


def launcher(args: TrainingArguments) -> str:
    """Returns how the run was started and what is sharded, as a line."""
    precision = "bf16" if args.bf16 else "fp16" if args.fp16 else "fp32"
    return f"{args.world_size} x {args.device.type}, {sharding(args)}, {precision}"


def record_of(script: str, args: TrainingArguments) -> dict[str, Any]:
    """Returns what run.json holds of a run, see `write_record`."""
    folder = Path(script).resolve().parent
    return {
        "recipe": folder.name,
        "script": Path(script).name,
        "world_size": args.world_size,
        "sharding": sharding(args),
        "settings": _settings(args),
        "inputs": fingerprints(args.run_values, folder),
    }


def versions() -> dict[str, str]:
    """Returns the versions that a result depends on, and the repository's git revision where there is one."""
    found = {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        git = subprocess.run(command, cwd=Path(sys.argv[0]).resolve().parent, capture_output=True).stdout
    except OSError:  # there is no git
        git = b""
    found["git revision"] = git.decode(errors="replace").strip() or "not a git checkout"
    if torch.cuda.is_available():
        found["GPU"] = torch.cuda.get_device_name()
    return found


def write_record(script: str, args: TrainingArguments) -> None:
    """Writes run.json, which later starts are compared with, and config.yaml, the resolved settings for people.

    config.yaml can be passed to `--config` to run the same again. The record of an interrupted run stays as it is; that it is
    to be queued again is taken back.

    Args:
        script: The recipe's `__file__`.
        args: The training arguments, with `run_values` from `common.run.config.parse`.
    """
    folder = Path(args.output_dir)
    if not is_main_process():
        return
    with naming_disk_faults(folder, then="give the same command again"):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / REQUEUE).unlink(missing_ok=True)
        if parse_record(folder) is None:
            record = record_of(script, args) | {"id": uuid4().hex[:8]}  # by which a tracker knows it when it is continued
            write_whole(folder / RECORD, json.dumps(record, indent=1) + "\n")
            (folder / "config.yaml").unlink(missing_ok=True)
        if not (folder / "config.yaml").exists():
            header = [f"# {Path(script).resolve().parent.name}: {launcher(args)}"]
            header += [f"# {name}: {value}" for name, value in versions().items()]
            # gradient_checkpointing is the name that activation_checkpointing had before, with a default of its own.
            left_out = {"output_dir", "gradient_checkpointing"}
            given = {name: value for name, value in args.run_values.items() if value is not None and name not in left_out}
            values = yaml.safe_dump(json.loads(json.dumps(given, default=str)))
            write_whole(folder / "config.yaml", "\n".join(header) + "\n" + values)
