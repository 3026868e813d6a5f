"""The Berkeley Function Calling Leaderboard (BFCL v4) in the recipe's form, read from a local folder."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from common.data.conversations import check_tools
from common.data.files import read_lines
from common.errors import BadRow, fail

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


def _rows(path: Path, columns: list[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    for where, row in read_lines(path):
        for column in columns:
            if column not in row:
                fail(f"{where}: no `{column}`; a row of BFCL is an object with {', '.join(columns)}")
        if not isinstance(row["id"], str):
            fail(f"{where}: `id` is a {type(row['id']).__name__}; write a text, as BFCL does")
        yield where, row


def _messages(question: Any, where: str) -> list[dict[str, Any]]:
    """Returns the messages of the first turn."""
    first = question[0] if isinstance(question, list) and question else None
    known = isinstance(first, list) and all(isinstance(m, dict) and isinstance(m.get("content"), str) for m in first)
    if not first or not known:
        fail(f"{where}: `question` is no list of lists of messages; write it as BFCL does")
    return first


def _tools(functions: Any, where: str) -> list[dict[str, Any]]:
    """Returns the functions of a row as tools in OpenAI's form."""
    tools = [{"type": "function", "function": function} for function in functions] if isinstance(functions, list) else functions
    try:
        check_tools(tools)
    except BadRow as error:
        fail(f"{where}: {error}")
    return [
        {"type": "function", "function": {**function, "parameters": _to_json_schema(function["parameters"])}}
        for function in functions
    ]


def _answers(found: Any, where: str) -> list[dict[str, dict[str, list[Any]]]]:
    """Returns the right calls of a row."""
    calls = found if isinstance(found, list) else [found]
    fits = all(isinstance(call, dict) and len(call) == 1 for call in calls)
    accepted = [parameters for call in calls for parameters in call.values()] if fits else []
    if not fits or not all(isinstance(p, dict) and all(isinstance(v, list) for v in p.values()) for p in accepted):
        fail(f"{where}: `ground_truth` is no list of calls, each with lists of accepted values; write it as BFCL does")
    return calls


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
            found = _rows(answers_path, ["id", "ground_truth"])
            answers = {row["id"]: _answers(row["ground_truth"], where) for where, row in found}
        rows = []
        for where, row in _rows(path, ["id", "question", "function"]):
            if category.endswith("irrelevance"):
                answers[row["id"]] = []
            if row["id"] not in answers:
                fail(f"{where}: {row['id']} has no answer in {answers_path}; add it or remove the row")
            messages, tools = _messages(row["question"], where), _tools(row["function"], where)
            rows.append({"messages": messages, "tools": tools, "answers": answers[row["id"]], "where": where})
        categories[category] = rows
    if not categories:
        fail(f"{folder} has no file of BFCL, such as BFCL_v4_simple_python.json; copy one there, with its answers")
    return categories
