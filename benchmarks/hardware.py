"""Writes the tables of docs/hardware.md and docs/zero_stages.md: which GPUs suffice for what, and what of it was measured.

    python benchmarks/hardware.py

Needs no GPU and no hub, and two minutes.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from common.commands.places import find_recipe, recipe_folders
from common.commands.plan import configurations
from common.plan.configs import config_named
from common.plan.estimate import Job, Plan, estimate
from common.plan.fit import ALL_STAGES, STAGES, best_fit, host_memory
from common.plan.records import measured, speed_of

from plan_gpu import recorded
from plan_measured import beside_others, table

PAGES = [Path(__file__).resolve().parent.parent / "docs" / name for name in ("hardware.md", "zero_stages.md")]
SHOWN = 0.98  # of the memory that a card is sold with, in GiB, CUDA shows about so much (H100: 79.2 of 80, H200: 139.8 of 141)
GPU_SIZES = (8, 16, 24, 48, 80, 141)  # GB
NUM_GPUS = (1, 2, 4, 8)
CLASSES = {
    "below 1B": "Qwen3-0.6B",
    "1 to 7B": "Llama-3.2-3B",
    "7 to 20B": "Qwen3-14B",
    "20 to 70B": "Qwen3-32B",
    "70B": "Llama-3.1-70B",
    "far above 70B": "Llama-3.1-405B",
}
LORA = {"r": 16, "lora_dropout": 0.05, "target_modules": "all-linear"}
WAYS = {"all weights": {}, "LoRA": {"lora": LORA}, "QLoRA": {"lora": LORA, "load_in_4bit": True, "nested": True}}
CARDS = (24, 48, 80, 141)


def _gpus(count: int) -> str:
    return f"{count} GPU{'s' if count > 1 else ''}"


def cell(settings: dict, model: object, config: str, stage: str, num_gpus: int) -> str:
    """Returns the smallest card that suffices, or a dash."""
    for size in GPU_SIZES:
        if best_fit(settings, model, config=config, stage=stage, num_gpus=num_gpus, gpu_memory=SHOWN * size).fits:
            return str(size)
    return "-"


def recipe_table(recipe: str) -> Iterator[str]:
    """Yields the lines of a recipe's table."""
    yield f"| {recipe} | {' | '.join(_gpus(count) for count in NUM_GPUS)} | measured |"
    yield "|---" * (len(NUM_GPUS) + 2) + "|"
    for config, settings in configurations(find_recipe(recipe), None).items():
        model = config_named(settings["model_name_or_path"])
        for stage in STAGES:
            adapted = stage == "zero2_offload" and settings.get("use_peft")
            if adapted or (stage != "zero2" and settings.get("load_in_4bit")):
                continue
            cells, found = [], []
            for count in NUM_GPUS:
                smallest = cell(settings, model, config, stage, count)
                record = measured(recipe, config, stage, count, settings["per_device_train_batch_size"])
                if record:
                    gpu, run = record
                    found.append(f"{count}: {run['peak GPU memory GiB']:.1f} GiB, {speed_of(run)} ({gpu.split()[1]})")
                fits = record and smallest.isdigit() and run["peak GPU memory GiB"] <= SHOWN * int(smallest)
                cells.append(f"**{smallest}**" if fits else smallest)
            yield f"| {config}, {stage} | {' | '.join(cells)} | {'; '.join(found)} |"


def _first_that_fits(job: Job, size: int) -> str:
    """Returns the fewest GPUs and the fastest stage that suffice, without offloading if that goes."""
    for offloads in (False, True):
        for count in NUM_GPUS:
            for stage, launch in STAGES.items():
                if ("offload" in stage) != offloads or (job.load_in_4bit and stage != "zero2"):
                    continue
                tried = replace(job, num_processes=count, **launch)
                plan = estimate(tried, SHOWN * size)
                if plan.needed <= SHOWN * size:
                    return f"{count} x {stage}" + (f" ({host_memory(tried, plan):,.0f} GiB)" if offloads else "")
    return "none"


def class_table() -> Iterator[str]:
    """Yields the lines of the table of models by size."""
    yield "| size | model | what is trained | " + " | ".join(f"{size} GB" for size in CARDS) + " |"
    yield "|---" * (len(CARDS) + 3) + "|"
    for size, name in CLASSES.items():
        for way, changes in WAYS.items():
            job = Job(config_named(name), tokens=2048, **changes)
            yield f"| {size} | {name} | {way} | " + " | ".join(_first_that_fits(job, card) for card in CARDS) + " |"


def stage_table() -> Iterator[str]:
    """Yields the lines of the table of ZeRO stages, for a 3B model with the rows of its recipe."""
    yield f"| configuration | {' | '.join(_gpus(count) for count in NUM_GPUS)} | what takes most, on 8 |"
    yield "|---" * (len(NUM_GPUS) + 2) + "|"
    for stage, launch in ALL_STAGES.items():
        job = Job(config_named("Llama-3.2-3B"), tokens=4 * 2048, **launch)
        plans: list[Plan] = [estimate(replace(job, num_processes=count)) for count in NUM_GPUS]
        yield f"| `{stage}.yaml` | " + " | ".join(f"{plan.peak:.1f}" for plan in plans) + f" | {plans[-1].phase} |"


def recipe_tables() -> Iterator[str]:
    """Yields the tables of all recipes."""
    for number, folder in enumerate(recipe_folders()):
        yield from [""] * bool(number)
        yield from recipe_table(folder.name)


TABLES = {
    "recipes": recipe_tables,
    "sizes": class_table,
    "stages": stage_table,
    "measured": table,
    "unseen": recorded,
    "others": beside_others,
}


def written(text: str) -> str:
    """Returns a page with its tables written anew.

    Args:
        text: The page; a table stands between a comment that names it and one that ends it.
    """

    def write(found: re.Match) -> str:
        return "\n".join([found[1], "", *TABLES[found[2]](), "", found[3]])

    return re.sub(r"(<!-- (\w+) -->)\n.*?(<!-- end -->)", write, text, flags=re.DOTALL)


if __name__ == "__main__":
    for path in PAGES:
        path.write_text(written(path.read_text(encoding="utf-8")), encoding="utf-8")
