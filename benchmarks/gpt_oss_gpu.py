"""gpt_oss_multilingual on one and two GPUs: tokens a second and memory at full size, eager attention against flex attention.

    python benchmarks/gpt_oss_gpu.py --output_dir /tmp/bench --results benchmarks/results/gpt_oss_gpu.json --timeout 400

Runs the recipe's own launch command for 10 steps with each configuration and gathers what the runs left in metrics.jsonl. The
model has the shape of gpt-oss-20b and random weights in bfloat16 (42 GB on the disk), the rows are generated thoughts of nearly
2048 tokens, so no hub is needed: a step costs what a real one of such rows costs, and nothing is said about what is learned.
"""

import json
import random
import sys
from importlib.resources import files
from pathlib import Path

from common.models.tiny import tiny_tokenizer

from transformers import AutoModelForCausalLM, GptOssConfig, PreTrainedTokenizerBase

from gpu import benchmark, save_random_model
from launching import ROOT, Run

GPT_OSS = "gpt_oss_multilingual"
# Those of openai/gpt-oss-20b's config.json on the hub; what is left out is transformers' default for the family.
SIZES = {
    "vocab_size": 201088,
    "hidden_size": 2880,
    "intermediate_size": 2880,
    "num_hidden_layers": 24,
    "num_local_experts": 32,
    "num_experts_per_tok": 4,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "head_dim": 64,
    "sliding_window": 128,
    "max_position_embeddings": 131072,
}
LENGTH = 2048
# Two rows an update instead of 16: the same work for a row, and less of it.
FLAGS = f"--max_steps 10 --max_length {LENGTH} --gradient_accumulation_steps 2 --skip_bad_rows true"  # some are too long

TRL = "--per_device_train_batch_size 2 --gradient_accumulation_steps 1 --activation_checkpointing true"
# What the configuration is compared with, one by one: flags that differ from it.
VARIANTS = {
    "eager": "--attn_implementation eager",
    "recompute": "--activation_checkpointing true",
    # The batch of the command in TRL's examples/scripts/sft_gpt_oss.py (2 rows at once, none accumulated), with the attention
    # that every machine has: the kernel which it names comes from the hub. The rest of that command cannot be had here: it
    # trains all weights, which takes more than one or two GPUs, on packed rows of 4096 tokens. The adapters stay ours.
    "trl_example": f"{TRL} --attn_implementation eager",
    "trl_example_flex": TRL,
}


RUNS = [Run(GPT_OSS, "config", stage, n, variant) for n in (1, 2) for stage in ("zero2", "zero3") for variant in ("", "eager")]
RUNS += [Run(GPT_OSS, "config", "zero2", 1, variant) for variant in ("trl_example", "trl_example_flex", "recompute")]


def make_rows(count: int, tokenizer: PreTrainedTokenizerBase | None = None) -> list[dict]:
    """Returns generated conversations; with a tokenizer, with thoughts so long that each nearly fills a row.

    Args:
        count: How many.
        tokenizer: Measures their length.
    """
    sys.path.insert(0, str(ROOT / "recipes" / GPT_OSS))
    from lesson.synthetic import LANGUAGES, all_problems, generate

    problems, rows = all_problems(), []
    for row in generate(problems, count, LANGUAGES, "rows"):
        if tokenizer:
            last, length = row["messages"][-1], 150  # of question, answer and template
            thoughts = []
            for other in generate(problems, LENGTH // 8, [row["thinking_language"]], str(random.Random(len(rows)).random())):
                thoughts.append(other["messages"][-1]["thinking"])
                length += len(tokenizer(thoughts[-1])["input_ids"]) + 1
                if length > LENGTH - 140:  # what a row has besides is a guess
                    break
            last["thinking"] = " ".join(thoughts)
        rows.append(row)
    return rows


def make_model(folder: Path, count: int = 60) -> list[str]:
    """Saves a model of gpt-oss-20b's shape with random weights, a small tokenizer of its family, and rows.

    Args:
        folder: Where to.
        count: Number of rows.

    Returns:
        The flags that name the data.
    """
    texts = [message[key] for row in make_rows(2000) for message in row["messages"] for key in message if key != "role"]
    tokenizer = tiny_tokenizer(texts, "gpt_oss", vocab_size=4096)
    tokenizer.chat_template = (files("trl") / "chat_templates" / "gptoss.jinja").read_text()
    ids = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id, "bos_token_id": None}
    save_random_model(AutoModelForCausalLM, GptOssConfig(**ids, **SIZES), tokenizer, folder)
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in make_rows(count, tokenizer)))
    return ["--dataset_name", str(folder / "rows.jsonl"), *FLAGS.split()]


def main() -> None:
    benchmark(__doc__, RUNS, VARIANTS, {GPT_OSS: make_model})


if __name__ == "__main__":
    main()
