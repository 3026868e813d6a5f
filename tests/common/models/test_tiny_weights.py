"""A `tiny:` model begins with the same weights however it is sharded, and so does its adapter."""

import hashlib
import multiprocessing
import os
import socket
import tempfile
from functools import lru_cache
from multiprocessing.connection import Connection

from common.models.load import load_model, load_tokenizer
from common.models.vision import load_processor
from common.run.toolchain import check_toolchain

import deepspeed
import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import set_seed
from transformers.integrations import is_deepspeed_zero3_enabled
from trl import ModelConfig, SFTConfig

# A tiny model's weights would otherwise be too small to be sharded.
ZERO = {"train_micro_batch_size_per_gpu": "auto", "zero_optimization": {"stage": 0, "stage3_param_persistence_threshold": 0}}
ARCHITECTURES = ["qwen3", "llama", "gpt_oss", "qwen2_vl"]


def digest(model: torch.nn.Module) -> dict[str, str]:
    """Returns a hash of every bit of every weight, gathered where it is sharded."""
    found = {}
    for name, weight in model.named_parameters():
        with deepspeed.zero.GatheredParameters(weight):
            found[name] = hashlib.sha256(weight.detach().contiguous().numpy().tobytes()).hexdigest()
    return found


def start(stage: int, rank: int, processes: int, port: int, folder: str, answer: Connection) -> None:
    """One process of a run, up to where training would begin: answers with the weights of every architecture."""
    tempfile.tempdir = folder  # what such a process has made for a while it leaves behind
    variables = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes, "MASTER_PORT": port}
    os.environ |= {name: str(value) for name, value in variables.items()} | {"MASTER_ADDR": "127.0.0.1"}
    plan = ZERO | {"zero_optimization": ZERO["zero_optimization"] | {"stage": stage}}
    args = SFTConfig(output_dir=folder, use_cpu=True, bf16=False, report_to="none", deepspeed=plan if stage else None)
    check_toolchain(args)
    assert is_deepspeed_zero3_enabled() == (stage == 3)
    found = {}
    for architecture in ARCHITECTURES:
        adapters = {"use_peft": True, "lora_target_modules": "all-linear"}
        model_args = ModelConfig(model_name_or_path=f"tiny:{architecture}", **adapters, dtype="float32")
        if architecture == "gpt_oss":
            model_args.attn_implementation = "eager"
        if architecture == "qwen2_vl":
            processing = load_processor(model_args, min_pixels=784, max_pixels=7840)
        else:
            processing = load_tokenizer(model_args, ["one two three"])
        set_seed(args.seed)
        model = load_model(model_args, processing)
        sharded = [hasattr(weight, "ds_id") for weight in model.parameters()]
        assert all(sharded) if stage == 3 else not any(sharded)
        adapted = get_peft_model(model, LoraConfig(target_modules="all-linear", task_type="CAUSAL_LM"))
        found[architecture] = digest(adapted)
    answer.send(found)


def begin(stage: int, processes: int, folder: str) -> list[dict]:
    """Returns what each process of a run answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    fork = multiprocessing.get_context("fork")  # the libraries are imported once
    ends = [fork.Pipe(duplex=False) for _ in range(processes)]
    started = [
        fork.Process(target=start, args=(stage, rank, processes, port, folder, send)) for rank, (_, send) in enumerate(ends)
    ]
    for process, (_, send) in zip(started, ends, strict=True):
        process.start()
        send.close()
    try:
        return [receive.recv() if receive.poll(60) else {} for receive, _ in ends]
    finally:
        for process in started:
            process.terminate()
            process.join()


@lru_cache
def unsharded(folder: str) -> dict:
    (found,) = begin(0, 1, folder)
    return found


@pytest.mark.parametrize(("stage", "processes"), [(1, 1), (2, 2), (3, 1), (3, 2)])
def test_the_first_weights_do_not_depend_on_the_sharding(tmp_path_factory: pytest.TempPathFactory, stage: int, processes: int):
    folder = str(tmp_path_factory.getbasetemp())
    expected = unsharded(folder)
    assert list(expected) == ARCHITECTURES
    assert all(len(set(weights.values())) > 10 for weights in expected.values())
    assert begin(stage, processes, folder) == [expected] * processes
