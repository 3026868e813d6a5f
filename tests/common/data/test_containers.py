"""The same rows from whatever holds them: files of every kind, packed or not, folders, and what `save_to_disk` wrote."""

import csv
import gzip
import json
from collections.abc import Callable
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path

import common.data.rows
from common.data.arguments import DataArguments
from common.data.conversations import load_conversations
from common.data.parts import load_parts
from common.data.rows import load_splits
from common.data.sources import mix, sources_of

import pyarrow
import pyarrow.parquet
import pytest
from datasets import Dataset, DatasetDict, Features, Json, List, Value

LONG = 123456789012345678901234567890
NUMBER = {"type": ["integer", "null"]}
TOOL = {
    "type": "function",
    "function": {"name": "f", "parameters": {"type": "object", "properties": {"n": NUMBER, "m": NUMBER}}},
}
OTHER = {
    "type": "function",
    "function": {"name": "g", "parameters": {"type": "object", "properties": {"x": {"type": "string"}}, "required": ["x"]}},
}


def row(question: str, name: str, arguments: dict | str) -> dict:
    call = {"type": "function", "function": {"name": name, "arguments": arguments}}
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": "", "tool_calls": [call]}]
    return {"messages": messages, "tools": [TOOL, OTHER]}


ROWS = [row("Nothing?", "f", {"n": None, "m": 1}), row("A text?", "g", {"x": "1.0"}), row("Both?", "f", {"n": 2, "m": None})]
AS_JSON = [row("Long?", "f", json.dumps({"n": LONG})), row("Null?", "f", json.dumps({"n": None}))]


