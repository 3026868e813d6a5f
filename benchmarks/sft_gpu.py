"""The supervised recipes on one and two GPUs: tokens a second and memory of their configurations at full size.

    python benchmarks/sft_gpu.py --output_dir /tmp/bench --results benchmarks/results/sft_gpu.json

Runs the recipes' own launch command for 12 steps with each configuration and gathers what the runs left in metrics.jsonl. The
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

VARIANTS = {"sdpa": "--attn_implementation sdpa"}


def runs(recipe: str) -> list[Run]:
    """Returns the runs of a recipe."""
    plain = [Run(recipe, config, stage, n) for n in (1, 2) for config in ("config", "lora") for stage in ("zero2", "zero3")]
    return [*plain, Run(recipe, "config", "zero2", 1, "sdpa")]


def make_rows(recipe: str, count: int) -> list[dict]:
    """Returns conversations with tools, or question/answer pairs of the same texts; both of about 350 tokens."""
    sys.path.insert(0, str(ROOT / "recipes" / CALLING))
    from lesson.synthetic import generate_conversations

    conversations = generate_conversations(count, seed=0)
    if recipe == CALLING:
        return [{"messages": row["messages"], "tools": row["tools"]} for row in conversations]
    return [{"question": row["messages"][0]["content"], "answer": json.dumps(row["tools"])} for row in conversations]


def make_model(recipe: str, folder: Path, count: int = 7000) -> list[str]:
    """Saves a model of the recipe's full size with random weights, its data, and a small tokenizer of its family.

    Args:
        recipe: A key of `SHAPES`.
        folder: Where to.
        count: Number of rows; on two GPUs the last update of an epoch is a short one if there are fewer.

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
    small = Run("sft_instruct", "qlora_8gb", "zero2", 1)
    benchmark(__doc__, [*runs("sft_instruct"), small, *runs(CALLING)], VARIANTS, models)


if __name__ == "__main__":
    main()
