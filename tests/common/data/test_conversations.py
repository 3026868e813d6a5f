"""A row that cannot be trained on ends in one line: the file, the row, what is wrong and the cure."""

import json
import re
from pathlib import Path

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
    return load_conversations(str(path), lambda row: row, **settings)["train"]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        pytest.param(
            GOOD + row({"role": "asistant", "content": "42"}),
            "line 2: message 1: unknown role `asistant`; did you mean `assistant`?",
            id="unknown role",
        ),
        pytest.param(
            GOOD + "\n" + row(QUESTION),
            "line 3: no assistant turn, so there is nothing to learn from; add one or remove the row",
            id="no assistant turn",
        ),
        pytest.param(
            row(QUESTION, {"role": "assistant", "content": 42}),
            "line 1: message 2: the content must be a text, not int",
            id="content is a number",
        ),
        pytest.param(
            row(QUESTION, call(arguments=[6, 7]), ANSWER, tools=[TOOL]),
            "line 1: message 2: the arguments of `multiply` are a list; write a JSON object",
            id="arguments are a list",
        ),
        pytest.param(
            row(QUESTION, call(arguments="{6, 7}"), ANSWER, tools=[TOOL]),
            "line 1: message 2: the arguments of `multiply` are not valid JSON",
            id="arguments are not JSON",
        ),
        pytest.param(
            row(QUESTION, call("multipy"), ANSWER, tools=[TOOL]),
            "line 1: message 2: a call to `multipy`, which is not among the row's tools; did you mean `multiply`?",
            id="tool that is not offered",
        ),
        pytest.param(
            row(QUESTION, call(), ANSWER),
            "line 1: message 2: a call to `multiply`, which is not among the row's tools; the row has no `tools`",
            id="no tools",
        ),
        pytest.param(
            row(QUESTION, ANSWER, tools=[{"type": "function", "function": {"name": "multiply"}}]),
            "line 1: tool `multiply` has no schema; give it `parameters`, a JSON schema of its arguments",
            id="tool without a schema",
        ),
        pytest.param(
            row(QUESTION, ANSWER, tools=[{"name": "multiply"}]),
            'line 1: tool 1 has no name; write {"type": "function", "function": {"name": ..., ...}}',
            id="tool without a function",
        ),
        pytest.param('{"messages": []}\n', "line 1: no `messages`; write a list of {role, content}", id="no messages"),
        pytest.param(
            GOOD + "{'messages': 1}\n",
            "line 2: not valid JSON (Expecting property name enclosed in double quotes); write one JSON object a line",
            id="not JSON",
        ),
        pytest.param(GOOD + "42\n", "line 2: not a JSON object; write one {...} a line", id="not an object"),
    ],
)
def test_bad_row(tmp_path: Path, capsys: pytest.CaptureFixture, text: str, line: str):
    path = tmp_path / "data.jsonl"
    path.write_text(text)
    with pytest.raises(SystemExit) as ended:
        load(path)
    assert ended.value.code == 2
    assert capsys.readouterr().err == f"error: {path}, {line}\n"


def test_empty_file(tmp_path: Path, capsys: pytest.CaptureFixture):
    (tmp_path / "data.jsonl").touch()
    with pytest.raises(SystemExit):
        load(tmp_path / "data.jsonl")
    assert capsys.readouterr().err == f"error: {tmp_path}/data.jsonl is empty; it needs at least one row\n"


def test_json_that_is_no_list(tmp_path: Path, capsys: pytest.CaptureFixture):
    (tmp_path / "data.json").write_text('{"a": 1}')
    with pytest.raises(SystemExit):
        load(tmp_path / "data.json")
    assert re.search(r"data\.json holds a dict; write a list of objects", capsys.readouterr().err)


def test_bad_rows_are_left_out_and_counted(tmp_path: Path, capsys: pytest.CaptureFixture):
    path = tmp_path / "data.jsonl"
    path.write_text(GOOD + row(QUESTION) + GOOD + row({"role": "robot", "content": "?"}))
    assert load(path, skip_bad_rows=True) == [json.loads(GOOD) | {"where": f"{path}, line {number}"} for number in (1, 3)]
    assert f"Left out 2 of 4 rows of {path} (train). The first: {path}, line 2: no assistant turn" in capsys.readouterr().out


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
    for name, place in {"data.jsonl": "line", "data.json": "row", "data.parquet": "(train), row"}.items():
        found = load(tmp_path / name)
        # Each says where it stood, for errors that are found later.
        assert [row.pop("where").removeprefix(str(tmp_path / name)).lstrip(", ") for row in found] == [
            f"{place} 1",
            f"{place} 2",
        ]
        assert found == rows


def test_arguments_as_a_text_become_an_object(tmp_path: Path):
    (tmp_path / "data.jsonl").write_text(row(QUESTION, call(arguments='{"a": 6, "b": 7}'), ANSWER, tools=[TOOL]))
    assert load(tmp_path / "data.jsonl")[0]["messages"][1] == call()
