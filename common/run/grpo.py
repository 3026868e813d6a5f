"""What has to add up in GRPO (batches, groups, checkpoints, weights): checked before a model loads."""

from argparse import Namespace
from collections.abc import Callable
from importlib.util import find_spec
from math import lcm
from typing import TYPE_CHECKING

from common.errors import fail

if TYPE_CHECKING:
    from trl import GRPOConfig


def check_grpo(values: Namespace, world_size: int) -> None:
    """Checks the settings of GRPO that must fit together.

    Args:
        values: The settings by name.
        world_size: Number of processes.

    Raises:
        SystemExit: With code 2.
    """
    for name in ("per_device_train_batch_size", "activation_checkpointing"):
        if getattr(values, name) == "auto":
            fail(f"{name} auto: the batches of GRPO are whole groups of completions; give a value, as config.yaml does")
    if values.use_vllm and find_spec("vllm") is None:
        fail("use_vllm true: vLLM is not installed; install the `vllm` extra into an environment of its own, or leave it out")
    if values.sync_ref_model and values.beta == 0:
        fail("sync_ref_model true with beta 0: there is no reference model to bring up to date; set beta above 0")
    if values.reward_weights and not any(values.reward_weights):
        weights = " ".join(f"{weight:g}" for weight in values.reward_weights)
        fail(f"reward_weights {weights}: no reward counts, so nothing would be learned; set one of them above 0")
    check_generation_batch(values, world_size)
    check_save_steps(values, world_size)


def sampling(args: "GRPOConfig") -> dict[str, float | None]:
    """Returns how training samples, as `common.generate.completions.generate` takes it.

    Args:
        args: The training arguments.
    """
    return {name: getattr(args, name) for name in ("temperature", "top_p", "top_k", "min_p")}


def check_generation_batch(values: Namespace, world_size: int) -> None:
    """Checks that the completions generated at once are whole groups of `num_generations`, a group for each prompt.

    Args:
        values: The settings by name, as parsed: `per_device_train_batch_size`, `num_generations` and, if set,
            `gradient_accumulation_steps`, `steps_per_generation`, `generation_batch_size`.
        world_size: Number of processes.

    Raises:
        SystemExit: With code 2; the line names the nearest batch sizes that work.
    """
    generations = values.num_generations
    if generations < 2:
        fail(f"num_generations is {generations}: GRPO compares the completions of a prompt, so it needs at least 2")
    steps = values.steps_per_generation or values.gradient_accumulation_steps
    batch = values.generation_batch_size or values.per_device_train_batch_size * world_size * steps
    if batch > 0 and batch % generations == 0:
        return
    if values.generation_batch_size:
        unit = lcm(generations, values.per_device_train_batch_size * world_size)
        below, above = batch // unit * unit, (batch // unit + 1) * unit
        fail(
            f"generation_batch_size {batch} does not divide into groups of num_generations {generations}; "
            f"nearest: {f'{below} or ' if below > 0 else ''}{above}"
        )
    sizes = range(1, values.per_device_train_batch_size + generations + 1)
    fitting = [size for size in sizes if size * world_size * steps % generations == 0]
    below = [size for size in fitting if size < values.per_device_train_batch_size][-1:]
    above = [size for size in fitting if size > values.per_device_train_batch_size][:1]
    fail(
        f"{batch} completions ({values.per_device_train_batch_size} a device x {world_size} processes x {steps} steps) "
        f"do not divide into groups of num_generations {generations}; "
        f"nearest per_device_train_batch_size: {' or '.join(map(str, below + above))}"
    )


def check_save_steps(values: Namespace, world_size: int) -> None:
    """Checks that checkpoints are written between generations, not while one is being used for several updates.

    TRL keeps a generation's completions in memory only, so a run continued in the middle of one would go on differently.

    Args:
        values: As in `check_generation_batch`, with `save_strategy`, `save_steps` and `num_iterations`.
        world_size: Number of processes.

    Raises:
        SystemExit: With code 2; the line names the nearest `save_steps` that work.
    """
    micro_steps = values.steps_per_generation or values.gradient_accumulation_steps
    if values.generation_batch_size:
        micro_steps = values.generation_batch_size // (values.per_device_train_batch_size * world_size)
    updates = max(1, micro_steps * values.num_iterations // values.gradient_accumulation_steps)
    if values.save_strategy != "steps" or updates == 1 or values.save_steps % updates == 0:
        return
    below = int(values.save_steps // updates * updates)
    fail(
        f"save_steps {values.save_steps:g} falls inside a generation, which serves {updates} optimizer steps: a run continued "
        f"there would differ; nearest: {f'{below} or ' if below else ''}{below + updates}"
    )


def check_reward_weights(args: "GRPOConfig", reward_funcs: list[Callable]) -> None:
    """Checks that each reward function has its weight; TRL would notice only after the model has loaded.

    Args:
        args: The training arguments.
        reward_funcs: The reward functions, in the order of `reward_weights`.

    Raises:
        SystemExit: With code 2.
    """
    weights = args.reward_weights
    if weights is not None and len(weights) != len(reward_funcs):
        names = ", ".join(function.__name__ for function in reward_funcs)
        fail(f"reward_weights has {len(weights)} numbers; give one for each of {names} (0 leaves it out)")
