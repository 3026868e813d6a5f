"""The Berkeley Function Calling Leaderboard (BFCL v4) in the recipe's form, read from a local folder."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from common.data.conversations import check_tools
from common.data.files import read_lines
from common.errors import BadRow, fail

from code_values import JSON_TYPES

# The categories of one turn (bfcl_eval/constants/category_mapping.py in https://github.com/ShishirPatil/gorilla). In those of
# irrelevance nothing is to be called, in that of relevance anything; the others have answers, which the AST check compares.
NON_LIVE = ["simple_python", "simple_java", "simple_javascript", "multiple", "parallel", "parallel_multiple", "irrelevance"]
LIVE = ["live_simple", "live_multiple", "live_parallel", "live_parallel_multiple", "live_irrelevance", "live_relevance"]
CATEGORIES = [*NON_LIVE, *LIVE]
LANGUAGES = {"simple_java": "java", "simple_javascript": "javascript"}

# BFCL's names of types that JSON schema has no such name for, as bfcl_eval/constants/type_mappings.py translates them.
TYPES = {"dict": "object", "float": "number", "tuple": "array", "any": "string"}


def _to_json_schema(schema: dict[str, Any], types: dict[str, str] = TYPES) -> dict[str, Any]:
    schema = dict(schema)
    if "type" in schema:
        schema["type"] = types.get(schema["type"], schema["type"])
    if "properties" in schema:
        schema["properties"] = {name: _to_json_schema(part, types) for name, part in schema["properties"].items()}
    if "items" in schema:
        schema["items"] = _to_json_schema(schema["items"], types)
    return schema


def _in_language(schema: dict[str, Any], language: str) -> dict[str, Any]:
    """Returns the schema that is shown where the arguments are texts in a language's syntax, with the type in words."""

    def described(parameter: dict[str, Any]) -> dict[str, Any]:
        kind = parameter.get("type", "any")
        items = f" of {parameter['items'].get('type', 'any')}" if "items" in parameter else ""
        fields = f" with {', '.join(parameter['properties'])}" if "properties" in parameter else ""
        hint = f"Written as a text in {language}'s syntax; its type is {kind}{items}{fields}."
        kept = {key: value for key, value in parameter.items() if key not in ("items", "properties", "required")}
        return kept | {"type": "string", "description": f"{parameter.get('description', '')} {hint}".strip()}

    properties = {name: described(parameter) for name, parameter in schema.get("properties", {}).items()}
    return schema | {"type": "object", "properties": properties}


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
    """Returns the functions of a row as tools in OpenAI's form, with BFCL's types."""
    tools = [{"type": "function", "function": function} for function in functions] if isinstance(functions, list) else functions
    try:
        check_tools(tools)
    except BadRow as error:
        fail(f"{where}: {error}")
    return tools


def _with(tools: list[dict[str, Any]], change: Callable[[dict[str, Any]], dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns tools with their schemas changed."""
    functions = [tool["function"] for tool in tools]
    return [
        {"type": "function", "function": {**function, "parameters": change(function["parameters"])}} for function in functions
    ]


def _answers(found: Any, where: str) -> list[dict[str, dict[str, list[Any]]]]:
    """Returns the right calls of a row."""
    calls = found if isinstance(found, list) else [found]
    fits = all(isinstance(call, dict) and len(call) == 1 for call in calls)
    accepted = [parameters for call in calls for parameters in call.values()] if fits else []
    if not fits or not all(isinstance(p, dict) and all(isinstance(v, list) for v in p.values()) for p in accepted):
        fail(f"{where}: `ground_truth` is no list of calls, each with lists of accepted values; write it as BFCL does")
    return calls


def _read_category(folder: Path, category: str) -> list[dict[str, Any]]:
    """Reads the rows of a category, with their answers where it has any."""
    path = folder / f"BFCL_v4_{category}.json"
    places = [folder / f"{path.stem}_answers.json", folder / "possible_answer" / path.name]
    answers_path = next((place for place in places if place.exists()), places[0])
    needs_answers, answers = "relevance" not in category, {}
    if needs_answers and answers_path.exists():
        found = _rows(answers_path, ["id", "ground_truth"])
        answers = {row["id"]: _answers(row["ground_truth"], where) for where, row in found}
    rows, language = [], LANGUAGES.get(category, "")
    for where, row in _rows(path, ["id", "question", "function"]):
        if needs_answers and row["id"] not in answers:
            fail(f"{where}: {row['id']} has no answer in {answers_path}; add it or remove the row")
        declared, right = _tools(row["function"], where), answers.get(row["id"], [])
        shown = _with(declared, partial(_in_language, language=language) if language else _to_json_schema)
        asked = {"messages": _messages(row["question"], where), "tools": shown, "answers": right, "where": where}
        if language:
            asked |= {"language": language, "declared": declared}
        rows.append(asked | ({"kind": "relevance"} if category == "live_relevance" else {}))
    return rows


def to_check(declared: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns tools that BFCL declares in another language's types with those of JSON schema, to check calls by."""
    return _with(declared, partial(_to_json_schema, types=JSON_TYPES))


def load_bfcl(folder: str | Path) -> dict[str, list[dict[str, Any]]]:
    """Loads the categories of one turn of BFCL that a folder holds.

    Args:
        folder: Has `BFCL_v4_CATEGORY.json`, and the answers in `BFCL_v4_CATEGORY_answers.json` or, as in BFCL's own
            repository, in `possible_answer/BFCL_v4_CATEGORY.json`. Other files are not read.

    Returns:
        By category, rows with `messages`, `tools` (JSON schemas in OpenAI's form) and `answers` (see `calls.Accepted`);
        those in another language also with `language` and `declared`, the tools with BFCL's types.

    Raises:
        SystemExit: With code 2 and one line if there is no such file, a row cannot be read, or a row has no answer.
    """
    folder = Path(folder)
    there = [category for category in CATEGORIES if (folder / f"BFCL_v4_{category}.json").exists()]
    if not there:
        fail(f"{folder} has no file of BFCL, such as BFCL_v4_simple_python.json; copy one there, with its answers")
    return {category: _read_category(folder, category) for category in there}
