"""An interrupted run, made into one that another number of processes continues."""

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

from common.data.runs import COMPLETE, RECORD, checkpoint_steps, damage, read_record
from common.errors import fail, say
from common.run.disk import check_room, naming_disk_faults
from common.run.files import open_to_readers, sync, write_whole
from common.run.lock import LOCK, lock_folder
from common.run.signals import REQUEUE
from common.run.universal import convert

import yaml

BATCH = ("per_device_train_batch_size", "gradient_accumulation_steps")


# --- Checking -----------------------------------------------------------------------------------------------------------


def _step_and_generation(settings: dict[str, Any], processes: int, batch: int, accumulation: int) -> tuple[int, int]:
    """Returns how many rows an optimizer step takes, and in GRPO how many completions are generated at once (else 0)."""
    step = batch * processes * accumulation
    if "num_generations" not in settings:
        return step, 0
    steps = settings.get("steps_per_generation") or accumulation
    return step, settings.get("generation_batch_size") or batch * processes * steps


def _fitting(settings: dict[str, Any], was: int, now: int) -> list[tuple[int, int]]:
    """Returns the batch sizes and accumulations with which a step of `now` processes takes the rows of one of `was`."""
    expected = _step_and_generation(settings, was, *(settings[name] for name in BATCH))
    micro_steps, rest = divmod(expected[0], now)
    found = []
    for accumulation in range(1, micro_steps + 1) if not rest else ():
        batch = micro_steps // accumulation
        same = _step_and_generation(settings, now, batch, accumulation) == expected
        if micro_steps % accumulation == 0 and same and expected[1] % (batch * now) == 0:
            found.append((batch, accumulation))
    return found


def _flags(settings: dict[str, Any], values: tuple[int, int]) -> str:
    """Returns the settings that differ from a run's, as one would type them; empty if none does."""
    changed = [(name, value) for name, value in zip(BATCH, values, strict=True) if settings[name] != value]
    return " ".join(f"--{name} {value}" for name, value in changed)


def _choose_batch(settings: dict[str, Any], was: int, now: int, given: tuple[int | None, int | None]) -> tuple[int, int]:
    """Returns batch size and accumulation of the new run; the rows of each step must stay the same, or it is another run."""
    batch, accumulation = (settings[name] if value is None else value for name, value in zip(BATCH, given, strict=True))
    fitting = _fitting(settings, was, now)
    if (batch, accumulation) in fitting:
        return batch, accumulation
    what = "completions" if "num_generations" in settings else "rows"
    expected, generated = _step_and_generation(settings, was, *(settings[name] for name in BATCH))
    if not fitting:
        others = [number for number in range(1, expected + 1) if number != was and _fitting(settings, was, number)]
        cure = f"numbers that do: {', '.join(map(str, others))}" if others else "no other number does"
        fail(f"--num_processes {now}: the {expected} {what} of a step cannot be split so over {now} processes; {cure}")
    fitting.sort(key=lambda values: (sum(a != b for a, b in zip(values, (batch, accumulation), strict=True)), -values[0]))
    cures = " or ".join(_flags(settings, values) or "none of the two settings" for values in fitting[:3])
    step, generation = _step_and_generation(settings, now, batch, accumulation)
    found, wanted = f"{step} {what} a step", expected
    if step == expected:
        found, wanted = f"{generation} completions at once", generated
    fail(
        f"{batch} a device x {now} processes, accumulated {accumulation} times, are {found}, and the run has {wanted}: "
        f"it would be another run; pass {cures}"
    )


def _folders(run: Path) -> list[Path]:
    """Returns the folders in which a run trains: its own, and those of its parts if it is one of several trainings."""
    return [run, *sorted(path.parent for path in run.glob(f"*/{RECORD}"))]


def _check_run(folder: Path, now: int) -> tuple[Path, dict[str, Any]]:
    """Returns a run's folder and record, if another number of processes can continue it."""
    run, record = read_record(folder)
    if now < 1:
        fail(f"--num_processes {now}: give the number of processes that will continue the run, at least 1")
    if run != folder:
        fail(f"{folder} is a checkpoint of a run; pass the run itself, {run}")
    if (run.absolute().parent / RECORD).is_file():
        fail(f"{run} is a part of a run; pass the whole one, {run.absolute().parent}")
    if (run / COMPLETE).exists():
        fail(f"{run} is finished: nothing is left to be continued; `recipes export {run}` makes a model of it")
    if record["world_size"] == now:
        fail(f"{run} is on {now} processes already; the command that started it continues it")
    missing = [name for name in BATCH if not isinstance(record["settings"].get(name), int)]
    if missing:
        fail(f"{run / RECORD} holds no {missing[0]}; pass the --output_dir of another run")
    return run, record


def _whole_checkpoints(run: Path) -> list[Path]:
    """Returns the complete checkpoints of a run and its unfinished parts; others are left out, and that is said."""
    found = []
    for part in _folders(run):
        for step in sorted(checkpoint_steps(part)) if not (part / COMPLETE).exists() else ():
            checkpoint = part / f"checkpoint-{step}"
            wrong = damage(checkpoint)
            if wrong is None and any(checkpoint.glob("*/offloaded_tensors")):
                fail(f"{checkpoint} has its optimizer on NVMe, which DeepSpeed cannot convert; continue it as it was started")
            if wrong is None:
                found.append(checkpoint)
            else:
                say(f"{checkpoint} {wrong}: leaving it out.")
    return found


