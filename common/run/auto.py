"""How many rows a GPU takes at once, and whether it recomputes activations, where a run leaves that open with `auto`.

An update takes as many tokens as `tokens_per_update` says, on any number of GPUs: what is chosen is how they are divided.
"""

from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

from common.data.runs import parse_record
from common.errors import fail, say
from common.run.launch import zero_settings
from common.run.memory import gpu_gib

import torch
from transformers.hf_argparser import string_to_bool

AUTO = "auto"
ROWS, STEPS, RECOMPUTE = "per_device_train_batch_size", "gradient_accumulation_steps", "activation_checkpointing"
CPU_ROWS = 32  # more at once are no faster there
# Without recomputation an H100 and an H200 were a quarter faster at 8,192 tokens at once, and slower with 4,096 than with
# 32,768 and recomputation (docs/performance.md).
ENOUGH_TOKENS = 8192
# What decides the memory of a run, beside what is chosen: where it is the same in a run's record, its choice is taken.
DECISIVE = (
    *("model_name_or_path", "model_revision", "dtype", "attn_implementation", "max_length", "packing", "tokens_per_update"),
    *("use_peft", "lora_r", "lora_target_modules", "lora_target_parameters", "load_in_4bit", "load_in_8bit"),
    *("use_liger_kernel", "freeze_vision_tower"),
)


def number_or_auto(text: str) -> int | str:
    """Reads a whole number or `auto`, as a parser's type."""
    return AUTO if text == AUTO else int(text)


def truth_or_auto(text: str) -> bool | str:
    """Reads true, false or `auto`, as a parser's type."""
    return AUTO if text == AUTO else string_to_bool(text)


def leave_open(values: Namespace) -> None:
    """Puts anything in the place of `auto`, for a script that does not train.

    Args:
        values: The settings by name; changed in place.
    """
    for name, anything in {ROWS: 1, RECOMPUTE: False}.items():
        if getattr(values, name) == AUTO:
            setattr(values, name, anything)


def settle_update(values: Namespace, given: dict[str, Any], world_size: int) -> int | None:
    """Returns how many rows of `max_length` an update takes on each process, or None if `tokens_per_update` is not set.

    Args:
        values: The settings by name; where the user accumulates by a number, `tokens_per_update` of a recipe's file gives way.
        given: Those that the user gave beside the recipe's own files.
        world_size: Number of processes.

    Raises:
        SystemExit: With code 2 where the tokens are no whole rows for each process.
    """
    tokens, length = vars(values).get("tokens_per_update"), vars(values).get("max_length")
    if STEPS in given and "tokens_per_update" not in given:
        values.tokens_per_update = tokens = None
    if tokens is None:
        return None
    if length is None:
        fail("tokens_per_update is not for this recipe: its updates are counted in completions; set the two batch sizes")
    rows, rest = divmod(tokens, length)
    each, rest_rows = divmod(rows, world_size)
    if rest or rest_rows or not each:
        below = tokens // (length * world_size) * length * world_size
        nearest = " or ".join(f"{number}" for number in (below, below + length * world_size) if number > 0)
        fail(
            f"tokens_per_update {tokens}: no whole rows of max_length {length} for each of {world_size} processes; "
            f"nearest: {nearest}"
        )
    return each


def _divisors(rows: int) -> list[int]:
    """Returns the numbers of rows at once with which an update has exactly so many, the largest first."""
    return [size for size in range(rows, 0, -1) if rows % size == 0]


def choose(
    rows: int, length: int, fixed_rows: int | None, recompute: bool | None, needed: Callable[[int, bool], float], memory: float
) -> tuple[int, bool, str]:
    """Chooses rows at once and recomputation by the memory that they need.

    Args:
        rows: Of an update on a GPU.
        length: Tokens of a row at most.
        fixed_rows: The user's number of rows at once, if it is not to be chosen.
        recompute: The user's choice of recomputation, if there is one.
        needed: Returns the GiB that a run takes with so many rows at once, and with recomputation or without.
        memory: GiB of the GPU.

    Returns:
        Rows at once, whether activations are recomputed, and why.

    Raises:
        SystemExit: With code 2 if not even one row fits.
    """
    sizes = [fixed_rows] if fixed_rows else _divisors(rows)
    for recomputed in [recompute] if recompute is not None else [False, True]:
        fitting = next((size for size in sizes if needed(size, recomputed) <= memory), None)
        if fitting is None or (recompute is None and not recomputed and fitting * length < min(ENOUGH_TOKENS, rows * length)):
            continue
        return fitting, recomputed, f"planned are {needed(fitting, recomputed):.1f} of the GPU's {memory:.1f} GiB"
    size, recomputed = sizes[-1], recompute is not False
    fail(
        f"{ROWS} auto: {size} rows of {length} tokens need {needed(size, recomputed):.1f} GiB, and the GPU has {memory:.1f}; "
        "train adapters (`--use_peft true`), take the next ZeRO stage or more GPUs"
    )


