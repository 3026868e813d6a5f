"""One process of a machine makes what the others then read, however long it takes."""

import json
import os
import socket
import time
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from common.data import processes
from common.data.arguments import DataArguments
from common.data.parts import load_parts
from common.data.processes import first_here, make_all
from common.data.tokens import tokenize
from common.models.load import load_tokenizer

import datasets
import pytest
import torch
from accelerate import PartialState
from forks import fork_one_of_two
from transformers import PreTrainedTokenizerBase
from trl import ModelConfig

TIME_LIMIT, WORK = 2, 5  # seconds
COUNT = 800


def work(folder: Path, tokenizer: PreTrainedTokenizerBase) -> list[Any]:
    """Works for longer than a process may wait for another, then reads a file that is read in pieces."""
    with first_here(True):
        made = folder / "made"
        if not made.exists():
            assert PartialState().is_main_process
            list(make_all(lambda _: time.sleep(WORK / 20), range(20)))
            made.touch()
    parts = load_parts(DataArguments(dataset_name=str(folder / "rows.jsonl")))
    return [[list(part) for part in parts], tokenize(parts[0], tokenizer, 100, where="rows").to_dict()]


def write_work(folder: Path, rank: int, tokenizer: PreTrainedTokenizerBase) -> None:
    """Works as one of two processes, and writes what it found."""
    PartialState(cpu=True, timeout=timedelta(seconds=TIME_LIMIT))
    (folder / f"{rank}.json").write_text(json.dumps(work(folder, tokenizer)))


@pytest.mark.timeout(120)
def test_the_others_wait_for_the_first_and_read_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(processes, "TELL_AFTER", TIME_LIMIT / 4)
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0}, raising=False)
    monkeypatch.setattr("common.data.pieces.LARGE", 0)
    monkeypatch.setattr("common.data.tokens.FEWEST", 100)
    rows = [{"question": f"What is {number}?", "answer": str(number)} for number in range(COUNT)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    tokenizer = load_tokenizer(ModelConfig(model_name_or_path="tiny:llama"), ["What is 0123456789?"])

    def counted(make: Any, rows: Any, **how: Any) -> Any:
        with (tmp_path / "makers").open("a") as file:
            file.write(f"{os.environ.get('RANK')}\n")
        return make_all(make, rows, **how)

    for module in ("common.data.collect", "common.data.tokens"):
        monkeypatch.setattr(f"{module}.make_all", counted)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    workers = [fork_one_of_two(rank, port, partial(write_work, tmp_path, rank, tokenizer)) for rank in range(2)]
    assert [os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1]) for worker in workers] == [0, 0]
    assert not torch.distributed.is_initialized()
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    assert first == second
    assert (tmp_path / "makers").read_text() == "0\n0\n"  # rows and tokens: the second process made nothing
    assert sum(map(len, first[0])) == COUNT