# --- Making -------------------------------------------------------------------------------------------------------------


def _convert_record(part: Path, working: Path, now: int, batch: tuple[int, int]) -> None:
    """Writes run.json and config.yaml of the new run, or of a part of it."""
    _, record = read_record(part)
    was, sharding = record["world_size"], record.get("sharding")
    record["settings"] |= dict(zip(BATCH, batch, strict=True))
    record |= {"world_size": now, "resharded_from": {"run": str(part), "world_size": was}}
    if sharding in ("DDP", "no sharding"):
        record["sharding"] = "DDP" if now > 1 else "no sharding"
    write_whole(working / RECORD, json.dumps(record, indent=1) + "\n")
    settings = part / "config.yaml"
    if settings.exists():
        text = settings.read_text(encoding="utf-8")
        header = [line for line in text.splitlines() if line.startswith("# ")]
        header[:1] = [re.sub(rf": {was} x", f": {now} x", line) for line in header[:1]]
        header.append(f"# resharded: from {was} processes to {now}")
        values = yaml.safe_load(text) | dict(zip(BATCH, batch, strict=True))
        write_whole(working / "config.yaml", "\n".join(header) + "\n" + yaml.safe_dump(values))


def _copy_files(part: Path, working: Path) -> None:
    """Copies what a run has written so far beside its checkpoints."""
    working.mkdir(parents=True, exist_ok=True)
    for path in part.iterdir():
        if path.is_file() and path.name not in (LOCK, REQUEUE, RECORD, "config.yaml"):
            shutil.copyfile(path, working / path.name)


def _make(run: Path, working: Path, target: Path, processes: tuple[int, int], batch: tuple[int, int]) -> None:
    """Writes the new run into a folder that will be called `target`; `processes`: as many as they were, and as they will be."""
    checkpoints = _whole_checkpoints(run)
    if not checkpoints and not any((part / COMPLETE).exists() for part in _folders(run)):
        fail(f"{run} has no complete checkpoint; start it anew on {processes[1]} processes")
    sizes = [sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) for folder in checkpoints]
    needed = sum(sizes) + max(sizes, default=0)  # beside them what is in between while the largest is converted
    check_room(target, needed, "make room, or choose another --output_dir", "converting the checkpoints")
    for part in _folders(run):
        _copy_files(part, working / part.relative_to(run))
        _convert_record(part, working / part.relative_to(run), processes[1], batch)
    for checkpoint in checkpoints:
        name = checkpoint.relative_to(run)
        given = {"output_dir": (target / name).parent, "per_device_train_batch_size": batch[0]}
        with naming_disk_faults(target, then="give the same command again"):
            convert(checkpoint, working / name, *processes, **given)
        say(f"{checkpoint} is converted.")


def reshard_run(
    folder: Path,
    num_processes: int,
    output_dir: Path | None = None,
    per_device_train_batch_size: int | None = None,
    gradient_accumulation_steps: int | None = None,
) -> Path:
    """Makes a copy of an interrupted run that another number of processes continues; the run stays as it is.

    Every complete checkpoint is converted, also the best one, which is loaded at the end. Each step must take as many rows as
    before.

    Args:
        folder: The run's folder.
        num_processes: How many processes will continue it.
        output_dir: The folder to make; RUN-N-processes if not given.
        per_device_train_batch_size: In rows; as it was if not given.
        gradient_accumulation_steps: As it was if not given.

    Returns:
        The new folder.

    Raises:
        SystemExit: With code 2 and one line if the run cannot be continued so, or the folder is there already.
    """
    run, record = _check_run(folder, num_processes)
    was, settings = record["world_size"], record["settings"]
    batch = _choose_batch(settings, was, num_processes, (per_device_train_batch_size, gradient_accumulation_steps))
    target = output_dir or run.with_name(f"{run.resolve().name}-{num_processes}-processes")
    if os.path.lexists(target):
        fail(f"output_dir {target} is there already; choose another --output_dir, or remove it")
    try:
        holder = lock_folder(run)
        if holder is not None:
            fail(f"{run} is in use: it is going on{holder}; end it first, and the command will find what it has saved")
        working = target.with_name(f".{target.name}.{os.getpid()}")
        working.mkdir(parents=True)
    except OSError as error:
        fail(f"{error.filename or target} cannot be written into ({error.strerror}); choose another --output_dir")
    try:
        _make(run, working, target, (was, num_processes), batch)
        open_to_readers(working)  # of a run from before they were
        working.rename(target)
        sync(target.absolute().parent)
    finally:
        shutil.rmtree(working, ignore_errors=True)
    flags = " ".join(filter(None, [f"--num_processes {num_processes}", _flags(settings, batch), f"--output_dir {target}"]))
    say(f"The command that started the run continues it with {flags}")
    return target
