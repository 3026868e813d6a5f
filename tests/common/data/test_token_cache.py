"""Tokens that are kept for the next start: found again only where they would be made the same."""

import shutil
from pathlib import Path
from typing import Any

import common.data.spans
from common.data import token_cache
from common.data.files import Written
from common.data.notes import LINES
from common.data.tokens import tokenize, tokenize_usable, use_training_template
from common.models.load import load_tokenizer

import datasets
import pytest
from transformers import PreTrainedTokenizerBase
from trl import ModelConfig, pack_dataset

COUNT = 600


def load() -> PreTrainedTokenizerBase:
    tokenizer = load_tokenizer(ModelConfig(model_name_or_path="tiny:qwen3"), ["What is 1 + 1? It is 2."])
    use_training_template(tokenizer)
    return tokenizer


@pytest.fixture
def tokenizer() -> PreTrainedTokenizerBase:
    return load()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    return tmp_path / "zero_recipes"


def rows(answer: str = "It is {n}.", count: int = COUNT) -> list[dict[str, Any]]:
    return [
        {
            "messages": [
                {"role": "user", "content": f"What is {number} + 1?"},
                {"role": "assistant", "content": answer.format(n=number + 1)},
            ]
        }
        for number in range(count)
    ]


def test_they_are_made_once(tokenizer: PreTrainedTokenizerBase, cache: Path, monkeypatch: pytest.MonkeyPatch):
    made = tokenize(rows(), tokenizer, 10**6, where="rows")
    assert len(list(cache.iterdir())) == 1
    monkeypatch.setattr(common.data.spans, "render", None)  # would be called to make them
    found = tokenize(rows(), tokenizer, 100, where="rows")
    assert found.to_dict() == made.to_dict()
    assert [path.name for path in cache.iterdir() if path.name.startswith(".")] == []


def test_tokens_on_disk_are_those_in_memory(tokenizer: PreTrainedTokenizerBase, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(token_cache, "FEWEST", 10**6)
    in_memory = tokenize(rows(), tokenizer, 10**6, where="rows")
    assert not in_memory.cache_files
    for name, value in (("FEWEST", 1), ("BATCH", 7), ("IN_MEMORY", 1)):
        monkeypatch.setattr(token_cache, name, value)
    on_disk = tokenize(rows(), tokenizer, 10**6, where="rows")
    assert on_disk.cache_files
    assert on_disk.features == in_memory.features
    assert on_disk.to_dict() == in_memory.to_dict()
    assert len(on_disk) == COUNT


def test_packed_rows_are_kept_too(tokenizer: PreTrainedTokenizerBase, cache: Path, monkeypatch: pytest.MonkeyPatch):
    """As TRL packs them: the next start reads them."""
    monkeypatch.setattr(token_cache, "IN_MEMORY", 1)
    packed = pack_dataset(tokenize(rows(), tokenizer, 10**6, where="rows"), 512)
    (folder,) = cache.iterdir()
    (file,) = folder.glob("cache-*.arrow")
    written = file.stat().st_mtime_ns
    again = pack_dataset(tokenize(rows(), tokenizer, 10**6, where="rows"), 512)
    assert again.cache_files == packed.cache_files == [{"filename": str(file)}]
    assert file.stat().st_mtime_ns == written
    assert again.to_dict() == packed.to_dict()
    assert len(packed) < COUNT


@pytest.mark.parametrize("change", ["a row", "the order", "the template", "a weight", "the end of turn", "a row less"])
def test_what_makes_other_tokens_is_made_anew(tokenizer: PreTrainedTokenizerBase, cache: Path, change: str):
    first = token_cache.folder_of(rows(), tokenizer)
    others = rows()
    if change == "a row":
        others[7]["messages"][0]["content"] += " "
    elif change == "the order":
        others.reverse()
    elif change == "the template":
        tokenizer.chat_template += "{# #}"
    elif change == "a weight":
        others[7]["messages"][1]["weight"] = 0
    elif change == "the end of turn":
        tokenizer.eos_token = tokenizer.convert_ids_to_tokens(5)
    else:
        others.pop()
    assert token_cache.folder_of(others, tokenizer) != first
    assert token_cache.folder_of(rows(), load()) == first


def test_numbers_that_are_written_differently(tokenizer: PreTrainedTokenizerBase):
    def with_argument(value: Any) -> Path | None:
        call = {"type": "function", "function": {"name": "f", "arguments": {"x": value}}}
        said = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "", "tool_calls": [call]}]
        return token_cache.folder_of([{"messages": said}] * COUNT, tokenizer)

    values = [1.5, Written("1.5"), Written("1.50"), "1.5", 1, True, 1.0, "1", None, "None", [1], {"1": 1}]
    assert len({with_argument(value) for value in values}) == len(values)


