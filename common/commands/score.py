"""`recipes score RECIPE FILE`: a recipe's own verdicts and metrics for completions made anywhere."""

import importlib
import json
import sys
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

from common.commands import places
from common.data.files import KINDS, kind_of, read_file
from common.errors import BadRow, fail
from common.report.numbers import print_results

COMPLETION = "what was answered: a text, or an assistant's message as an API returns it, or its `tool_calls`"
SCORERS = ("metrics", "rewards")  # the file of a recipe that holds its `score`


def _load(recipe: str) -> ModuleType:
    """Imports the file of a recipe that scores, as the recipe's own files do: its siblings are found."""
    folder = places.find_recipe(recipe)
    name = next((name for name in SCORERS if (folder / f"{name}.py").is_file()), None)
    if name is None:
        fail(f"{places.shown(folder)} has no {' or '.join(f'{name}.py' for name in SCORERS)}, so there is nothing to score by")
    sys.path.insert(0, str(folder))
    return importlib.import_module(name)


def describe_columns(recipe: str) -> str:
    """Returns what a row has to hold for a recipe, for `--help`.

    Args:
        recipe: A recipe's name, or a recipe's folder.
    """
    columns = {"completion": COMPLETION} | _load(recipe).REFERENCE
    width = max(map(len, columns)) + 2
    lines = [f"  {name:<{width}}{meaning}" for name, meaning in columns.items()]
    kinds = ", ".join(kind.removeprefix(".") for kind in KINDS)
    return "\n".join([f"A row of FILE ({kinds}) for {recipe}:", "", *lines])


def _call(call: dict[str, Any]) -> str:
    """Returns a call as Qwen's chat templates write it; arguments that are no JSON stay the text that they are."""
    name, arguments = call.get("name"), call.get("arguments")
    with suppress(ValueError, TypeError):
        arguments = json.loads(arguments)
    return f"<tool_call>\n{json.dumps({'name': name, 'arguments': arguments})}\n</tool_call>"


def _completion(row: dict[str, Any]) -> str:
    """Returns the text of a row's completion; calls of an API's message are written as Qwen's templates do."""
    said = row.get("completion")
    if (
        isinstance(said, list)
        and said
        and all(isinstance(call, dict) and {"function", "arguments"} & call.keys() for call in said)
    ):
        said = {"tool_calls": said}
    if isinstance(said, list) and len(said) == 1:  # TRL's form
        said = said[0]
    if isinstance(said, dict):
        calls = [_call(call.get("function", call)) for call in said.get("tool_calls") or [] if isinstance(call, dict)]
        said = "\n".join([said.get("content") or "", *calls])
    if not isinstance(said, str):
        raise BadRow(f"`completion` must be a text, not {said!r:.40}; write what was answered (an empty text for nothing)")
    return said


def _read(file: Path, scorer: ModuleType) -> tuple[list[Any], list[str], list[str]]:
    """Returns the rows of a file as a recipe's `score` takes them, the completions, and where each is."""
    if not file.is_file():
        fail(f"{file}: there is no such file; pass rows of `completion` and the recipe's own columns")
    if kind_of(file) is None:
        fail(f"{file}: unknown file type; use one of {', '.join(KINDS)}")
    rows, completions, found_at = [], [], []
    for where, row in read_file(file):
        try:
            completions.append(_completion(row))
            rows.append(scorer.read_reference(row))
        except BadRow as error:
            fail(f"{where}: {error}")
        found_at.append(where)
    return rows, completions, found_at


def score_file(recipe: str, file: Path, as_json: bool) -> None:
    """Prints a recipe's verdicts on the completions of a file, and its metrics with their intervals; loads no model.

    Args:
        recipe: A recipe's name, or a recipe's folder.
        file: A jsonl, json or csv: rows of `completion` and the recipe's own columns of the reference.
        as_json: Print `{"verdicts": [{"right": bool, "score": number}], "metrics": {...}}` and nothing else.

    Raises:
        SystemExit: With code 2 and one line that names the file and the row, for a row that cannot be scored.
    """
    scorer = _load(recipe)
    rows, completions, found_at = _read(file, scorer)
    metrics, verdicts = scorer.score(rows, completions)
    found = [
        {"right": bool(verdict["correct"]), "score": round(float(verdict.get("score", verdict["correct"])), 6)}
        for verdict in verdicts
    ]
    if as_json:
        print(json.dumps({"verdicts": found, "metrics": metrics}))
        return
    for where, verdict in zip(found_at, found, strict=True):
        print(f"{where}: {'right' if verdict['right'] else 'wrong'}  {verdict['score']:.3g}")
    print_results(f"\n{recipe}", {str(file): {"metrics": metrics, "count": len(rows)}})
