"""sft_instruct with rows of 2k, 8k and 32k tokens on one GPU: tokens a second and memory, beside the plan.

    python benchmarks/long_context_gpu.py --output_dir /tmp/long --results benchmarks/results/long_context_gpu.json

Llama-3.2-3B's shape with random weights, packed rows, ZeRO-2, recomputation, with all weights and with LoRA. A row is one
conversation that is nearly as long as it may be: a document, and a question about it with a short answer. An update has 32,768
tokens whatever the rows' length, so that the runs differ by the length alone. Each is of 7 steps, of which the first four do
not count; what matters most goes first, and none is begun after `--stop_after` seconds. `--small` rehearses without a GPU, with
two small layers and rows of a sixteenth.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from random import Random

from common.models.tiny import tiny_tokenizer
from common.plan.estimate import estimate
from common.plan.jobs import job_of
from common.run.record import versions

import torch
import yaml
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerBase

from gpu import SHORT, save_random_model
from launching import ROOT, Run, launch
from readings import read_supervised
from sft_gpu import SHAPES, make_rows

SFT = "sft_instruct"
LENGTHS = (2048, 8192, 32768)  # tokens of a row
UPDATE = 32768  # tokens
ROWS = 40
ANSWER = 160  # tokens that are left for the question, the answer and what the template writes around them
FLAGS = SHORT.replace("--max_steps 12", "--max_steps 7") + " --per_device_eval_batch_size 2 --gradient_accumulation_steps 1"
# What is run, in this order: a configuration, its rows' length, and whether it recomputes.
RUNS = [
    ("lora", 32768, True),
    ("config", 32768, True),
    ("lora", 2048, True),
    ("config", 2048, True),
    ("lora", 8192, True),
    ("config", 8192, True),
    ("lora", 8192, False),
]


def write_rows(path: Path, length: int, tokenizer: PreTrainedTokenizerBase) -> None:
    """Writes conversations of nearly so many tokens each; with few tokens only the answer stands in one."""
    rng, texts = Random(length), [row["answer"] for row in make_rows(SFT, 200)]
    lengths = list(map(len, tokenizer(texts, add_special_tokens=False)["input_ids"]))
    with path.open("w", encoding="utf-8") as file:
        for number in range(ROWS):
            document, left = [f"Document {number}."], length - ANSWER
            while fitting := [place for place, size in enumerate(lengths) if size < left]:
                chosen = rng.choice(fitting)
                document.append(texts[chosen])
                left -= lengths[chosen] + 1
            question = "\n".join([*document, "Which tool is named first?"])
            file.write(json.dumps({"question": question, "answer": f"Number {number}: {rng.choice(texts)[:100]}"}) + "\n")


def make_model(folder: Path, lengths: list[int], small: bool) -> LlamaConfig:
    """Saves a model and a file of rows for each length, and the short rows that are measured, and returns its configuration."""
    family, config_class, sizes = SHAPES[SFT]
    short = make_rows(SFT, 1000)
    tokenizer = tiny_tokenizer([json.dumps(row) for row in short], family, vocab_size=4096)
    if small:
        sizes = {"vocab_size": len(tokenizer), "hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4}
    config = config_class(
        num_hidden_layers=2 if small else 28,
        num_key_value_heads=2 if small else 8,
        head_dim=16 if small else 128,
        max_position_embeddings=max(lengths),
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **sizes,
    )
    save_random_model(AutoModelForCausalLM, config, tokenizer, folder)
    for length in lengths:
        write_rows(folder / f"rows_{length}.jsonl", length, tokenizer)
    for name, rows in {"validation": short[:8], "test": short[8:16]}.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return config


def settings_of(configuration: str, length: int, update: int, recompute: bool) -> dict:
    """Returns the settings of a run that are no path."""
    settings: dict = {}
    for name in ("config", configuration):
        settings |= yaml.safe_load((ROOT / "recipes" / SFT / f"{name}.yaml").read_text(encoding="utf-8"))
    rows = {"max_length": length, "per_device_train_batch_size": update // length, "activation_checkpointing": recompute}
    return settings | rows | {"gradient_accumulation_steps": 1}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output_dir", type=lambda path: Path(path).resolve(), required=True, help="a new folder for the runs")
    parser.add_argument("--results", type=Path, required=True, help="the JSON file to write")
    parser.add_argument("--timeout", type=float, default=75, help="seconds for each run")
    parser.add_argument("--stop_after", type=float, default=240, help="seconds after which no run is begun")
    parser.add_argument(
        "--small", action="store_true", help="two small layers and rows of a sixteenth, to rehearse without a GPU"
    )
    args = parser.parse_args()
    started, scale = time.monotonic(), 16 if args.small else 1
    folder = args.output_dir / "model"
    folder.mkdir(parents=True)
    model = make_model(folder, [length // scale for length in LENGTHS], args.small)
    has_gpu = torch.cuda.is_available()
    memory = torch.cuda.get_device_properties(0).total_memory / 2**30 if has_gpu else None
    record = {"date": time.strftime("%Y-%m-%d"), "command": " ".join(["python", *sys.argv]), **versions(), "runs": []}
    print("| configuration | tokens of a row | rows at once | recomputation | tokens/s | peak GiB | planned GiB |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for configuration, length, recompute in RUNS:
        if time.monotonic() - started > args.stop_after:
            break
        settings = settings_of(configuration, length // scale, UPDATE // scale, recompute)
        rows = settings["per_device_train_batch_size"]
        run = Run(SFT, configuration, "zero2", 1, f"{settings['max_length']}{'' if recompute else '_no_recompute'}")
        flags = FLAGS.split()
        for name in ("max_length", "per_device_train_batch_size", "activation_checkpointing"):
            flags += [f"--{name}", str(settings[name]).lower()]
        files = {"dataset": f"rows_{settings['max_length']}", "validation_dataset": "validation", "test_dataset": "test"}
        for name, file in files.items():
            flags += [f"--{name}_name", str(folder / f"{file}.jsonl")]
        entry = launch(run, [*flags, "--model_name_or_path", str(folder)], ["0"] if has_gpu else [""], args, read_supervised)
        entry["planned GiB"] = estimate(job_of(settings, model, zero_stage=2, num_processes=1), memory).gib["peak"]
        record["runs"].append(entry)
        args.results.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        measured = [entry.get("tokens/s", "did not end"), entry.get("peak GPU memory GiB", ""), round(entry["planned GiB"], 1)]
        line = [f"{configuration}.yaml", settings["max_length"], rows, "on" if recompute else "off", *measured]
        print(f"| {' | '.join(map(str, line))} |", flush=True)
    for entry in record["runs"]:
        if "log" in entry:
            print(json.dumps(entry["log"]))


if __name__ == "__main__":
    main()
