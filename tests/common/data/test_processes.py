"""Many rows are made on all cores as they are on one: the same tokens, the same errors, and no more work than is asked for."""

import multiprocessing
import os
from pathlib import Path

from common.data import processes, token_cache
from common.data.conversations import LEFT_OUT
from common.data.processes import make_all
from common.data.tokens import tokenize
from common.models.load import load_tokenizer

import pytest
from trl import ModelConfig

FEWEST, MANY = 200, 230


@pytest.fixture
def cores(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Gives this process so many cores, and a cache of its own."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(processes, "FEWEST", FEWEST)
    monkeypatch.setattr(processes, "CHUNK", 25)

    def give(count: int) -> None:
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(count)), raising=False)

    return give


def conversations(long_ones: list[int]) -> list[dict]:
    def answer(number: int) -> str:
        return " ".join(["yes"] * (150 if number in long_ones else number % 5 + 1))

    return [
        {
            "messages": [
                {"role": "user", "content": f"what is {number}"},
                {"role": "assistant", "content": answer(number)},
                {"role": "user", "content": "and now"},
                {"role": "assistant", "content": str(number)},
            ],
            "where": f"rows.jsonl, row {number + 1}",
        }
        for number in range(MANY)
    ]


def test_the_same_tokens_and_errors(cores, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(token_cache, "FEWEST", 10**6)  # nothing is taken from an earlier part of this test
    tokenizer = load_tokenizer(ModelConfig(model_name_or_path="tiny:llama"), ["what is and now yes 0123456789"])
    made, said = {}, {}
    for count in (1, 2):
        cores(count)
        LEFT_OUT.clear()
        made[count] = tokenize(conversations([7, 211]), tokenizer, 128, where="rows.jsonl", skip_bad_rows=True)
        with pytest.raises(SystemExit):
            tokenize(conversations([211]), tokenizer, 128, where="rows.jsonl")
        said[count] = capsys.readouterr().err, dict(LEFT_OUT)
    assert len(made[1]) == MANY - 2
    assert made[1].features == made[2].features
    assert made[1].to_dict() == made[2].to_dict()
    assert "rows.jsonl, row 212: the conversation has" in said[1][0]
    assert said[1] == said[2]


def test_as_many_processes_as_cores_and_no_more_work_than_is_taken(cores, tmp_path: Path):
    cores(2)

    def make(number: int) -> int:
        (tmp_path / f"made-{number}").touch()
        return os.getpid()

    before = os.environ.get("TOKENIZERS_PARALLELISM")
    assert os.getpid() not in (pids := set(make_all(make, range(MANY))))
    assert 1 <= len(pids) <= 2
    assert set(make_all(make, range(10))) == {os.getpid()}  # few rows
    for path in tmp_path.glob("made-*"):
        path.unlink()
    begun = make_all(make, range(40 * processes.CHUNK))
    next(begun)
    begun.close()
    assert len(list(tmp_path.glob("made-*"))) < 20 * processes.CHUNK
    assert not multiprocessing.active_children()
    assert os.environ.get("TOKENIZERS_PARALLELISM") == before


def test_an_error_of_the_code_is_raised(cores):
    cores(2)
    with pytest.raises(ZeroDivisionError):
        list(make_all(lambda number: 1 // (number - 212), range(MANY)))
