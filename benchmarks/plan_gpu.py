"""The planner against runs that it was not made with: other lengths, rows and settings, on one GPU and on two.

    python benchmarks/plan_gpu.py --output_dir /tmp/plan --results benchmarks/results/plan_gpu.json --gsm8k train.jsonl \
        --timeout 90 --stop_after 400

Runs the recipes' own launch command for three steps with random weights of the recipes' shapes, so no hub is needed, and prints
each peak beside its plan. On a machine of two GPUs the runs on one go side by side. A run takes some 45 seconds: on one GPU
nine ended in 443, and `--only` chooses the others in another call. Without a GPU it rehearses: the smallest of the runs, as its
tiny.yaml has it, whose memory means nothing.
"""

import json
import random
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from importlib.resources import files
from pathlib import Path
from statistics import mean

from common.data.runs import read_rows
from common.models.families import CHAT_TEMPLATES
from common.models.tiny import tiny_tokenizer
from common.plan.configs import config_named
from common.plan.estimate import estimate
from common.plan.jobs import job_of

import torch
import yaml

import grpo_gpu
import ocr_gpu
import sft_gpu
from gpu import benchmark
from launching import ROOT, Run
from plan_measured import RECEIPT, RECEIPT_PICTURE

CALLING, OCR, MATH = "trl_function_calling", "ocr_vision_language", "grpo_math"
STEPS = 3
SHORT = f"--max_steps {STEPS} --eval_strategy no --load_best_model_at_end false --early_stopping_patience 0 --save_strategy no"
SHORT += " --num_held_out 2 --max_new_tokens 4 --eval_steps 1000"
GENERATES = f"--max_steps {STEPS} --save_strategy no --eval_steps 1000 --num_train 512 --num_held_out 8"
# By name the settings that differ from a configuration's.
VARIANTS = {
    "short_rows": {"max_length": 2048, "per_device_train_batch_size": 16, "gradient_accumulation_steps": 1},
    "long_rows": {"max_length": 8192, "per_device_train_batch_size": 4, "gradient_accumulation_steps": 1},
    "no_recompute": {"activation_checkpointing": False, "max_length": 2048},
    "liger": {"use_liger_kernel": True, "activation_checkpointing": False, "per_device_train_batch_size": 2},
    "qlora": {"load_in_4bit": True, "use_bnb_nested_quant": True, "per_device_train_batch_size": 2},
    "few": {"max_completion_length": 128, "per_device_train_batch_size": 16, "gradient_accumulation_steps": 4},
    "recompute": {"max_completion_length": 256, "activation_checkpointing": True},
    "no_recompute_lora": {"activation_checkpointing": False, "per_device_train_batch_size": 4},
    "": {},
}
RUNS = [
    Run(CALLING, "config", "zero2", 1, "short_rows"),
    Run(CALLING, "config", "zero2", 1, "long_rows"),
    Run(CALLING, "config", "zero1", 1, "no_recompute"),
    Run(CALLING, "config", "zero3", 1, "no_recompute"),
    Run(CALLING, "config", "zero2", 1, "liger"),
    Run(CALLING, "lora", "zero2", 1, "no_recompute"),
    Run(CALLING, "lora", "zero3", 1, "long_rows"),
    Run(CALLING, "lora", "zero2", 1, "qlora"),
    Run(MATH, "config", "zero2", 1, "few"),
    Run(MATH, "config", "zero3", 1, "few"),
    Run(MATH, "config", "zero2", 1, "recompute"),
    Run(MATH, "lora_8gb", "zero2", 1),
    Run(OCR, "config", "zero2", 1, "no_recompute_lora"),
    Run(OCR, "full", "zero2", 1),
    Run(CALLING, "config", "zero1", 2, "short_rows"),
    Run(CALLING, "config", "zero3", 2, "long_rows"),
    Run(MATH, "config", "zero3", 2, "few"),
    Run(OCR, "config", "zero2", 2),
]


def settings_of(run: Run) -> dict:
    """Returns the settings of a run."""
    settings: dict = {}
    for name in ("config", run.config):
        settings |= yaml.safe_load((ROOT / "recipes" / run.recipe / f"{name}.yaml").read_text(encoding="utf-8"))
    return settings | VARIANTS[run.variant]


def planned(run: Run, gpu_memory: float | None, prompts: list[int]) -> dict[str, float]:
    """Returns the plan of a run, its rows as long as its data make them.

    Args:
        run: The run.
        gpu_memory: GiB of a GPU, if there is one.
        prompts: Tokens of each of the problems.
    """
    settings = settings_of(run)
    model = config_named(settings["model_name_or_path"])
    job = job_of(settings, model, zero_stage=int(run.stage[4]), num_processes=run.num_gpus)
    rows = settings["per_device_train_batch_size"]
    if job.completions:
        # TRL pads to the longest prompt of a generation; those of all steps are a sample of the problems.
        drawn = STEPS * run.num_gpus * job.completions // settings["num_generations"]
        rng = random.Random(0)
        longest = round(mean(max(rng.sample(prompts, drawn)) for _ in range(200))) + settings["max_completion_length"]
        job = replace(job, tokens=rows * longest, completion_length=longest)
    elif run.recipe == OCR:
        job = replace(job, tokens=rows * RECEIPT, picture_share=RECEIPT_PICTURE / RECEIPT)
    return estimate(job, gpu_memory).gib


