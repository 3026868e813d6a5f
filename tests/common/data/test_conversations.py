"""Conversations are read as they were written; rows that cannot be trained on are left out if that is asked for.

What a bad row is answered is in reliability/bad_inputs.yaml.
"""

import json
from pathlib import Path

from common.data.arguments import DataArguments
from common.data.conversations import load_conversations

import pytest
from datasets import Dataset

QUESTION, ANSWER = {"role": "user", "content": "6 * 7?"}, {"role": "assistant", "content": "42"}
NUMBER = {"type": "integer"}
TOOL = {
    "type": "function",
    "function": {"name": "multiply", "parameters": {"type": "object", "properties": {"a": NUMBER, "b": NUMBER}}},
}


def call(name: str = "multiply", arguments: object = None) -> dict:
    function = {"name": name, "arguments": {"a": 6, "b": 7} if arguments is None else arguments}
    return {"role": "assistant", "tool_calls": [{"type": "function", "function": function}]}


def row(*messages: dict, tools: list | None = None) -> str:
    return json.dumps({"messages": messages} | ({"tools": tools} if tools is not None else {})) + "\n"


GOOD = row(QUESTION, ANSWER)
WITH_CALL = row(QUESTION, call(), {"role": "tool", "content": "42"}, ANSWER, tools=[TOOL])


def load(path: Path, **settings):
    return load_conversations(DataArguments(dataset_name=str(path), **settings))["train"]


def test_bad_rows_are_left_out_and_counted(tmp_path: Path, capsys: pytest.CaptureFixture):
    path = tmp_path / "data.jsonl"
    path.write_text(GOOD + row(QUESTION) + GOOD + row({"role": "robot", "content": "?"}))
    assert load(path, skip_bad_rows=True) == [
        json.loads(GOOD) | {"where": f"{path}, line {number}", "source": str(path)} for number in (1, 3)
    ]
    said = capsys.readouterr().out
    assert f"Left out 2 of 4 rows of {path} (train). The first: {path}, line 2: no assistant turn" in said
    assert "By kind: 1 x no assistant turn, so there is nothing to learn from; 1 x unknown role ..." in said


def test_no_row_is_left(tmp_path: Path, capsys: pytest.CaptureFixture):
    (tmp_path / "data.jsonl").write_text(row(QUESTION))
    with pytest.raises(SystemExit):
        load(tmp_path / "data.jsonl", skip_bad_rows=True)
    assert f"error: {tmp_path}/data.jsonl (train) has no row that can be used" in capsys.readouterr().err


def test_rows_are_read_as_they_were_written(tmp_path: Path):
    """Also from files that Arrow reads: it gives every object the keys of all the others, with no value in them."""
    rows = [json.loads(text) for text in (GOOD, WITH_CALL)]
    (tmp_path / "data.jsonl").write_text(GOOD + WITH_CALL)
    (tmp_path / "data.json").write_text(json.dumps(rows))
    columns = {"messages": [row["messages"] for row in rows], "tools": [row.get("tools") for row in rows]}
    Dataset.from_dict(columns).to_parquet(tmp_path / "data.parquet")
    for name, place in {"data.jsonl": "line", "data.json": "row", "data.parquet": "row"}.items():
        found = load(tmp_path / name)
        # Each says where it stood, for errors that are found later.
        assert [row.pop("where").removeprefix(str(tmp_path / name)).lstrip(", ") for row in found] == [
            f"{place} 1",
            f"{place} 2",
        ]
        assert [row.pop("source") for row in found] == [str(tmp_path / name)] * 2
        for row in found:  # what is nothing beside calls is an empty text in every form
            for message in row["messages"]:
                if "tool_calls" in message and not message["content"]:
                    del message["content"]
        assert found == rows


def test_arguments_as_a_text_become_an_object(tmp_path: Path):
    (tmp_path / "data.jsonl").write_text(row(QUESTION, call(arguments='{"a": 6, "b": 7}'), ANSWER, tools=[TOOL]))
    assert load(tmp_path / "data.jsonl")[0]["messages"][1] == call() | {"content": ""}