def test_a_row_that_is_too_long_is_named(tokenizer: PreTrainedTokenizerBase, capsys: pytest.CaptureFixture[str]):
    long = rows()
    long[300]["messages"][1]["content"] = "two " * 300
    made = tokenize(long, tokenizer, 10**6, where="rows")
    with pytest.raises(SystemExit, match="2"):
        tokenize(long, tokenizer, 200, where="rows")
    length = len(made[300]["input_ids"])
    line = f"error: rows, conversation 301: the conversation has {length} tokens and max_length is 200; raise it, "
    assert capsys.readouterr().err.startswith(line)
    left = tokenize(long, tokenizer, 200, where="rows", skip_bad_rows=True)
    assert left.to_dict() == made.select([number for number in range(COUNT) if number != 300]).to_dict()
    assert "Left out 1 of 600 rows of rows. The first: rows, conversation 301: the" in capsys.readouterr().out


def test_few_rows_are_not_kept(tokenizer: PreTrainedTokenizerBase, cache: Path):
    tokenize(rows(count=token_cache.FEWEST - 1), tokenizer, 10**6, where="rows")
    assert not cache.exists()


def test_rows_with_a_mistake_are_kept_as_such(
    tokenizer: PreTrainedTokenizerBase, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """One that is too long and one that is not shown are left out anew, or end the run, without being made again."""
    bad = rows()
    bad[7]["messages"].reverse()
    bad[300]["messages"][1]["content"] = "two " * 300
    made, left = tokenize_usable(bad, tokenizer, 200, where="rows", skip_bad_rows=True)
    said = capsys.readouterr().out
    assert "Left out 2 of 600 rows of rows. The first: rows, conversation 8: message 1: nothing stands before" in said
    monkeypatch.setattr(common.data.spans, "render", None)
    LINES.clear()
    found, found_left = tokenize_usable(bad, tokenizer, 200, where="rows", skip_bad_rows=True)
    assert capsys.readouterr().out == said
    assert found.to_dict() == made.to_dict()
    assert len(made) == COUNT - 2
    assert found_left == left == [row for number, row in enumerate(bad) if number not in (7, 300)]
    assert len(tokenize(bad, tokenizer, 10**6, where="rows", skip_bad_rows=True)) == COUNT - 1
    with pytest.raises(SystemExit, match="2"):
        tokenize(bad, tokenizer, 200, where="rows")
    assert capsys.readouterr().err.startswith("error: rows, conversation 8: message 1: nothing stands before")


def test_a_damaged_folder_and_one_that_cannot_be_made(
    tokenizer: PreTrainedTokenizerBase, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    made = tokenize(rows(), tokenizer, 10**6, where="rows")
    (folder,) = cache.iterdir()
    next(folder.glob("*.arrow")).write_bytes(b"")
    assert tokenize(rows(), tokenizer, 10**6, where="rows").to_dict() == made.to_dict()
    assert f"The tokens kept in {folder} cannot be read and are made anew" in capsys.readouterr().out
    shutil.rmtree(cache)
    cache.write_text("a file")
    assert tokenize(rows(), tokenizer, 10**6, where="rows").to_dict() == made.to_dict()
    assert "The tokens are not kept for the next start: " in capsys.readouterr().out
