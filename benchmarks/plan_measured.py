"""The planner beside every peak that was measured, and beside accelerate's and DeepSpeed's own estimates.

    python benchmarks/plan_measured.py

Needs no GPU: the measured peaks stand in benchmarks/results. Where the rows of the data that were measured on are shorter than
the settings allow, their own lengths are planned with, which stand below.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from common.plan.estimate import Job, Plan, estimate
from common.plan.jobs import job_of
from common.plan.shapes import config_named

import yaml

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
MEMORY = {"NVIDIA H200": 139.8, "NVIDIA H100 80GB HBM3": 79.2}  # GiB
# What the flags of the benchmarks' variants change.
VARIANTS = {
    "no_recompute": {"activation_checkpointing": False},
    "freeze_vision_tower": {"freeze_vision_tower": True},
    "lora": {"use_peft": True},
    "256": {"gradient_accumulation_steps": 8},
    "64": {},
    "": {},
    "trl": {
        "per_device_train_batch_size": 16,
        "gradient_accumulation_steps": 4,
        "activation_checkpointing": True,
        "use_liger_kernel": False,
    },
    "trl_example_flex": {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 1},
    "trl_sft_vlm": {},
    "sdpa": {"attn_implementation": "sdpa"},
}
# GSM8K's prompts in the benchmark's tokens: the longest of the 14 steps of 8 prompts, and of those of 32.
PROMPTS = {64: 196, 256: 238}
# Receipts: the longest row of a batch of 8, of which 132 tokens are the picture's (means of 60 that were drawn).
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


def settings_of(recipe: str, *configs: str) -> dict:
    """Returns the settings of a recipe's config.yaml and of others over it."""
    found: dict = {}
    for name in ("config.yaml", *configs):
        found |= yaml.safe_load((ROOT / "recipes" / recipe / name).read_text(encoding="utf-8"))
    return found


def _records() -> Iterator[tuple[str, dict]]:
    for name in ("sft_gpu", "grpo_gpu", "ocr_gpu", "gpt_oss_gpu"):
        content = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
        for record in content if isinstance(content, list) else [content]:
            for run in record["runs"]:
                yield record["GPU"], run


def _job(run: dict) -> Job:
    settings = settings_of(run["recipe"], run["configuration"]) | VARIANTS[run["variant"]]
    if "rows a device at once" in run:
        settings["per_device_train_batch_size"] = run["rows a device at once"]
    job = job_of(settings, config_named(settings["model_name_or_path"]), stage=int(run["stage"][4]), num_processes=run["gpus"])
    rows = settings["per_device_train_batch_size"]
    if job.completions:
        longest = PROMPTS.get(job.completions, PROMPTS[64]) + 256
        job = replace(job, tokens=rows * longest, completion_length=longest)
        job = replace(job, attention="sdpa")  # these runs were before `varlen`
    if run["recipe"] == "ocr_vision_language":
        job = replace(job, tokens=rows * RECEIPT, picture_share=RECEIPT_PICTURE / RECEIPT)
    return job


def measured(recipes: list[str] | None = None) -> list[Measured]:
    """Returns every run at full size whose peak is recorded; eager attention, which keeps every score, is not planned.

    Args:
        recipes: Those of these recipes alone.
    """
    found = {}
    for gpu, run in _records():
        if run["configuration"] == "tiny.yaml" or run["variant"] not in VARIANTS or "peak GPU memory GiB" not in run:
            continue
        if recipes and run["recipe"] not in recipes:
            continue
        job = _job(run)
        key = (*(run[name] for name in ("recipe", "configuration", "stage", "gpus", "variant")), job.tokens)
        plan = estimate(job, MEMORY[gpu])
        found[key] = Measured(*key[:5], gpu, run["peak GPU memory GiB"], job, plan)
    return list(found.values())


def print_table(rows: list[Measured]) -> None:
    """Prints the plan beside what was measured, as a table of Markdown."""
    print("| recipe | configuration | GPUs | tokens at once | phase | planned | measured | error |")
    print("|---|---|---|---|---|---|---|---|")
    for row in rows:
        config = f"{row.config}, {row.stage}" + (f", {row.variant}" if row.variant else "")
        print(
            f"| {row.recipe} | {config} | {row.gpus} | {row.job.tokens:,} | {row.plan.phase} | {row.plan.peak:.1f} | "
            f"{row.peak:.1f} | {100 * row.error:+.1f} % |"
        )
    within = sum(abs(row.error) <= 0.1 for row in rows)
    print(f"\n{within} of {len(rows)} within 10 %, GiB of tensors on a GPU.")


if __name__ == "__main__":
    print_table(measured())
