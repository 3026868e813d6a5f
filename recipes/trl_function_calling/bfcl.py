"""The Berkeley Function Calling Leaderboard (BFCL v4) in the recipe's form, read from a local folder."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from common.errors import fail

# The categories of one turn in Python that the AST check scores (bfcl_eval/constants/category_mapping.py in
# https://github.com/ShishirPatil/gorilla); in those of irrelevance nothing is to be called.
CATEGORIES = [
    *("simple_python", "multiple", "parallel", "parallel_multiple", "irrelevance"),
    *("live_simple", "live_multiple", "live_parallel", "live_parallel_multiple", "live_irrelevance"),
]

# BFCL's names of types that JSON schema has no such name for, as bfcl_eval/constants/type_mappings.py translates them.
TYPES = {"dict": "object", "float": "number", "tuple": "array", "any": "string"}


def _to_json_schema(schema: dict[str, Any]) -> dict[str, Any]:
    schema = dict(schema)
    if "type" in schema:
        schema["type"] = TYPES.get(schema["type"], schema["type"])
    if "properties" in schema:
        schema["properties"] = {name: _to_json_schema(parameter) for name, parameter in schema["properties"].items()}
    if "items" in schema:
        schema["items"] = _to_json_schema(schema["items"])
    return schema


def _rows(path: Path, columns: list[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            fail(f"{path}, line {number}: not valid JSON ({error.msg}); write one JSON object a line")
        for column in columns:
            if not isinstance(row, dict) or column not in row:
                fail(f"{path}, line {number}: no `{column}`; a row of BFCL is an object with {', '.join(columns)}")
        yield number, row


def load_bfcl(folder: str | Path) -> dict[str, list[dict[str, Any]]]:
    """Loads the categories of BFCL that a folder holds, of those that the AST check scores in Python.

    Args:
        folder: Has `BFCL_v4_CATEGORY.json`, and the answers in `BFCL_v4_CATEGORY_answers.json` or, as in BFCL's own
            repository, in `possible_answer/BFCL_v4_CATEGORY.json`. Other files are not read.

    Returns:
        By category, rows with `messages`, `tools` (JSON schemas in OpenAI's form) and `answers` (see `metrics.Answer`).

    Raises:
        SystemExit: With code 2 and one line if there is no such file, a row cannot be read, or a row has no answer.
    """
    folder, categories = Path(folder), {}
    for category in CATEGORIES:
        path = folder / f"BFCL_v4_{category}.json"
        if not path.exists():
            continue
        places = [folder / f"{path.stem}_answers.json", folder / "possible_answer" / path.name]
        answers_path = next((place for place in places if place.exists()), places[0])
        answers = {}
        if answers_path.exists():
            answers = {row["id"]: row["ground_truth"] for _, row in _rows(answers_path, ["id", "ground_truth"])}
        rows = []
        for number, row in _rows(path, ["id", "question", "function"]):
            if category.endswith("irrelevance"):
                answers[row["id"]] = []
            if row["id"] not in answers:
                fail(f"{path}, line {number}: {row['id']} has no answer in {answers_path}; add it or remove the row")
            functions = [{**function, "parameters": _to_json_schema(function["parameters"])} for function in row["function"]]
            rows.append(
                {
                    "messages": row["question"][0],
                    "tools": [{"type": "function", "function": function} for function in functions],
                    "answers": answers[row["id"]],
                }
            )
        categories[category] = rows
    if not categories:
        fail(f"{folder} has no file of BFCL, such as BFCL_v4_simple_python.json; copy one there, with its answers")
    return categories
