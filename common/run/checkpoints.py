"""Checkpoints: marked once they are complete, rotated after that, and chosen by the main process for all."""

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from common.data.checksum import checksum
from common.data.runs import COMPLETE, checkpoint_steps, damage
from common.errors import is_main_process, say
from common.run.files import sync, write_whole

import torch
from accelerate.utils import broadcast_object_list, gather_object
from transformers import PreTrainedModel, Trainer


def _written_by(name: str) -> int:
    """Returns the process that wrote a file of a checkpoint: DeepSpeed and transformers put its rank in the name."""
    match = re.search(r"(?:zero_pp_rank_|rng_state_)(\d+)", name)
    return int(match[1]) if match else 0


def _parts_of(checkpoint: Path, rank: int) -> dict[str, Any]:
    """Returns size and checksum of each file that a process wrote, by name, once they are on the disk."""
    parts: dict[str, list[Any]] = {}
    for path in sorted(checkpoint.rglob("*")):
        if path.is_file() and path.name != COMPLETE and _written_by(path.name) == rank:
            sync(path)
            parts[str(path.relative_to(checkpoint))] = [path.stat().st_size, checksum(path)]
    return parts


def mark(checkpoint: Path, rank: int) -> None:
    """Marks a checkpoint as complete, once every process has written its part and its part is on the disk.

    Args:
        checkpoint: The checkpoint's folder.
        rank: This process.
    """
    files = gather_object([_parts_of(checkpoint, rank)])
    if is_main_process():
        write_whole(checkpoint / COMPLETE, json.dumps(dict(enumerate(files))))


def mark_for(checkpoint: Path, world_size: int) -> None:
    """Marks a checkpoint as complete that one process has made for others.

    Args:
        checkpoint: The checkpoint's folder.
        world_size: The number of processes that will continue from it.
    """
    files = {rank: _parts_of(checkpoint, rank) for rank in range(world_size)}
    write_whole(checkpoint / COMPLETE, json.dumps(files))


def rotate(folder: Path, newest: int, limit: int | None, best: str | None) -> None:
    """Removes the oldest checkpoints of a run, once a newer one is marked.

    transformers removes them before: a run that is killed in between has none.

    Args:
        folder: The run's folder.
        newest: The step of the one that has just been marked.
        limit: `save_total_limit`.
        best: The checkpoint with the best weights, which is kept whatever the limit.
    """
    if not limit or limit < 1:
        return
    older = [folder / f"checkpoint-{step}" for step in checkpoint_steps(folder) if step < newest]
    kept = [path for path in older if best is not None and path.name == Path(best).name]
    kept += [path for path in older if path not in kept and (path / COMPLETE).exists()][: max(0, limit - 1 - len(kept))]
    for path in older:
        if path not in kept:
            shutil.rmtree(path, ignore_errors=True)


def choose_checkpoint(folder: Path, rank: int) -> Path | None:
    """Returns the newest checkpoint that is whole on every process, the same on all; others are passed over, and that is said.

    Args:
        folder: The run's folder.
        rank: This process, which looks at the files that it has written.
    """
    steps = [checkpoint_steps(folder)]
    broadcast_object_list(steps)
    for step in steps[0]:
        checkpoint = folder / f"checkpoint-{step}"
        wrong = next((wrong for wrong in gather_object([damage(checkpoint, rank)]) if wrong), None)
        if wrong is None:
            return checkpoint
        say(f"{checkpoint} {wrong}: passing over it.")
    return None


def is_last(checkpoint: Path) -> bool:
    """Returns whether nothing is left to be trained after a checkpoint: all steps are done, or a callback ended it there."""
    state = json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    control = state.get("stateful_callbacks", {}).get("TrainerControl", {}).get("args", {})
    return state["global_step"] >= state["max_steps"] or bool(control.get("should_training_stop"))


def best_checkpoint(checkpoint: Path) -> Path | None:
    """Returns the checkpoint of a run with the best weights so far, as a checkpoint remembers it."""
    best = json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8")).get("best_model_checkpoint")
    return checkpoint.parent / Path(best).name if best else None


def size_of_checkpoint(model: PreTrainedModel, sharded: bool, has_optimizer: bool = True) -> int:
    """Returns about how many bytes a checkpoint will take.

    The weights are saved, beside adapters without those of the base model, and for what is trained Adam's two moments in
    float32; DeepSpeed saves float32 weights besides.

    Args:
        model: The model to be trained.
        sharded: Whether DeepSpeed writes the checkpoint.
        has_optimizer: Whether it is to be trained on from; what a run leaves at its end is not.
    """
    total = 0
    for parameter in model.parameters():
        numel = getattr(parameter, "ds_numel", parameter.numel())  # under ZeRO-3 a parameter is empty between its uses
        if parameter.requires_grad or not hasattr(model, "peft_config"):
            total += numel * parameter.element_size()
        if parameter.requires_grad and has_optimizer:
            total += numel * (12 if sharded else 8)
    return total


def not_finite(model: torch.nn.Module) -> bool:
    """Returns whether a weight that this process holds is not a finite number; under ZeRO-3 these are its shards."""
    weights = [getattr(weight, "ds_tensor", weight) for weight in model.parameters()]
    return not all(weight.isfinite().all() for weight in weights if weight.is_floating_point())


def copy_what_is_trained(trainer: Trainer) -> None:
    """Has DeepSpeed's stages below 3 copy only the trained weights when a model is saved, and only where it is written.

    accelerate (1.15) copies all weights into the memory of each process before PEFT picks the adapters: of gpt-oss-20b 42 GB,
    for a file of some MB. Stage 3 gathers only the adapters.

    Args:
        trainer: The trainer.
    """
    plugin = trainer.args.deepspeed_plugin
    if plugin is None or plugin.zero_stage == 3:
        return
    from deepspeed.checkpoint.utils import clone_tensors_for_torch_save

    def state_to_save(engine: torch.nn.Module, unwrap: bool = True) -> dict[str, torch.Tensor]:
        if not trainer.args.should_save:
            return {}
        model = trainer.accelerator.unwrap_model(engine)
        state = model.state_dict()
        trained = {name for name, weight in model.named_parameters(remove_duplicate=False) if weight.requires_grad}
        # The trained ones are views of one large buffer, which would be saved with each.
        return state | clone_tensors_for_torch_save({name: value for name, value in state.items() if name in trained})

    trainer.accelerator.get_state_dict = state_to_save


@contextmanager
def loadable(trainer: Trainer) -> Iterator[None]:
    """Lets checkpoints hold the weights under the names that they have in memory.

    transformers (5.23) saves some architectures, mixtures of experts among them, in the form of the hub. The trainer loads a
    checkpoint and the best weights by the names in memory, passes over what it does not find, and goes on with other weights.
    DeepSpeed loads its own files.

    Args:
        trainer: The trainer; its final model is saved as transformers does.
    """
    model = trainer.model
    if trainer.is_deepspeed_enabled or not isinstance(model, PreTrainedModel):
        yield
        return
    model.save_pretrained = partial(model.save_pretrained, save_original_format=False)
    try:
        yield
    finally:
        del model.save_pretrained