def _planned(values: Namespace, each: int, world_size: int) -> Callable[[int, bool], float]:
    """Returns what says how many GiB a run needs whose updates have so many rows on each process."""
    cure = f"give numbers: `--{ROWS} 4 --{RECOMPUTE} true`"
    launch = zero_settings(values)
    if launch is None:
        fail(f"{ROWS} or {RECOMPUTE} auto: memory is planned for DeepSpeed; launch with a zero*.yaml, or {cure}")
    from common.models.config import read_config
    from common.plan.estimate import estimate
    from common.plan.jobs import job_of
    from common.plan.passes import Unplanned

    config = read_config(values)

    def needed(rows: int, recompute: bool) -> float:
        changed = {ROWS: rows, STEPS: each // rows, RECOMPUTE: recompute}
        try:
            return estimate(job_of(vars(values) | changed, config, num_processes=world_size, **launch), gpu_gib()).needed
        except Unplanned as error:
            fail(f"{ROWS} or {RECOMPUTE} auto: {error}; {cure}")

    return needed


def _of_record(values: Namespace, recipe: str) -> dict[str, Any] | None:
    """Returns the settings of the run that this one may continue, in its folder or in one that has a number behind the name."""
    folder = Path(values.output_dir or "")
    for place in [folder, *sorted(folder.parent.glob(f"{folder.name}-[0-9]*"))] if values.output_dir else []:
        record = parse_record(place)
        settings = (record or {}).get("settings", {})
        same = all(settings.get(name) == vars(values).get(name) for name in DECISIVE)
        if record and record["recipe"] == recipe and {ROWS, RECOMPUTE} <= settings.keys() and same:
            return settings
    return None


def settle(values: Namespace, given: dict[str, Any], recipe: str, world_size: int) -> None:
    """Puts numbers in the place of `auto`, and says why; an update keeps its tokens.

    Args:
        values: The settings by name; changed in place.
        given: Those that the user gave beside the recipe's own files.
        recipe: The recipe's name.
        world_size: Number of processes.

    Raises:
        SystemExit: With code 2 where that cannot be.
    """
    size, recompute = (None if value == AUTO else value for value in (getattr(values, ROWS), getattr(values, RECOMPUTE)))
    rows, is_open = settle_update(values, given, world_size), AUTO in (getattr(values, ROWS), getattr(values, RECOMPUTE))
    if rows is None and size is None:
        fail(f"{ROWS} auto divides the tokens of an update: set `tokens_per_update`, or give the number of rows at once")
    if rows is not None and size is not None and rows % size:
        near = sorted(sorted(_divisors(rows), key=lambda number: abs(number - size))[:2])
        fail(
            f"{ROWS} {size}: the {rows} rows that tokens_per_update {values.tokens_per_update} are on each of {world_size} "
            f"processes do not divide by it; nearest: {' or '.join(map(str, near))}"
        )
    if is_open:
        kept = _of_record(values, recipe)
        if kept and (rows is None or rows % kept[ROWS] == 0):
            size, recompute, why = size or kept[ROWS], kept[RECOMPUTE] if recompute is None else recompute, "as the run began"
        elif torch.cuda.is_available():
            needed = _planned(values, rows or size, world_size)
            size, recompute, why = choose(rows or size, values.max_length, size, recompute, needed, gpu_gib())
        else:
            size = size or next(number for number in _divisors(rows) if number <= CPU_ROWS)
            why = f"on a CPU up to {CPU_ROWS} rows at once{'' if recompute else ', and nothing is recomputed'}"
            recompute = bool(recompute)
        setattr(values, ROWS, size)
        setattr(values, RECOMPUTE, recompute)
    if rows is not None:
        setattr(values, STEPS, rows // size)
    if is_open:
        say(
            f"auto: {size} rows at once on each of {world_size} processes, {getattr(values, STEPS)} times for an update; "
            f"activations are {'recomputed' if recompute else 'kept'} ({why})."
        )
