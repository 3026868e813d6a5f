"""Two processes answer and measure as one does, also where the rows do not share out evenly."""

import json
import os
import socket
from functools import partial
from pathlib import Path

from common.generate.completions import generate
from common.measure.loss import mean_loss
from common.models.load import load_model, load_tokenizer

import pytest
import torch
from accelerate import Accelerator
from datasets import Dataset
from forks import fork_one_of_two
from transformers import set_seed
from trl import ModelConfig


def measure() -> tuple[int, float, list[str]]:
    """Returns the number of processes, the loss of five rows, and the answers to five prompts and to three pairs of prompts."""
    args = ModelConfig(model_name_or_path="tiny:llama")
    tokenizer = load_tokenizer(args, ["one two three"])
    set_seed(0)
    model, accelerator = load_model(args, tokenizer).float(), Accelerator(cpu=True)
    rows = [list(range(20, 20 + length)) for length in (3, 11, 7, 5, 9)]
    loss = mean_loss(model, accelerator, Dataset.from_dict({"input_ids": rows, "labels": rows}), batch_size=2)
    prompts = [[{"role": "user", "content": word}] for word in ("one", "two", "three", "four", "five")]
    said = generate(model, accelerator, tokenizer, prompts, batch_size=2, max_new_tokens=6)
    pairs = [prompt for prompt in prompts[:3] for _ in range(2)]
    said += generate(model, accelerator, tokenizer, pairs, batch_size=2, max_new_tokens=6, together=2)
    return accelerator.num_processes, loss["value"], [done.raw for done in said]


def write_measured(file: Path) -> None:
    """Measures as one of two processes, and writes what it found."""
    file.write_text(json.dumps(measure()))


@pytest.mark.timeout(120)
def test_two_processes_measure_as_one(tmp_path: Path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    files = [tmp_path / "0.json", tmp_path / "1.json"]
    processes = [fork_one_of_two(rank, port, partial(write_measured, file)) for rank, file in enumerate(files)]
    assert [os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) for process in processes] == [0, 0]
    assert not torch.distributed.is_initialized()
    _, loss, said = measure()
    for file in files:
        assert json.loads(file.read_text()) == [2, pytest.approx(loss, rel=1e-6), said]
