"""Checkpoints of one number of processes made into ones of another, and loaded: DeepSpeed's universal checkpoints.

A universal checkpoint holds each weight and its moments whole; every process cuts its own part out of it (Lian et al., 2024,
https://arxiv.org/abs/2406.18820). What a run saves after it has continued from one is split by process again.
"""

import hashlib
import io
import json
import random
import shutil
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from common.data.runs import COMPLETE
from common.run.checkpoints import mark_for
from common.run.files import write_whole

import numpy as np
import torch

LATEST = "latest_universal"  # in a checkpoint: DeepSpeed's name of the folder with the whole weights
OPTIMIZER = "zero/optimizer_state.pt"  # in that folder: what belongs to no weight


# --- Converting ---------------------------------------------------------------------------------------------------------


def _seeded(source: dict[str, Any], rank: int) -> dict[str, Any]:
    """Returns random states for a process that was not there before: the same on every conversion, like no other's."""
    seed = int.from_bytes(hashlib.sha256(source["cpu"].numpy().tobytes() + str(rank).encode()).digest()[:4], "big")
    states = {
        "python": random.Random(seed).getstate(),
        "numpy": np.random.RandomState(seed).get_state(),
        "cpu": torch.Generator().manual_seed(seed).get_state(),
    }
    if "cuda" in source:  # the seed, and how far it has been used (ATen/cuda/CUDAGeneratorImpl.cpp)
        states["cuda"] = torch.tensor([seed, 0]).view(torch.uint8)
    return states


def _convert_random_states(checkpoint: Path, target: Path, was: int, now: int, distributed: bool) -> None:
    """Writes the random states of each process: its own if it was there before."""
    states = []
    for rank in range(was):
        name = f"rng_state_{rank}.pth" if was > 1 else "rng_state.pth"
        states.append(torch.load(checkpoint / name, map_location="cpu", weights_only=False))
        if isinstance(states[rank].get("cuda"), list):  # of all GPUs that the process saw; it used one
            states[rank]["cuda"] = states[rank]["cuda"][rank % len(states[rank]["cuda"])]
    for rank in range(now):
        state = dict(states[rank]) if rank < was else _seeded(states[0], rank)
        if distributed and "cuda" in state:
            state["cuda"] = [state["cuda"]] * now
        torch.save(state, target / (f"rng_state_{rank}.pth" if now > 1 else "rng_state.pth"))


def _join_shards(shards: Path, target: Path) -> None:
    """Converts what DeepSpeed has written; the file beside `target` that names it is written, too."""
    from deepspeed.checkpoint import ds_to_universal  # takes seconds

    settings = Namespace(
        input_folder=str(shards),
        output_folder=str(target),
        num_extract_workers=1,
        num_merge_workers=1,
        keep_temp_folder=False,
        strict=True,
        inject_missing_state=True,  # ZeRO-1 and 2 do not write which version of the format they are
    )
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):  # its steps and bars
        ds_to_universal.main(settings)
    for states in target.glob("zero_pp_rank_*_model_states.pt"):
        if not states.name.startswith("zero_pp_rank_0_"):
            states.unlink()  # only the first is read
    optimizer = torch.load(target / OPTIMIZER, map_location="cpu", weights_only=False)
    if "fp32_flat_groups" in optimizer:  # ZeRO-3: the first process' shards, which stand in the whole weights already
        del optimizer["fp32_flat_groups"]
        base = optimizer["optimizer_state_dict"]
        base["state"] = {group: {"step": state["step"]} for group, state in base["state"].items()}
        torch.save(optimizer, target / OPTIMIZER)


def convert(checkpoint: Path, target: Path, was: int, now: int, *, output_dir: Path, per_device_train_batch_size: int) -> None:
    """Makes a checkpoint for another number of processes, and marks it as complete.

    Args:
        checkpoint: The folder of a complete checkpoint, which stays as it is.
        target: The new folder.
        was: The number of processes that wrote it.
        now: The number of processes that will continue from it.
        output_dir: Where the run of the new checkpoint will be.
        per_device_train_batch_size: Of the run that continues, in rows.
    """
    latest = checkpoint / "latest"
    shards = (
        checkpoint / latest.read_text(encoding="utf-8").strip()
        if latest.exists() and not (checkpoint / LATEST).exists()
        else None
    )
    # Without ZeRO every process keeps all, and a universal checkpoint serves any number.
    split = shards is not None and any(shards.glob("*_optim_states.pt"))
    left_out = [COMPLETE, "rng_state*.pth", *(["global_step*", "latest", "zero_to_*.py"] if split else [])]
    shutil.copytree(checkpoint, target, ignore=shutil.ignore_patterns(*left_out))
    if split:
        _join_shards(shards, target / shards.name)
    sharded = any(checkpoint.glob("global_step*"))
    _convert_random_states(checkpoint, target, was, now, distributed=sharded or now > 1)
    state = json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    state["train_batch_size"] = per_device_train_batch_size
    if state.get("best_model_checkpoint"):
        state["best_model_checkpoint"] = str(output_dir / Path(state["best_model_checkpoint"]).name)
    write_whole(target / "trainer_state.json", json.dumps(state, indent=2) + "\n")
    mark_for(target, now)


# --- Loading ------------------------------------------------------------------------------------------------------------


def _mend(optimizer: torch.optim.Optimizer, saved: list[dict[str, Any]] | None) -> None:
    """Puts right what DeepSpeed 0.19.8 gets wrong when it loads a universal checkpoint.

    Args:
        optimizer: The optimizer below ZeRO's.
        saved: Under ZeRO-3 the settings of each group of weights. It gives those of the first to all, and weights that do not
            decay (norms, biases) would begin to; and it gives all one and the same count of steps, which each then raises.
    """
    for group, settings in zip(optimizer.param_groups, saved or [], strict=bool(saved)):
        group.update({name: value for name, value in settings.items() if name != "params"})
    fused = any(group.get("fused") for group in optimizer.param_groups)
    for weights, state in optimizer.state.items():
        if torch.is_tensor(state.get("step")):  # a fused optimizer wants it beside the weights, others on the CPU
            state["step"] = state["step"].clone().to(weights.device if fused else "cpu")


@contextmanager
def loading_converted(output_dir: Path) -> Iterator[None]:
    """Lets the trainer load the converted checkpoints of a run beside those that it has written since.

    DeepSpeed's own setting (`load_universal`) is for all loads of a process. A run continues from a converted checkpoint, and
    at its end it loads the best one, which may be of either kind.

    Args:
        output_dir: The run's folder.
    """
    if not any(output_dir.glob(f"checkpoint-*/{LATEST}")):
        yield
        return
    from deepspeed import DeepSpeedEngine  # takes seconds, and most runs do without it here

    split = DeepSpeedEngine.load_checkpoint

    def load(engine: DeepSpeedEngine, load_dir: str, *args: Any, **settings: Any) -> Any:
        latest = Path(load_dir) / LATEST
        engine.load_universal_checkpoint = latest.exists  # the engine asks itself, and is answered for this load
        loaded = split(engine, load_dir, *args, **settings)
        if latest.exists():
            found = torch.load(
                latest.parent / latest.read_text(encoding="utf-8").strip() / OPTIMIZER, map_location="cpu", weights_only=False
            )
            third = engine.zero_optimization_partition_weights()
            _mend(engine.optimizer.optimizer, found["optimizer_state_dict"]["param_groups"] if third else None)
        return loaded

    DeepSpeedEngine.load_checkpoint = load
    try:
        yield
    finally:
        DeepSpeedEngine.load_checkpoint = split
