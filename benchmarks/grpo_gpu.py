"""The GRPO recipes on one and two GPUs, with the rollout engine and as TRL's defaults have it: time, tokens a second, memory.

    python benchmarks/grpo_gpu.py --gsm8k train.jsonl --output_dir /tmp/bench --results benchmarks/results/NAME.json

Runs the recipes' own launch command for some steps with each configuration and gathers what the runs left. The model has the
shape of Qwen2.5-1.5B and random weights, so it needs no hub: every completion is as long as the limit, its steps cost what real
ones cost then, and its answers are noise. Accuracy is only read off grpo_math's tiny runs. Of multi_agent_grpo the team is
measured, not the aggregator and the baseline, whose steps cost what those of grpo_math cost.
"""

from functools import partial
from pathlib import Path
from statistics import median

from common.data.runs import read_rows
from common.models.tiny import tiny_tokenizer

from transformers import AutoModelForCausalLM, Qwen2Config

from gpu import benchmark, save_random_model
from launching import Run
from readings import read_profile, rows_a_step

SHAPE = {  # of Qwen2.5-1.5B
    "vocab_size": 151936,
    "hidden_size": 1536,
    "intermediate_size": 8960,
    "num_hidden_layers": 28,
    "num_attention_heads": 12,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32768,
    "tie_word_embeddings": True,
}
MATH, TEAM = "grpo_math", "multi_agent_grpo"
# A checkpoint of 20 GB at the end is not what is measured.
SHORT = "--max_steps 14 --eval_steps 1000 --save_strategy no"
FLAGS = {
    MATH: "--num_train 2048 --num_held_out 32".split(),
    TEAM: [*"--num_train 64 --num_held_out 4 --aggregator_steps 0 --single_agent".split(), ""],
}
TOKENS = "--max_completion_length 256"
# What GRPOTrainer does by itself: completions from `generate`, its own modules, recomputation, 16 rows at once.
TRL = f"{TOKENS} --max_steps 3 --cache_implementation dynamic --use_liger_kernel false --activation_checkpointing true"
TRL += " --per_device_train_batch_size 16 --gradient_accumulation_steps 4"
VARIANTS = {
    "64": TOKENS,
    "64_profile": TOKENS,
    "64x1": f"{TOKENS} --per_device_train_batch_size 64 --gradient_accumulation_steps 1",
    "256": f"{TOKENS} --gradient_accumulation_steps 8",
    "lora": f"{TOKENS} --use_peft true --lora_target_modules all-linear",
    "trl": TRL,
    "evaluation": "--num_held_out 1319 --max_steps 1",
    "generate": "--cache_implementation dynamic",
    "adapter_per_agent": "--adapter_per_agent true --max_steps 2",
}

RUNS = [Run(MATH, "config", "zero2", 1, variant) for variant in ("trl", "64", "64x1", "256", "lora", "evaluation", "")]
RUNS += [Run(MATH, "config", "zero2", 1, "64_profile", f"benchmarks/profile_step.py recipes/{MATH}/train.py")]
RUNS += [Run(MATH, "config", "zero3", 1, "64"), Run(MATH, "lora_8gb", "zero2", 1)]
RUNS += [Run(MATH, "config", stage, 2, "64") for stage in ("zero2", "zero3")]
RUNS += [Run(TEAM, "config", "zero2", 1, variant) for variant in ("trl", "64")]
RUNS += [Run(TEAM, "lora_8gb", "zero2", 1, variant) for variant in ("", "adapter_per_agent")]
RUNS += [Run(MATH, "tiny", "zero2", 1, variant) for variant in ("", "generate")]


def make_model(recipe: str, folder: Path, gsm8k: Path) -> list[str]:
    """Saves a model of Qwen2.5-1.5B's shape with random weights, and a small tokenizer with Qwen's chat format.

    Args:
        recipe: A key of `FLAGS`.
        folder: Where to.
        gsm8k: GSM8K's train.jsonl.

    Returns:
        The flags that name the data, and how much of it is used.
    """
    tokenizer = tiny_tokenizer(gsm8k.read_text(encoding="utf-8").splitlines()[:2000], vocab_size=8192)
    config = Qwen2Config(
        **SHAPE,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    save_random_model(AutoModelForCausalLM, config, tokenizer, folder)
    rows = gsm8k.read_text(encoding="utf-8").splitlines(keepends=True)
    parts = {"dataset_name": rows[1319:], "test_dataset_name": rows[:1319]}  # as many as GSM8K has to report on
    for name, lines in parts.items():
        (folder / f"{name}.jsonl").write_text("".join(lines))
    return [*FLAGS[recipe], *(word for name in parts for word in (f"--{name}", str(folder / f"{name}.jsonl")))]


def read(run: Run, folder: Path) -> dict:
    """Returns the times and memory of a run, and the accuracy of a tiny one."""
    if run.variant.endswith("profile"):
        return read_profile(folder)
    if run.recipe == TEAM:
        # In turns the last agent's is the dearest: it trains beside all the other adapters.
        folder /= "backwards" if run.variant == "adapter_per_agent" else "team"
    rows, completions = read_rows(folder / "metrics.jsonl"), rows_a_step(run, folder)
    # The first step compiles and allocates: it is shown apart, or it would hide what the others cost.
    first, *later = [row for row in rows if "step_time" in row]
    if not later:
        evaluated = next(row for row in rows if "evaluation_seconds" in row)
        length = evaluated["metrics"]["mean_completion_length"]["value"]
        return {
            "problems": evaluated["count"],
            "tokens of a completion, mean": round(length),
            "evaluation s": evaluated["evaluation_seconds"],
            "peak GPU memory GiB": rows[-1]["peak_memory_gib"],
        }
    seconds, length = (median(row[name] for row in later) for name in ("step_time", "completions/mean_length"))
    tokens = (later[-1]["num_tokens"] - first["num_tokens"]) / len(later)
    entry = {
        "completions a step": completions,
        "tokens of a completion, mean": round(length),
        "first step s": round(first["step_time"], 2),
        "median later step s": round(seconds, 2),
        "sampled tokens/s": round(completions * length / seconds),
        "tokens/s, prompts included": round(tokens / seconds),
        "seconds in all": rows[-1]["seconds"],
        "peak GPU memory GiB": rows[-1]["peak_memory_gib"],
    }
    if "rollout_time" in first:
        rollout = median(row["rollout_time"] for row in later)
        entry["rollout s"] = round(rollout, 3)
        entry["generated tokens/s/GPU"] = round(completions * length / rollout / run.num_gpus)
        difference = "sampling/sampling_logp_difference/mean"
        entry["difference of log-probabilities"] = round(median(row[difference] for row in later), 4)
    if run.config == "tiny":
        evaluations = [row for row in rows if row.get("split") == "held_out"]
        entry["accuracy by step"] = {row["step"]: row["metrics"]["accuracy"]["value"] for row in evaluations}
    return entry


def main() -> None:
    models = {recipe: partial(make_model, recipe) for recipe in FLAGS}
    benchmark(__doc__, RUNS, VARIANTS, models, read, SHORT, {"gsm8k": "GSM8K's train.jsonl"})


if __name__ == "__main__":
    main()