def lines(rows: list[dict]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def to_parquet(path: Path, rows: list[dict]) -> None:
    Dataset.from_list(rows).to_parquet(path)


def to_json_parquet(path: Path, rows: list[dict]) -> None:
    Dataset.from_list(rows, features=Features({"messages": List(Json()), "tools": List(Json())})).to_parquet(path)


WAYS: dict[str, Callable[[Path, list[dict]], object]] = {
    "data.jsonl": lambda path, rows: path.write_text(lines(rows)),
    "data.ndjson.gz": lambda path, rows: path.write_bytes(gzip.compress(lines(rows).encode())),
    "DATA.JSONL": lambda path, rows: path.write_text(lines(rows)),
    "data.json": lambda path, rows: path.write_text(json.dumps(rows, indent=1)),
    "a folder": lambda path, rows: (path.mkdir(), (path / "part.jsonl").write_text(lines(rows))),
    "a folder of train": lambda path, rows: (path.mkdir(), (path / "train.json").write_text(json.dumps(rows))),
    "data.parquet": to_parquet,
    "json.parquet": to_json_parquet,
    "data.parquet.gz": lambda path, rows: (
        to_parquet(path.with_name("plain"), rows),
        path.write_bytes(gzip.compress(path.with_name("plain").read_bytes())),
    ),
    "parts": lambda path, rows: (path.mkdir(), to_parquet(path / "train-00000-of-00001.parquet", rows)),
    "saved": lambda path, rows: Dataset.from_list(rows).save_to_disk(path),
    "saved splits": lambda path, rows: DatasetDict(train=Dataset.from_list(rows)).save_to_disk(path),
}


@pytest.mark.parametrize("name", WAYS)
def test_the_same_rows_from_every_container(tmp_path: Path, name: str):
    """An argument that is null stays null, and is not given to calls that had none; an integer of 30 digits stays one."""
    for number, rows in enumerate((ROWS, AS_JSON)):
        (tmp_path / "data.jsonl").write_text(lines(rows))
        expected = load_conversations(DataArguments(dataset_name=str(tmp_path / "data.jsonl")))["train"]
        folder = tmp_path / str(number)
        folder.mkdir()
        WAYS[name](folder / name, rows)
        found = load_conversations(DataArguments(dataset_name=str(folder / name)))["train"]
        assert [row["messages"] for row in found] == [row["messages"] for row in expected]
        assert [row["tools"] for row in found] == [row["tools"] for row in expected]
    assert expected[0]["messages"][1]["tool_calls"][0]["function"]["arguments"] == {"n": LONG}


@pytest.mark.parametrize("name", ["data.csv", "data.tsv", "data.CSV.gz", "semicolon.csv", "data.parquet", "data.jsonl"])
def test_cells_stay_what_stands_there(tmp_path: Path, name: str):
    answers = ["NA", "None", "00701", "1e5", "true", "2024-01-02", "12.50", "-0", "12,5", "null"]
    rows = [{"question": f"{number}?", "answer": answer} for number, answer in enumerate(answers)]
    path = tmp_path / name
    if name.endswith("parquet"):
        to_parquet(path, rows)
    elif name.endswith("jsonl"):
        path.write_text(lines(rows))
    else:
        with (gzip.open if name.endswith("gz") else open)(path, "wt", newline="") as file:
            delimiter = {"data.tsv": "\t", "semicolon.csv": ";"}.get(name, ",")
            writer = csv.writer(file, delimiter=delimiter)
            writer.writerows([["Question", "Answer"], *(row.values() for row in rows)])
    found = load_conversations(DataArguments(dataset_name=str(path)))["train"]
    assert [row["messages"][1]["content"] for row in found] == answers


def test_a_parquet_of_numbers(tmp_path: Path):
    features = Features({"question": Value("string"), "answer": Value("int64")})
    Dataset.from_dict({"question": ["a", "b"], "answer": [12, 7]}, features=features).to_parquet(tmp_path / "data.parquet")
    found = load_conversations(DataArguments(dataset_name=str(tmp_path / "data.parquet")))["train"]
    assert [row["messages"][1]["content"] for row in found] == ["12", "7"]


def test_a_parquet_of_dates_and_decimals(tmp_path: Path):
    """They are the texts that a csv of them would hold."""
    answers = [date(2024, 1, 2), date(1999, 12, 31)], [datetime(2024, 1, 2, 3, 4)] * 2, [time(3, 4)] * 2, [Decimal("1.50")] * 2
    texts = [["2024-01-02", "1999-12-31"], ["2024-01-02 03:04:00"] * 2, ["03:04:00"] * 2, ["1.50"] * 2]
    for number, (column, expected) in enumerate(zip(answers, texts, strict=True)):
        path = tmp_path / f"{number}.parquet"
        pyarrow.parquet.write_table(pyarrow.table({"question": ["a", "b"], "answer": column}), path)
        found = load_conversations(DataArguments(dataset_name=str(path)))["train"]
        assert [row["messages"][1]["content"] for row in found] == expected


def test_a_hub_data_set_without_a_training_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """It can be evaluated; only one without any split that is known is refused."""
    monkeypatch.setattr(common.data.rows, "use_cache_if_unreachable", lambda: None)
    for names, known in ((["test", "other"], ["test"]), (["validation"], ["validation"])):
        found = DatasetDict({name: Dataset.from_list(questions("ab")) for name in names})
        monkeypatch.setattr(common.data.rows, "load_dataset", lambda *_, found=found: found)
        assert list(load_splits("owner/name")) == known
    monkeypatch.setattr(common.data.rows, "load_dataset", lambda *_: DatasetDict(other=Dataset.from_list(questions("ab"))))
    with pytest.raises(SystemExit):
        load_splits("owner/name")


def questions(names: str) -> list[dict]:
    return [{"question": f"{name}?", "answer": "yes"} for name in names]


@pytest.mark.parametrize(
    ("files", "splits"),
    [
        ({"train.jsonl": "ab", "val.jsonl": "c", "test.jsonl": "d"}, {"train": "ab", "val": "c", "test": "d"}),
        ({"train_sft.jsonl": "ab", "train_gen.jsonl": "x", "test_sft.jsonl": "c"}, {"train_sft": "ab", "test_sft": "c"}),
        ({"train/1.jsonl": "a", "train/2.jsonl": "b", "dev/1.jsonl": "c"}, {"train": "ab", "dev": "c"}),
        ({"data/train-00000-of-00002.jsonl": "a", "data/train-00001-of-00002.jsonl": "b"}, {"train": "ab"}),
        ({"my-train.jsonl": "a", "my-test.jsonl": "b"}, {"train": "a", "test": "b"}),
        ({"one.jsonl": "a", "two.jsonl": "b"}, {"train": "ab"}),
        ({"test.jsonl": "a"}, {"test": "a"}),
        ({"train.jsonl": "a", ".cache/train.jsonl": "x"}, {"train": "a"}),
    ],
)
def test_splits_of_a_folder(tmp_path: Path, files: dict[str, str], splits: dict[str, str]):
    for name, letters in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_text(lines(questions(letters)))
    found = load_conversations(DataArguments(dataset_name=str(tmp_path)))
    assert {name: "".join(row["messages"][0]["content"][0] for row in rows) for name, rows in found.items()} == splits


def test_parts_are_given_by_flags(tmp_path: Path):
    for name, letters in {"all.jsonl": "abcdefghij", "exam.jsonl": "kl", "dev.csv": "mn"}.items():
        rows = questions(letters)
        text = "question,answer\n" + "".join(f"{row['question']},yes\n" for row in rows) if "csv" in name else lines(rows)
        (tmp_path / name).write_text(text)
    names = {part: str(tmp_path / name) for part, name in (("test", "exam.jsonl"), ("validation", "dev.csv"))}
    given = {f"{part}_dataset_name": name for part, name in names.items()}
    parts = load_parts(DataArguments(dataset_name=str(tmp_path / "all.jsonl"), **given))
    assert ["".join(row["messages"][0]["content"][0] for row in rows) for rows in parts] == ["abcdefghij", "mn", "kl"]
    alone = load_parts(DataArguments(dataset_name="synthetic", test_dataset_name=names["test"]))
    assert [len(rows) for rows in alone] == [0, 0, 2]


def test_rows_of_a_group_stay_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = tmp_path / "data.jsonl"
    path.write_text(lines([{"question": f"{n}?", "answer": "yes", "document": n // 5} for n in range(100)]))
    args = DataArguments(dataset_name=str(path), group_by="document")
    parts = [{row["group"] for row in rows} for rows in load_parts(args)]
    assert all(parts)
    assert sum(map(len, parts)) == 20
    path.write_text(lines([{"question": "a", "answer": "b"}]))
    with pytest.raises(SystemExit, match="2"):
        load_parts(args)
    assert "line 1: no `document` to group by (found: question, answer); fill it in" in capsys.readouterr().err


# --- Several --------------------------------------------------------------------------------------------------------------


def test_names_and_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    spaced = tmp_path / "my data:2.jsonl"
    spaced.touch()
    assert sources_of(str(spaced)) == [(str(spaced), None)]
    assert sources_of("owner/name") == [("owner/name", None)]
    assert sources_of("a.jsonl b.jsonl") == [("a.jsonl", None), ("b.jsonl", None)]
    assert sources_of(f"a.jsonl:2 'x y.csv':0.5 {tmp_path}:1") == [("a.jsonl", 2.0), ("x y.csv", 0.5), (str(tmp_path), 1.0)]
    for wrong, line in {
        "a.jsonl:2 b.jsonl": "some have a weight and some have none; give each one, for example `a.jsonl:2 b.jsonl:1`",
        "a.jsonl:0 b.jsonl:1": "a weight of 0 trains nothing of it; leave it away",
        "a.jsonl a.jsonl": "the same name stands there twice; write it once, with a weight",
    }.items():
        with pytest.raises(SystemExit, match="2"):
            sources_of(wrong)
        assert capsys.readouterr().err == f"error: dataset_name {wrong}: {line}\n"


@pytest.mark.parametrize(
    ("setting", "counts"),
    [("a b", (40, 10)), ("a:1 b:1", (40, 40)), ("a:2 b:1", (40, 20)), ("a:1 b:2", (40, 80)), ("a:8 b:1", (80, 10))],
)
def test_rows_are_mixed_by_weight(setting: str, counts: tuple[int, int]):
    rows = [("a", n) for n in range(40)] + [("b", n) for n in range(10)]
    mixed = mix(rows, setting, lambda row: row[0], lambda row: str(row[1]))
    assert tuple([row[0] for row in mixed].count(name) for name in "ab") == counts
    assert set(mixed) == set(rows)  # all are trained
    share = [row[0] for row in mixed[: len(mixed) // 2]].count("a") / (len(mixed) // 2)
    assert share == pytest.approx(counts[0] / sum(counts), abs=0.05)  # whatever is cut off


def test_several_files(tmp_path: Path):
    for name, count in {"a.jsonl": 60, "b.jsonl": 20}.items():
        (tmp_path / name).write_text(lines([{"question": f"{name} {n}?", "answer": "yes"} for n in range(count)]))
    train, validation, held_out = load_parts(DataArguments(dataset_name=f"{tmp_path}/a.jsonl:1 {tmp_path}/b.jsonl:1"))
    names = [row["source"].rpartition("/")[2] for row in train]
    assert names.count("a.jsonl") == names.count("b.jsonl")
    apart = {row["messages"][0]["content"] for row in [*validation, *held_out]}
    assert not apart & {row["messages"][0]["content"] for row in train}


@pytest.mark.parametrize("name", ["data.parquet", "data.parquet.gz"])
def test_a_column_of_a_type_that_is_not_read_is_named(tmp_path: Path, capsys: pytest.CaptureFixture, name: str):
    path = tmp_path / name
    maps = pyarrow.array([[("k", "v")]], type=pyarrow.map_(pyarrow.string(), pyarrow.string()))
    with (gzip.open if name.endswith(".gz") else open)(path, "wb") as file:
        pyarrow.parquet.write_table(pyarrow.table({"question": ["a?"], "answer": ["b"], "meta": maps}), file)
    with pytest.raises(SystemExit, match="2"):
        load_splits(str(path))
    error = capsys.readouterr().err
    assert error.startswith(f"error: {path}: column `meta` is of Arrow's type map<string, string")
    assert error.endswith(", which is not read; leave it out, or write it as text in JSON\n")
