"""Which micro-batch fits, and what to do where none does."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from common.plan.estimate import GIB, Job, Plan, estimate, too_many_for_eight_bits
from common.plan.jobs import job_of

from transformers import PreTrainedConfig

# Of accelerate_configs, from the fastest to the one that takes least; ZeRO-1 takes more than ZeRO-2 and saves it nothing.
STAGES: dict[str, dict[str, Any]] = {
    "zero2": {"zero_stage": 2},
    "zero3": {"zero_stage": 3},
    "zero2_offload": {"zero_stage": 2, "offload_optimizer": True},
    "zero3_offload": {"zero_stage": 3, "offload_optimizer": True, "offload_param": True},
}
ALL_STAGES = {"zero1": {"zero_stage": 1}, **STAGES}
# Bytes of the host's memory for each trained number, on one machine: a float32 copy and two moments, float32 gradients and
# weights on their way (accelerate_configs/zero2_offload.yaml). With ZeRO-3 the weights stay there too.
HOST = 18


@dataclass(frozen=True)
class Fit:
    """A way to train, and what it takes.

    Attributes:
        config: The name of a recipe's configuration.
        stage: The name of one of accelerate's.
        micro_batch: Rows at once on a GPU.
        steps: Micro-batches for an update.
        recompute: Whether activations are recomputed.
        plan: The memory of a GPU.
        host: GiB of the host's memory, all processes together.
        fits: Whether the GPU has it.
    """

    config: str
    stage: str
    micro_batch: int
    steps: int
    recompute: bool
    plan: Plan
    host: float
    fits: bool


def host_memory(job: Job, plan: Plan) -> float:
    """Returns the GiB of the host's memory that is taken by what is offloaded, by all processes of a machine together.

    Args:
        job: What is trained, and how.
        plan: Its plan, which knows how many numbers there are.
    """
    trained = HOST * plan.counts.trained if job.offload_optimizer else 0
    return (trained + (job.width * plan.counts.total if job.offload_param else 0)) / GIB


def _halves(rows: int, steps: int) -> Iterator[tuple[int, int]]:
    """Yields rows at once and micro-batches with the same rows for an update, the most at once first."""
    while True:
        yield rows, steps
        if rows % 2:
            return
        rows, steps = rows // 2, steps * 2


def best_fit(
    settings: Mapping[str, Any], model: PreTrainedConfig, *, config: str, stage: str, num_gpus: int, gpu_memory: float
) -> Fit:
    """Finds the largest micro-batch that fits, with as many rows for an update as the settings have.

    Activations are recomputed where the settings say so, and where nothing fits without.

    Args:
        settings: Those of a recipe by name.
        model: The model's configuration.
        config: The name of the recipe's configuration.
        stage: A key of `ALL_STAGES`.
        num_gpus: GPUs, on each of which a process runs.
        gpu_memory: GiB of each.

    Returns:
        What fits; or if nothing does, what takes least.
    """
    asked = bool(settings.get("activation_checkpointing"))
    for recompute in dict.fromkeys((asked, True)):
        for rows, steps in _halves(settings["per_device_train_batch_size"], settings.get("gradient_accumulation_steps", 1)):
            changed = {"per_device_train_batch_size": rows, "gradient_accumulation_steps": steps}
            job = job_of(
                {**settings, **changed, "activation_checkpointing": recompute},
                model,
                num_processes=num_gpus,
                **ALL_STAGES[stage],
            )
            plan = estimate(job, gpu_memory)
            fit = Fit(config, stage, rows, steps, recompute, plan, host_memory(job, plan), plan.needed <= gpu_memory)
            if fit.fits:
                return fit
    return fit


def cures(job: Job, rows: int, gpu_memory: float | None = None) -> list[tuple[str, float]]:
    """Says what would make a job smaller, in the order in which to try it, and how many GiB each saves by itself.

    Args:
        job: What is trained, and how.
        rows: Of its micro-batch.
        gpu_memory: GiB of a GPU.

    Returns:
        What to do, with the flags, and the GiB that it saves; what saves nothing is left out.
    """
    steps = job.gradient_accumulation_steps
    changes: dict[str, Job] = {}
    if rows > 1:
        half = -(-rows // 2)
        flags = f"--per_device_train_batch_size {half} --gradient_accumulation_steps {-(-rows * steps // half)}"
        changes[flags] = replace(job, tokens=job.tokens * half // rows, gradient_accumulation_steps=2 * steps)
    if not job.recompute:
        changes["--activation_checkpointing true"] = replace(job, recompute=True)
    if job.lora is None:
        lora = {"r": 16, "lora_dropout": 0.05, "target_modules": "all-linear"}
        changes["--use_peft true --lora_target_modules all-linear"] = replace(job, lora=lora, reference=False)
    if job.zero_stage < 3:  # on one GPU ZeRO-3 splits nothing, but updates a part after the other
        following = job.zero_stage + 1
        changes[f"accelerate_configs/zero{following}.yaml"] = replace(job, zero_stage=following)
    plan = estimate(job, gpu_memory)
    if not (job.offload_optimizer or job.eight_bits or job.lora or too_many_for_eight_bits(job, plan.counts)):
        changes["--optim adamw_bnb_8bit"] = replace(job, eight_bits=True)
    if not job.offload_optimizer and job.lora is None:
        offload = {"offload_optimizer": True, "offload_param": job.zero_stage == 3}
        changes[f"accelerate_configs/zero{max(job.zero_stage, 2)}_offload.yaml"] = replace(
            job, zero_stage=max(job.zero_stage, 2), **offload
        )
    saved = {cure: plan.peak - estimate(changed, gpu_memory).peak for cure, changed in changes.items()}
    return [(cure, gib) for cure, gib in saved.items() if gib >= 0.05]
