"""Writes gpt-oss in 16 bits, once, so that ZeRO-3 can load it in parts.

    python recipes/gpt_oss_multilingual/dequantize.py openai/gpt-oss-20b gpt-oss-20b-bf16

From MXFP4 every process puts the whole model into 16 bits in CPU memory, 42 GB, before it is split up. What this writes is read
by one process, and each keeps its part: pass it as `--model_name_or_path`.
"""

import argparse
from pathlib import Path

from common.errors import fail, say
from common.models.config import read_config
from common.models.load import load_model
from common.run.disk import naming_disk_faults
from common.run.files import open_to_readers

from transformers import AutoTokenizer
from trl import ModelConfig


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0], allow_abbrev=False)
    parser.error = lambda message: fail(f"{message}; `--help` lists the arguments")
    parser.add_argument("model", metavar="MODEL", help="a hub id or a folder")
    parser.add_argument("output_dir", metavar="FOLDER", type=Path, help="a new folder, for 42 GB")
    args = parser.parse_args()
    if args.output_dir.exists():
        fail(f"{args.output_dir} is there already; choose another folder, or remove it")
    model_args = ModelConfig(model_name_or_path=args.model, dtype="bfloat16")
    read_config(model_args)  # says in one line what is wrong with a name, a folder or the hub
    # With its template as it is: a run fixes the date in it.
    tokenizer = AutoTokenizer.from_pretrained(args.model, trust_remote_code=False)
    model = load_model(model_args, tokenizer)
    with naming_disk_faults(args.output_dir, then="remove the folder and give the same command again"):
        model.save_pretrained(args.output_dir, max_shard_size="5GB")
        tokenizer.save_pretrained(args.output_dir)
    open_to_readers(args.output_dir)
    say(f"The model in 16 bits is in {args.output_dir}")


if __name__ == "__main__":
    main()
