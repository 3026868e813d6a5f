"""The planner beside every peak that was measured, and beside accelerate's and DeepSpeed's own estimates.

    python benchmarks/plan_measured.py

Needs no GPU: the measured peaks stand in benchmarks/results. Where the rows of the data that were measured on are shorter than
the settings allow, their own lengths are planned with, which stand below.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from common.plan.configs import config_named
from common.plan.estimate import Job, Plan, estimate
from common.plan.fit import ALL_STAGES
from common.plan.jobs import job_of
from common.plan.records import records

import yaml

ROOT = Path(__file__).resolve().parent.parent
MEMORY = {"NVIDIA H200": 139.8, "NVIDIA H100 80GB HBM3": 79.2}  # GiB
NO_LIGER = {"use_liger_kernel": False}
# What the flags of the benchmarks' variants change.
VARIANTS = {
    "no_recompute": {"activation_checkpointing": False},
    "freeze_vision_tower": {"freeze_vision_tower": True},
    "lora": {"use_peft": True},
    "256": {"gradient_accumulation_steps": 8},
    "64": {},
    "64x1": {"per_device_train_batch_size": 64, "gradient_accumulation_steps": 1},
    "": {},
    "trl": {
        "per_device_train_batch_size": 16,
        "gradient_accumulation_steps": 4,
        "activation_checkpointing": True,
        "use_liger_kernel": False,
    },
    "trl_sft_vlm": {},
    "sdpa": {"attn_implementation": "sdpa"},
    # Those of micro_batch_gpu.py; its records say the rows at once.
    "4x1": NO_LIGER | {"gradient_accumulation_steps": 1},
    "16x2": NO_LIGER,
    "4x8": NO_LIGER | {"gradient_accumulation_steps": 8},
    "auto": NO_LIGER | {"gradient_accumulation_steps": 1},
    "8x4_plain": {"gradient_accumulation_steps": 4, "activation_checkpointing": False},
    "4x8_plain": {"gradient_accumulation_steps": 8, "activation_checkpointing": False},
    "2x16_plain": {"gradient_accumulation_steps": 16, "activation_checkpointing": False},
    "4x2": NO_LIGER | {"gradient_accumulation_steps": 2},
    "8x1_liger_plain": {"activation_checkpointing": False},
    "4x2_liger_plain": {"gradient_accumulation_steps": 2, "activation_checkpointing": False},
    "8x1": {},
    "1x4": {"gradient_accumulation_steps": 4},
    "16x2_plain": {"gradient_accumulation_steps": 2, "activation_checkpointing": False},
    "8x2": {"gradient_accumulation_steps": 2, "activation_checkpointing": True},
    "2x2": {"gradient_accumulation_steps": 2},
    "3x5": {"gradient_accumulation_steps": 5},
    "32x1_frozen": {"freeze_vision_tower": True},
    "8bit_adam": {"optim": "adamw_bnb_8bit"},
}
# GSM8K's prompts in the benchmark's tokens: the longest of the 14 steps of 8 prompts, and of
# those of 32 (2026-11-26, by hand).
PROMPTS = {64: 196, 256: 238}
# The mean of four prompts that fill one row, where it is longest: 99.6 by the speeds with and without prompts of the runs on
# four GPUs, and 35 more, the median of what the longest of 80 such means of GSM8K's questions has more (2026-11-27, by hand).
PACKED_PROMPT = 135
# Receipts: the longest row of a batch of 8, of which 132 tokens are the picture's (means of 60 drawn, 2026-11-26, by
# hand).
RECEIPT, RECEIPT_PICTURE = 350, 132


@dataclass(frozen=True)
class Measured:
    """A run that was measured, and what the planner says of it."""

    recipe: str
    config: str
    stage: str
    gpus: int
    variant: str
    gpu: str
    peak: float
    job: Job
    plan: Plan

    @property
    def error(self) -> float:
        """How far the plan is from the measurement, as a share of it."""
        return self.plan.peak / self.peak - 1


def settings_in(recipe: str, config: str) -> dict:
    """Returns what one of a recipe's configurations says."""
    return yaml.safe_load((ROOT / "recipes" / recipe / config).read_text(encoding="utf-8"))


