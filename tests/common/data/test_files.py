"""Rows of files are as they were written; those that people really have are read right, or refused in one line."""

import gzip
import json
from pathlib import Path

from common.data.arguments import DataArguments
from common.data.conversations import load_conversations
from common.data.files import read_file

import pytest

CASES = Path(__file__).parents[4] / "shared" / "cases"
needs_cases = pytest.mark.skipif(not CASES.exists(), reason=f"needs the cases in {CASES}")
ROWS = [
    {"question": "007?", "answer": "NA"},
    {"question": 'a "b", c\nd', "answer": " 1e5 "},
    {"question": "é😀", "answer": "-0"},
]


def texts(path: Path) -> list[dict]:
    return [row for _, row in read_file(path)]


@pytest.mark.parametrize(
    "name", ["data.jsonl", "data.json", "DATA.JSONL", "data.jsonl.gz", "data.ndjson", "data.NDJSON.gz", "a[1].jsonl"]
)
def test_json(tmp_path: Path, name: str):
    text = json.dumps(ROWS) if name == "data.json" else "".join(json.dumps(row) + "\n" for row in ROWS)
    (tmp_path / name).write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    assert texts(tmp_path / name) == ROWS


def test_a_number_stays_as_it_is_written(tmp_path: Path):
    """Where it is an answer; among the arguments of a call it is a number."""
    (tmp_path / "data.jsonl").write_text('{"question": "a", "answer": 12.50}\n{"question": "b", "answer": 1E3}\n')
    found = load_conversations(DataArguments(dataset_name=str(tmp_path / "data.jsonl")))["train"]
    assert [row["messages"][1]["content"] for row in found] == ["12.50", "1E3"]
    assert json.dumps(texts(tmp_path / "data.jsonl")[0]) == '{"question": "a", "answer": 12.5}'
    call = '{"name": "f", "arguments": {"x": 1.50, "y": [2.0]}}'
    (tmp_path / "data.jsonl").write_text(f'{{"query": "a", "answers": [{call}], "tools": [{{"name": "f"}}]}}\n')
    (row,) = load_conversations(DataArguments(dataset_name=str(tmp_path / "data.jsonl")))["train"]
    arguments = row["messages"][1]["tool_calls"][0]["function"]["arguments"]
    assert (arguments, type(arguments["x"]), type(arguments["y"][0])) == ({"x": 1.5, "y": [2.0]}, float, float)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_csv(tmp_path: Path, delimiter: str, encoding: str, end: str):
    """Neither are numbers made of texts that look like them, nor nothing of NA."""
    lines = [["Question", "Answer "], *(['"' + value.replace('"', '""') + '"' for value in row.values()] for row in ROWS)]
    (tmp_path / "data.csv").write_bytes("".join(delimiter.join(line) + end for line in lines).encode(encoding))
    assert texts(tmp_path / "data.csv") == ROWS


@pytest.mark.parametrize("name", ["data.tsv", "data.TSV.gz"])
def test_tsv(tmp_path: Path, name: str):
    """Commas and semicolons separate nothing, quotes inside a text are signs like others."""
    text = b'question;1\tanswer, yes\nWho said "no"?\t00701\nNA\t" a\tb"\n'
    (tmp_path / name).write_bytes(gzip.compress(text) if name.endswith("gz") else text)
    assert texts(tmp_path / name) == [
        {"question;1": 'Who said "no"?', "answer, yes": "00701"},
        {"question;1": "NA", "answer, yes": " a\tb"},
    ]


def test_a_long_text_in_a_csv(tmp_path: Path):
    (tmp_path / "data.csv").write_text("question,answer\n" + "a" * 200_000 + ",b\n")
    assert len(texts(tmp_path / "data.csv")[0]["question"]) == 200_000


def test_a_packed_file_says_what_is_wrong_in_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "data.csv.gz").write_bytes(gzip.compress(b"question,answer\na,b\nc\n"))
    with pytest.raises(SystemExit, match="2"):
        read_file(tmp_path / "data.csv.gz")
    assert f"{tmp_path}/data.csv.gz, row 2: 1 value for 2 columns; " in capsys.readouterr().err


@needs_cases
def test_files_that_people_have(capsys: pytest.CaptureFixture[str]):
    assert [row["answer"] for row in texts(CASES / "plain.csv")] == ["12", "NA", "00701", "yes"]
    assert texts(CASES / "semicolon.csv") == texts(CASES / "bom.jsonl") == [{"question": "How many?", "answer": "12"}]
    for name, line in {"latin1.csv": "line 2: not UTF-8 (byte 0xe1)", "unquoted_comma.csv": "row 1: 3 values for 2"}.items():
        with pytest.raises(SystemExit, match="2"):
            read_file(CASES / name)
        assert capsys.readouterr().err.startswith(f"error: {CASES / name}, {line}")


@needs_cases
def test_conversations_that_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    cases = [json.loads(line) for line in (CASES / "conversations.jsonl").read_text().splitlines()]
    refused = [case["row"] for case in cases if case.get("refused")]
    assert refused
    for row in refused:
        (tmp_path / "data.jsonl").write_text(json.dumps(row) + "\n")
        with pytest.raises(SystemExit, match="2"):
            load_conversations(DataArguments(dataset_name=str(tmp_path / "data.jsonl")))
        assert capsys.readouterr().err.startswith(f"error: {tmp_path}/data.jsonl, line 1: ")
