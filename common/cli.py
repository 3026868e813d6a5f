"""The command `recipes`: list the recipes, copy one, talk to a trained model, export it."""

import ast
import os
import re
import runpy
import shlex
import shutil
import sys
from pathlib import Path
from typing import Annotated

from common.errors import fail, nearest, say

import typer
import yaml

ROOT = Path(__file__).resolve().parent.parent
RECIPES = ROOT / "recipes"

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, no_args_is_help=False)

Run = Annotated[Path, typer.Argument(metavar="RUN", help="A run's output folder, or a checkpoint-N in it.")]


@app.callback()
def recipes() -> None:
    """Lists and copies recipes, talks to and exports trained models."""


def _recipes() -> list[Path]:
    return sorted(script.parent for script in RECIPES.glob("*/train.py"))


def _shown(path: Path) -> str:
    """Returns a path as one would type it: relative to the current folder if it is in there."""
    return os.path.relpath(path) if path.resolve().is_relative_to(Path.cwd()) else str(path.resolve())


# --- list ---------------------------------------------------------------------------------------------------------------


def _about(script: Path) -> str:
    """Returns the first line of a script's docstring, without running the script."""
    try:
        return (ast.get_docstring(ast.parse(script.read_text())) or "").partition("\n")[0]
    except SyntaxError as error:
        return f"(train.py, line {error.lineno}: {error.msg})"


def _full_size_model(folder: Path) -> str:
    try:
        return str(yaml.safe_load((folder / "config.yaml").read_text())["model_name_or_path"])
    except (OSError, yaml.YAMLError, KeyError, TypeError):
        return "-"


@app.command("list")
def list_recipes() -> None:
    """Lists the recipes: name, full-size model, what is learned."""
    rows = [(folder.name, _full_size_model(folder), _about(folder / "train.py")) for folder in _recipes()]
    widths = [max((len(row[column]) for row in rows), default=0) for column in (0, 1)]
    for name, model, about in rows:
        say(f"{name:<{widths[0]}}  {model:<{widths[1]}}  {about}")


# --- copy ---------------------------------------------------------------------------------------------------------------


def _find_recipe(source: str) -> Path:
    for folder in (RECIPES / source, Path(source)):
        if (folder / "train.py").is_file():
            return folder
    names = [folder.name for folder in _recipes()]
    hint = nearest(source, names) or f"; there is: {', '.join(names)}, or a folder with a train.py"
    fail(f"there is no recipe `{source}`{hint}")


def _new_folder(new: str, source: Path) -> Path:
    folder = Path(new).expanduser() if "/" in new else RECIPES / new
    if not re.fullmatch(r"\w[\w.-]*", Path(new).name):
        fail(f"`{new}` is not a name for a recipe; use letters, digits, `_`, `-` and `.`, for example `my_recipe`")
    if os.path.lexists(folder):
        fail(f"{_shown(folder)} is there already; choose another name")
    if folder.resolve().is_relative_to(source.resolve()):
        fail(f"{_shown(folder)} is inside {_shown(source)}, which is copied; choose a place outside it")
    return folder


@app.command()
def copy(
    source: Annotated[str, typer.Argument(metavar="SRC", help="A recipe's name, or a recipe's folder.")],
    new: Annotated[str, typer.Argument(metavar="NEW", help="A new name under recipes/, or the path of a new folder.")],
) -> None:
    """Copies a recipe under a new name, to make it yours."""
    recipe = _find_recipe(source)
    folder = _new_folder(new, recipe)
    # What git would not carry is left out: caches, and outputs of runs started in the recipe's folder.
    ignored = [line.strip("/") for line in (ROOT / ".gitignore").read_text().splitlines()]
    try:
        shutil.copytree(recipe, folder, ignore=shutil.ignore_patterns(*ignored))
    except OSError as error:
        fail(f"{_shown(recipe)} cannot be copied to {_shown(folder)}: {error.strerror or error}")
    config = ROOT / "accelerate_configs" / "zero3.yaml"
    say(f"Copied {_shown(recipe)} to {_shown(folder)}. Run it with")
    say(shlex.join(["accelerate", "launch", "--config_file", _shown(config), _shown(folder / "train.py")]))


# --- chat and export ----------------------------------------------------------------------------------------------------


# Whatever follows RUN belongs to the chat, `--help` too.
@app.command(context_settings={"allow_interspersed_args": False})
def chat(
    run: Run,
    args: Annotated[list[str] | None, typer.Argument(metavar="ARGS", help="`recipes chat RUN --help` lists them.")] = None,
) -> None:
    """Talks to a trained model, with the recipe's chat.py if it has one."""
    # Imported here, as in `export`: transformers takes seconds to import, and `list` and `copy` do without it.
    from common.record import read_record

    _, record = read_record(run)
    folder = Path(record.get("folder", RECIPES / record["recipe"]))
    if not folder.is_dir():  # the recipe was moved, or the run comes from another machine
        folder = RECIPES / record["recipe"]
    if (folder / "chat.py").is_file():
        sys.argv = [str(folder / "chat.py"), str(run), *(args or [])]
        sys.path.insert(0, str(folder))
        runpy.run_path(sys.argv[0], run_name="__main__")
    else:
        from common.chat import main as chat_main

        chat_main([str(run), *(args or [])])


@app.command()
def export(
    run: Run,
    output_dir: Annotated[
        Path | None, typer.Option("--output_dir", metavar="DIR", help="A new folder; RUN/export if not given.")
    ] = None,
    push: Annotated[
        str | None, typer.Option("--push", metavar="OWNER/NAME", help="Also upload it, as a new private repository.")
    ] = None,
) -> None:
    """Makes a standalone model of a run, and checks it."""
    from common.export import export_run

    export_run(run, output_dir, push)


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line.

    Args:
        arguments: The words after `recipes`; those of this process if not given.

    Raises:
        SystemExit: With code 2 and one line on standard error for a mistake in them.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        code = app(arguments or ["--help"], prog_name="recipes", standalone_mode=False)
    except typer.TyperException as error:
        message = error.format_message().rstrip(".")
        fail(message if "?" in message else f"{message}; `recipes --help` lists the commands")
    raise SystemExit(code or 0)
