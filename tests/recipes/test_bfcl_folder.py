"""The files of BFCL as rows of the recipe."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import recipe_modules
from function_calls import BFCL, ROW, needs_bfcl, save


@pytest.fixture(scope="module")
def recipe():
    names = ["calls", "forms", "mistakes", "compare", "code_values", "bfcl", "leaderboard", "metrics"]
    with recipe_modules("trl_function_calling", names) as modules:
        yield modules


ANSWER = {"id": "simple_python_0", "ground_truth": [{"geo.find": {"type": ["town"], "place": ["", [0.5, 1.0]]}}]}


@pytest.mark.parametrize("answers", ["BFCL_v4_simple_python_answers.json", "possible_answer/BFCL_v4_simple_python.json"])
def test_rows_of_bfcl_get_json_schemas(recipe, tmp_path: Path, answers: str):
    save(tmp_path / "BFCL_v4_simple_python.json", ROW, "")
    save(tmp_path / answers, ANSWER)
    save(tmp_path / "BFCL_v4_live_irrelevance.json", {**ROW, "id": "live_irrelevance_0-0-0"})
    save(tmp_path / "BFCL_v4_memory.json", "not for the AST check")
    properties = {
        "type": {"type": "string", "description": "dict or float"},
        "place": {"type": "array", "items": {"type": "number"}, "default": [0.5]},
        "items": {"type": "array", "items": {"type": "object", "properties": {"properties": {"type": "integer"}}}},
    }
    parameters = {"type": "object", "properties": properties, "required": ["type"]}
    row = {
        "where": f"{tmp_path}/BFCL_v4_simple_python.json, line 1",
        "messages": [{"role": "user", "content": "Where?"}],
        "tools": [{"type": "function", "function": {"name": "geo.find", "description": "Finds.", "parameters": parameters}}],
        "answers": ANSWER["ground_truth"],
    }
    other = {**row, "where": f"{tmp_path}/BFCL_v4_live_irrelevance.json, line 1", "answers": []}
    expected = {"simple_python": [row], "live_irrelevance": [other]}
    assert recipe["bfcl"].load_bfcl(str(tmp_path)) == expected


@needs_bfcl
def test_every_schema_of_bfcl_has_types_of_json_schema(recipe):
    def types(schema: dict[str, Any]) -> Iterator[str]:
        yield schema["type"]
        for parameter in schema.get("properties", {}).values():
            yield from types(parameter)
        if "items" in schema:
            yield from types(schema["items"])

    categories = recipe["bfcl"].load_bfcl(BFCL)
    assert {name: len(rows) for name, rows in categories.items()} == {"simple_python": 400, "parallel": 200, "irrelevance": 240}
    tools = [tool["function"] for rows in categories.values() for row in rows for tool in row["tools"]]
    found = {name for tool in tools for name in types(tool["parameters"])}
    assert found == {"object", "array", "string", "integer", "number", "boolean"}
    assert all(tool["parameters"]["type"] == "object" for tool in tools)
    assert sum("." in tool["name"] for tool in tools) > 100


@pytest.mark.parametrize(
    ("rows", "answers", "where", "what"),
    [
        ([ROW, "{"], [ANSWER], "BFCL_v4_simple_python.json, line 2", "not valid JSON"),
        (["", "3"], [ANSWER], "BFCL_v4_simple_python.json, line 2", "not a JSON object"),
        ([{"id": "a", "question": []}], [ANSWER], "BFCL_v4_simple_python.json, line 1", "no `function`"),
        ([ROW], [ANSWER, "]"], "BFCL_v4_simple_python_answers.json, line 2", "not valid JSON"),
        ([ROW], [{"id": "simple_python_0"}], "BFCL_v4_simple_python_answers.json, line 1", "no `ground_truth`"),
        (
            [ROW, {**ROW, "id": "simple_python_1"}],
            [ANSWER],
            "BFCL_v4_simple_python.json, line 2",
            "simple_python_1 has no answer",
        ),
        ([ROW], None, "BFCL_v4_simple_python.json, line 1", "simple_python_0 has no answer"),
        (None, [ANSWER], "", "has no file of BFCL"),
    ],
)
def test_a_broken_folder_is_one_line(recipe, tmp_path: Path, capsys, rows, answers, where: str, what: str):
    if rows is not None:
        save(tmp_path / "BFCL_v4_simple_python.json", *rows)
    if answers is not None:
        save(tmp_path / "BFCL_v4_simple_python_answers.json", *answers)
    with pytest.raises(SystemExit) as stopped:
        recipe["bfcl"].load_bfcl(tmp_path)
    assert stopped.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {tmp_path / where}")
    assert what in line


@needs_bfcl
def test_a_whole_category_is_asked(tmp_path: Path):
    with recipe_modules("trl_function_calling", ["data", "arguments"]) as modules:
        settings = modules["arguments"].CallingArguments(dataset_name=str(BFCL), num_held_out=4)
        train, validation, held_out = modules["data"].load_data(settings, seed=0)
    assert (train, validation) == ([], [])
    assert {name: len(rows) for name, rows in held_out.items()} == {"simple_python": 400, "parallel": 200, "irrelevance": 240}
