"""`recipes list`: what there is."""

import ast
from pathlib import Path

from common.commands import places
from common.errors import say

import yaml


def _about(script: Path) -> str:
    """Returns the first line of a script's docstring, without running the script."""
    try:
        return (ast.get_docstring(ast.parse(script.read_text(encoding="utf-8"))) or "").partition("\n")[0]
    except SyntaxError as error:
        return f"(train.py, line {error.lineno}: {error.msg})"


def _full_size_model(folder: Path) -> str:
    try:
        return str(yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))["model_name_or_path"])
    except (OSError, yaml.YAMLError, KeyError, TypeError):
        return "-"


def list_recipes() -> None:
    """Lists the recipes: name, full-size model, what is learned."""
    rows = [(folder.name, _full_size_model(folder), _about(folder / "train.py")) for folder in places.recipe_folders()]
    widths = [max((len(row[column]) for row in rows), default=0) for column in (0, 1)]
    for name, model, about in rows:
        say(f"{name:<{widths[0]}}  {model:<{widths[1]}}  {about}")