def _job(run: dict) -> Job:
    own = settings_in(run["recipe"], run["configuration"]) if run["configuration"] != "config.yaml" else {}
    settings = settings_in(run["recipe"], "config.yaml") | run["settings then"] | own | VARIANTS[run["variant"]]
    if run.get("rows a device at once"):
        settings["per_device_train_batch_size"] = run["rows a device at once"]
    launch = ALL_STAGES[run["stage"]] | {"num_processes": run["gpus"]}
    job = job_of(settings, config_named(settings["model_name_or_path"]), **launch)
    rows = settings["per_device_train_batch_size"]
    if job.completions:
        longest = PROMPTS.get(job.completions, PROMPTS[64]) + 256
        tokens = rows * longest
        if job.attention == "varlen":
            tokens = rows * (PACKED_PROMPT + 256)
        job = replace(job, tokens=tokens, completion_length=longest)
    if run["recipe"] == "ocr_vision_language":
        job = replace(job, tokens=rows * RECEIPT, picture_share=RECEIPT_PICTURE / RECEIPT)
    return job


def measured(recipes: list[str] | None = None) -> list[Measured]:
    """Returns the runs at full size whose peak is recorded and whose variant `VARIANTS` knows how to plan.

    Not planned are eager attention, which keeps every score, evaluations, and the scripts of TRL's own trainer.

    Args:
        recipes: Those of these recipes alone.
    """
    found = {}
    for gpu, run in records():
        if run["variant"] not in VARIANTS:
            continue
        if recipes and run["recipe"] not in recipes:
            continue
        job = _job(run)
        key = (*(run[name] for name in ("recipe", "configuration", "stage", "gpus", "variant")), job.tokens)
        plan = estimate(job, MEMORY[gpu])
        found[key] = Measured(*key[:5], gpu, run["peak GPU memory GiB"], job, plan)
    return list(found.values())


def table() -> Iterator[str]:
    """Yields the plan beside what was measured, as a table of Markdown."""
    rows = measured()
    yield "| recipe | configuration | GPUs | tokens at once | phase | planned | measured | error |"
    yield "|---|---|---|---|---|---|---|---|"
    for row in rows:
        config = f"{row.config}, {row.stage}" + (f", {row.variant}" if row.variant else "")
        yield (
            f"| {row.recipe} | {config} | {row.gpus} | {row.job.tokens:,} | {row.plan.phase} | {row.plan.peak:.1f} | "
            f"{row.peak:.1f} | {100 * row.error:+.1f} % |"
        )
    within = sum(abs(row.error) <= 0.1 for row in rows)
    yield ""
    yield f"{within} of {len(rows)} are within 10 %, the farthest {max(abs(row.error) for row in rows):.1%} off."


def beside_others() -> Iterator[str]:
    """Yields what accelerate and DeepSpeed estimate for the same: they count states, and no activations."""
    yield "| recipe | configuration | GPUs | measured | planned | DeepSpeed | accelerate |"
    yield "|---|---|---|---|---|---|---|"
    for row in measured():
        if row.variant or row.job.lora is not None or row.job.offload_optimizer:
            continue
        deepspeed, accelerate = _others(row)
        yield (
            f"| {row.recipe} | {row.config}, {row.stage} | {row.gpus} | {row.peak:.1f} | {row.plan.peak:.1f} | {deepspeed:.1f} "
            f"({deepspeed / row.peak - 1:+.0%}) | {accelerate:.1f} ({accelerate / row.peak - 1:+.0%}) |"
        )


def _others(row: Measured) -> tuple[float, float]:
    """Returns the GiB that DeepSpeed and accelerate estimate for a run."""
    from accelerate.commands.estimate import estimate_training_usage
    from deepspeed.runtime.zero.stage3 import estimate_zero3_model_states_mem_needs
    from deepspeed.runtime.zero.stage_1_and_2 import estimate_zero2_model_states_mem_needs

    total = row.plan.counts.total
    launch = {"num_gpus_per_node": row.gpus, "num_nodes": 1, "cpu_offload": False}
    if row.job.zero_stage == 3:
        text = row.job.config.get_text_config()
        layer = text.vocab_size * text.hidden_size  # the largest
        _, found, _ = estimate_zero3_model_states_mem_needs(total, layer, **launch, cpu_offload_params=False)
    else:
        _, found = estimate_zero2_model_states_mem_needs(total, **launch)
    steps = estimate_training_usage(4 * total, "bfloat16")  # from the bytes in float32, as the command does
    return found / 2**30, max(steps.values()) / 2**30


if __name__ == "__main__":
    for line in table():
        print(line)
