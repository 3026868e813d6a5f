"""The supervised recipes on one and two GPUs: tokens a second and memory of their configurations at full size.

    python benchmarks/sft_gpu.py --output_dir /tmp/bench --results benchmarks/results/sft_gpu.json

Runs the recipes' own launch command for 20 steps with each configuration and gathers what the runs left in metrics.jsonl. The
models have the shapes of Llama-3.2-3B and Qwen3-0.6B and random weights, the data are generated, so no hub is needed: a step
costs what a real one costs, and nothing is said about accuracy.
"""

import json
import sys
from functools import partial
from pathlib import Path

from common.models.tiny import tiny_tokenizer

from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedConfig, Qwen3Config

from gpu import benchmark, save_random_model
from launching import ROOT, Run

SHAPES = {
    "sft_instruct": (
        "llama",
        LlamaConfig,
        {"vocab_size": 128256, "hidden_size": 3072, "intermediate_size": 8192, "num_attention_heads": 24},
    ),
    "trl_function_calling": (
        "qwen3",
        Qwen3Config,
        {"vocab_size": 151936, "hidden_size": 1024, "intermediate_size": 3072, "num_attention_heads": 16},
    ),
}
CALLING = "trl_function_calling"

# What the full-size configurations are compared with, one by one, under ZeRO-2 on one GPU: flags that differ from them.
VARIANTS = {
    "sdpa": "--attn_implementation sdpa",
    "padding": "--packing false --attn_implementation sdpa --per_device_train_batch_size 8 --gradient_accumulation_steps 1",
    "no_recompute": "--activation_checkpointing false",
    "no_liger": "--use_liger_kernel false",
}


def runs(recipe: str) -> list[Run]:
    """Returns the runs of a recipe."""
    compared = [Run(recipe, "config", "zero2", 1, variant) for variant in VARIANTS]
    plain = [Run(recipe, config, stage, n) for n in (1, 2) for config in ("config", "lora") for stage in ("zero2", "zero3")]
    return [*plain, *compared]


def make_rows(recipe: str, count: int) -> list[dict]:
    """Returns conversations with tools, or question/answer pairs of the same texts; both of about 350 tokens."""
    sys.path.insert(0, str(ROOT / "recipes" / CALLING))
    from lesson.synthetic import generate_conversations

    conversations = generate_conversations(count, seed=0)
    if recipe == CALLING:
        return [{"messages": row["messages"], "tools": row["tools"]} for row in conversations]
    return [{"question": row["messages"][0]["content"], "answer": json.dumps(row["tools"])} for row in conversations]


def make_model(recipe: str, folder: Path, count: int = 3000) -> list[str]:
    """Saves a model of the recipe's full size with random weights, its data, and a small tokenizer of its family.

    Args:
        recipe: A key of `SHAPES`.
        folder: Where to.
        count: Number of rows.

    Returns:
        The flags that name the data.
    """
    family, config_class, sizes = SHAPES[recipe]
    rows = make_rows(recipe, count)
    tokenizer = tiny_tokenizer([json.dumps(row) for row in rows[:1000]], family, vocab_size=4096)
    config: PreTrainedConfig = config_class(
        num_hidden_layers=28,
        num_key_value_heads=8,
        head_dim=128,
        max_position_embeddings=32768,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **sizes,
    )
    save_random_model(AutoModelForCausalLM, config, tokenizer, folder)
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return ["--dataset_name", str(folder / "rows.jsonl"), *(["--chat_dataset_name", ""] if recipe == CALLING else [])]


def main() -> None:
    models = {recipe: partial(make_model, recipe) for recipe in SHAPES}
    benchmark(__doc__, [run for recipe in SHAPES for run in runs(recipe)], VARIANTS, models)


if __name__ == "__main__":
    main()
