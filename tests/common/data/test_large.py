"""Large files are read in pieces, kept on disk and found again: the same rows, errors and splits as those of a list."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from common.data import stored
from common.data.arguments import DataArguments
from common.data.conversations import load_conversations
from common.data.files import read_file
from common.data.notes import LEFT_OUT, LINES, ROWS
from common.data.parts import load_parts
from common.data.pieces import Pieces
from common.data.questions import content_of, digest_of, digests, group_of
from common.data.rows import read_splits
from common.data.stored import Stored, join, select

import datasets
import numpy as np
import pytest
from datasets import Dataset

COUNT = 300


def row(number: int) -> dict[str, Any]:
    messages = [
        {"role": "user", "content": f"Was ist {number} + 1? \u00e4\u4e2d"},
        {"role": "assistant", "content": f"Das ist\n{number + 1}."},
    ]
    return {"messages": messages, "document": f"d{number % 50}"}


def lines(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


ROWS_WRITTEN = [row(number) for number in range(COUNT)]
QUESTIONS = "".join(f'"Was ist\r\n{number} + 1?";{number:03}\r\n' for number in range(COUNT))
FILES: dict[str, bytes] = {
    "rows.jsonl": lines(ROWS_WRITTEN).encode("utf-8-sig"),
    "spaced.jsonl": lines(ROWS_WRITTEN).replace("\n", "\r\n\n").encode(),
    "open.ndjson": lines(ROWS_WRITTEN).rstrip("\n").encode(),
    "packed.jsonl.gz": gzip.compress(lines(ROWS_WRITTEN).encode("utf-8-sig")),
    "rows.json": json.dumps(ROWS_WRITTEN, indent=2, ensure_ascii=False).encode(),
    "numbers.json": json.dumps([{"question": f"{number}?", "answer": 0.5} for number in range(COUNT)])
    .replace("0.5", "12.50")
    .encode(),
    "lines.json": lines(ROWS_WRITTEN).encode(),
    "packed.json.gz": gzip.compress(json.dumps(ROWS_WRITTEN).encode()),
    "rows.csv": f"\r\n\nQuestion;Answer\r\n{QUESTIONS}".encode("utf-8-sig"),
    "rows.tsv": f"question\tanswer\n{QUESTIONS}".replace(";", "\t").encode(),
    "packed.csv.gz": gzip.compress(f"question;answer\n{QUESTIONS}".encode()),
}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A cache of its own, one core unless a test takes more, and pieces and batches of a few rows."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0}, raising=False)
    for name in ("common.data.pieces", "common.data.rows"):
        monkeypatch.setattr(f"{name}.PIECE", 5000)
    monkeypatch.setattr(stored, "BATCH", 7)
    _forget()
    yield tmp_path / "cache" / "zero_recipes"
    _forget()


def _forget() -> None:
    for found in (LEFT_OUT, LINES, ROWS.parts):
        found.clear()


@pytest.fixture
def in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("common.data.pieces.LARGE", "common.data.pieces.PACKED", "common.data.rows.LARGE"):
        monkeypatch.setattr(name, 0)


def outcome(args: DataArguments, capsys: pytest.CaptureFixture[str]) -> tuple:
    """Returns what loading gives and says: the rows of each part, the lines, and what is left out."""
    _forget()
    try:
        parts = [list(part) for part in load_parts(args)]
    except SystemExit as ended:
        parts = [ended.code]
    said = capsys.readouterr()
    return parts, said.out, said.err, dict(LEFT_OUT), list(ROWS)


def of_both(args: DataArguments, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> list[tuple]:
    """Returns the outcome in memory, and twice in pieces: read, and found again."""
    found = [outcome(args, capsys)]
    with monkeypatch.context() as patch:
        for name in ("common.data.pieces.LARGE", "common.data.pieces.PACKED", "common.data.rows.LARGE"):
            patch.setattr(name, 0)
        return [*found, outcome(args, capsys), outcome(args, capsys)]


@pytest.mark.parametrize("name", FILES)
def test_the_same_rows_in_pieces(tmp_path: Path, name: str, in_pieces: None):
    (tmp_path / name).write_bytes(FILES[name])
    whole, (found,) = read_file(tmp_path / name), read_splits(str(tmp_path / name)).values()
    assert isinstance(found, Pieces)
    assert len(found.parts) > 2
    assert list(found) == whole
    assert len(whole) == COUNT
    assert [str(row.get("answer")) for _, row in found] == [str(row.get("answer")) for _, row in whole]  # 12.50 stays


@pytest.mark.parametrize("name", FILES)
def test_the_same_parts(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, cache: Path
):
    (tmp_path / name).write_bytes(FILES[name])
    args = DataArguments(dataset_name=str(tmp_path / name), drop_duplicates=True)
    args.group_by = "document" if b"document" in FILES[name] else None
    in_memory, read, found = of_both(args, capsys, monkeypatch)
    assert in_memory[0][0]
    assert read == in_memory
    assert found == in_memory
    assert len(list(cache.iterdir())) == 1


def test_a_parquet(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    Dataset.from_list(ROWS_WRITTEN).to_parquet(tmp_path / "rows.parquet")
    in_memory, read, found = of_both(DataArguments(dataset_name=str(tmp_path / "rows.parquet")), capsys, monkeypatch)
    assert len(in_memory[4]) == COUNT
    assert read == found == in_memory


def test_several_files_mixed_and_a_test_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "a.jsonl").write_text(lines(ROWS_WRITTEN))
    (tmp_path / "b.jsonl").write_text(lines([row(number) for number in range(900, 940)] + ROWS_WRITTEN[:9] * 2))
    (tmp_path / "c.jsonl").write_text(lines(ROWS_WRITTEN[20:40]))
    names = f"{tmp_path}/a.jsonl:1 {tmp_path}/b.jsonl:3"
    for drops in (False, True):
        args = DataArguments(dataset_name=names, test_dataset_name=f"{tmp_path}/c.jsonl", drop_duplicates=drops, num_train=999)
        in_memory, read, found = of_both(args, capsys, monkeypatch)
        assert "training rows ask what is also measured" in in_memory[1]
        assert "training rows are the same as an earlier one" in in_memory[1]
        assert len(in_memory[0][0]) > 400
        assert read == found == in_memory


@pytest.mark.parametrize("mistake", [None, "a row without an answer", "not JSON"])
def test_on_two_cores(
    tmp_path: Path, mistake: str | None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, in_pieces: None
):
    (tmp_path / "rows.jsonl").write_bytes(damaged(mistake) if mistake else FILES["rows.jsonl"])
    args = DataArguments(dataset_name=str(tmp_path / "rows.jsonl"))
    expected = outcome(args, capsys)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "another")
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0, 1}, raising=False)
    assert outcome(args, capsys) == expected


def damaged(name: str) -> bytes:
    """Returns a file with one mistake behind its middle."""
    text = lines(ROWS_WRITTEN)
    at = text.index('{"messages"', len(text) // 2)
    mistakes = {
        "not UTF-8": text[:at].encode() + b"\xff" + text[at:].encode(),
        "a NUL byte": (text[:at] + "\0" + text[at:]).encode(),
        "not JSON": (text[:at] + "{\n" + text[at:]).encode(),
        "no object": (text[:at] + "3\n" + text[at:]).encode(),
        "a key twice": (text[:at] + '{"a": 1, "a": 2}\n' + text[at:]).encode(),
        "half a character": (text[:at] + '{"a": "\\ud800"}\n' + text[at:]).encode(),
        "too deep": (text[:at] + "[" * 5000 + "\n" + text[at:]).encode(),
        "a row without an answer": (text[:at] + '{"question": "?"}\n' + text[at:]).encode(),
        "empty": b" \n" * 5000,
        "the first mistake": (text[:at] + '{"question": "?"}\n{"question": "!"}\n' + text[at:]).encode(),
        "a mistake before what is not JSON": ('{"question": "?"}\n' + text + "{\n").encode(),
    }
    return mistakes[name]


@pytest.mark.parametrize(
    "name",
    "not UTF-8,a NUL byte,not JSON,no object,a key twice,half a character,too deep,a row without an answer,empty,"
    "the first mistake,a mistake before what is not JSON".split(","),
)
@pytest.mark.parametrize("skips", [False, True])
def test_the_same_errors(
    tmp_path: Path, name: str, skips: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, cache: Path
):
    (tmp_path / "rows.jsonl").write_bytes(damaged(name))
    args = DataArguments(dataset_name=str(tmp_path / "rows.jsonl"), skip_bad_rows=skips)
    in_memory, read, found = of_both(args, capsys, monkeypatch)
    assert read == found == in_memory
    is_row = name in ("a row without an answer", "the first mistake")
    assert (in_memory[0] == [2]) != (is_row and skips)
    if in_memory[0] == [2]:
        assert not list(cache.glob("*"))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("object.json", b'{"messages": []}' + b" " * 20000),
        ("open.json", json.dumps(ROWS_WRITTEN)[:-1].encode()),
        ("comma.json", json.dumps(ROWS_WRITTEN)[:-1].encode() + b",]"),
        ("behind.json", json.dumps(ROWS_WRITTEN).encode() + b" 1"),
        ("twice.json", json.dumps(ROWS_WRITTEN)[:-1].encode() + b', {"a": 1, "a": 2}]'),
        ("text.json", json.dumps([*ROWS_WRITTEN, "a text"]).encode()),
        ("none.json", b"[" + b" " * 20000 + b"]"),
        ("cut.json.gz", gzip.compress(json.dumps(ROWS_WRITTEN).encode())[:-20]),
        ("values.csv", f"question;answer\n{QUESTIONS}a;b;c\n".encode()),
        ("quote.csv", f'question;answer\n{QUESTIONS}"a;b\n'.encode()),
        ("twice.csv", f"question;Question\n{QUESTIONS}".encode()),
        ("none.csv", b"question;answer\n" + b"\n" * 20000),
    ],
)
def test_the_same_errors_of_other_files(
    tmp_path: Path, name: str, content: bytes, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / name).write_bytes(content)
    in_memory, read, found = of_both(DataArguments(dataset_name=str(tmp_path / name)), capsys, monkeypatch)
    assert in_memory[0] == [2]
    assert read == found == in_memory


@pytest.mark.parametrize("change", ["the file", "a setting", "what is made of a row", "nothing"])
def test_what_is_read_anew(tmp_path: Path, in_pieces: None, cache: Path, change: str):
    path = tmp_path / "rows.jsonl"
    path.write_text(lines(ROWS_WRITTEN))
    first = load_conversations(DataArguments(dataset_name=str(path)))["train"]
    args, convert = DataArguments(dataset_name=str(path), num_train=7), None
    if change == "the file":
        path.write_text(lines([*ROWS_WRITTEN[:-1], row(7)]))
    elif change == "a setting":
        args.group_by = "document"
    elif change == "what is made of a row":

        def convert(recognised: Any, row: dict[str, Any]) -> dict[str, Any]:
            return recognised.conversation | {"more": 1}

    found = load_conversations(args, convert)["train"]
    assert len(list(cache.iterdir())) == 1 + (change != "nothing")
    assert isinstance(found, Stored)
    assert (list(found) == list(first)) == (change == "nothing")


def test_a_damaged_folder_and_a_cache_that_cannot_be_made(
    tmp_path: Path, in_pieces: None, cache: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "rows.jsonl").write_text(lines(ROWS_WRITTEN))
    args = DataArguments(dataset_name=str(tmp_path / "rows.jsonl"))
    expected = list(load_conversations(args)["train"])
    (folder,) = cache.iterdir()
    (folder / "rows.arrow").write_bytes((folder / "rows.arrow").read_bytes()[:-99])
    assert list(load_conversations(args)["train"]) == expected
    assert f"The rows kept in {folder} cannot be read and are made anew" in capsys.readouterr().out
    assert list(load_conversations(args)["train"]) == expected
    assert "cannot be read" not in capsys.readouterr().out
    (folder / "rows.arrow").unlink()
    (folder / "found.json").unlink()
    folder.rmdir()
    cache.rmdir()
    cache.write_text("a file")
    assert list(load_conversations(args)["train"]) == expected


def test_rows_on_disk_are_those_of_a_list(tmp_path: Path, in_pieces: None):
    (tmp_path / "rows.jsonl").write_text(lines(ROWS_WRITTEN))
    found = load_conversations(DataArguments(dataset_name=str(tmp_path / "rows.jsonl")))["train"]
    rows = list(found)
    assert len(found) == COUNT
    assert found[0] == rows[0]
    assert found[-1] == rows[-1]
    assert list(found[5:200:3]) == rows[5:200:3]
    assert list(reversed(found)) == rows[::-1]
    with pytest.raises(IndexError):
        found[COUNT]
    numbers = np.random.default_rng(0).permutation(COUNT)[:50]
    some = select(found, numbers)
    assert list(some) == select(rows, numbers) == [rows[number] for number in numbers]
    assert list(join(some, rows[:3], found[:2])) == [*some, *rows[:3], *rows[:2]]
    for of in (group_of, content_of):
        assert (digests(some, of, digest_of) == digests(list(some), of, digest_of)).all()
    assert some.digests("question") is not None
    assert isinstance(stored.join([], found), Stored)