def lengths_of_prompts(gsm8k: Path) -> list[int]:
    """Returns how many tokens each problem's prompt has, in the benchmark's small vocabulary."""
    lines = gsm8k.read_text(encoding="utf-8").splitlines()
    tokenizer = tiny_tokenizer(lines[:2000], vocab_size=8192)
    tokenizer.chat_template = (files("trl") / "chat_templates" / f"{CHAT_TEMPLATES['qwen2']}.jinja").read_text()
    system = yaml.safe_load((ROOT / "recipes" / MATH / "config.yaml").read_text(encoding="utf-8"))["system_prompt"]
    turns = [
        [{"role": "system", "content": system}, {"role": "user", "content": json.loads(line)["question"]}]
        for line in lines[1319:1831]
    ]
    return [
        len(tokenizer.apply_chat_template(each, add_generation_prompt=True, tokenize=True, return_dict=False)) for each in turns
    ]


def make_model(recipe: str, folder: Path, gsm8k: Path) -> list[str]:
    """Saves a recipe's model, and returns the flags that name its data and end a run after a few steps; see `gpu.benchmark`."""
    if recipe == MATH:
        return [*GENERATES.split(), *grpo_gpu.make_model(MATH, folder, gsm8k)]
    return [*SHORT.split(), *(ocr_gpu.make_model(folder) if recipe == OCR else sft_gpu.make_model(recipe, folder))]


def main() -> None:
    has_gpu = torch.cuda.is_available()
    memory = torch.cuda.get_device_properties(0).total_memory / 2**30 if has_gpu else 79.2  # an H100's
    prompts: list[int] = []

    def make(recipe: str, folder: Path, gsm8k: Path) -> list[str]:
        prompts[:] = prompts or lengths_of_prompts(gsm8k)
        return make_model(recipe, folder, gsm8k)

    def read(run: Run, folder: Path) -> dict:
        peak = read_rows(folder / "metrics.jsonl")[-1]["peak_memory_gib"]
        return {"peak GPU memory GiB": peak} | ({"planned": planned(run, memory, prompts)} if has_gpu else {})

    flags = {name: " ".join(f"--{key} {str(value).lower()}" for key, value in of.items()) for name, of in VARIANTS.items()}
    models = {recipe: partial(make, recipe) for recipe in (CALLING, MATH, OCR)}
    runs = RUNS if has_gpu else [Run(CALLING, "tiny", "zero2", 1, "rehearsal")]
    flags["rehearsal"] = f"{SHORT} --num_train 64"
    args, entries = benchmark(__doc__, runs, flags, models, read, short="", files={"gsm8k": "GSM8K's train.jsonl"})
    if has_gpu:
        print(*table(entries), sep="\n")
    else:
        prompts = lengths_of_prompts(args.gsm8k)
        print(*(f"{run.name}: planned {planned(run, memory, prompts)['peak']} GiB" for run in RUNS), sep="\n")


def table(entries: list[dict]) -> Iterator[str]:
    """Yields the plan beside the peak of each run that ended, as a table of Markdown.

    Args:
        entries: The runs, as the record has them.
    """
    yield "| recipe | configuration | GPUs | planned | measured | error |"
    yield "|---|---|---|---|---|---|"
    errors = []
    for entry in entries:
        config = f"{entry['configuration']}, {entry['stage']}" + (f", {entry['variant']}" if entry["variant"] else "")
        last = "| did not end | |"
        if "planned" in entry:
            peak, plan = entry["peak GPU memory GiB"], entry["planned"]["peak"]
            errors.append(plan / peak - 1)
            last = f"{plan:.1f} | {peak:.1f} | {100 * errors[-1]:+.1f} % |"
        yield f"| {entry['recipe']} | {config} | {entry['gpus']} | {last}"
    yield ""
    within = sum(abs(error) <= 0.1 for error in errors)
    yield f"{within} of {len(errors)} are within 10 %, the farthest {max(map(abs, errors), default=0):.1%} off."


def recorded() -> Iterator[str]:
    """Yields the table of the runs that are kept in benchmarks/results."""
    yield from table(json.loads((ROOT / "benchmarks" / "results" / "plan_gpu.json").read_text(encoding="utf-8"))["runs"])


if __name__ == "__main__":
    main()
