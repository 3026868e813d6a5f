"""A model of gpt-oss-20b's shape with random weights, and rows: what micro_batch_gpu.py and scaling_gpu.py train.

42 GB on the disk in bfloat16, so no hub is needed; the rows are generated thoughts of nearly 2048 tokens. A step costs what a
real one of such rows costs, and nothing is said about what is learned.
"""

import json
import random
import sys
from importlib.resources import files
from pathlib import Path

from common.models.tiny import tiny_tokenizer

from transformers import AutoModelForCausalLM, GptOssConfig, PreTrainedTokenizerBase

from gpu import save_random_model
from launching import ROOT

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
FLAGS = f"--max_steps 10 --max_length {LENGTH} --skip_bad_rows true"  # some are too long


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
