"""`recipes copy SRC NEW`: a recipe of your own; nothing is ever overwritten."""

import os
import re
import shlex
import shutil
from pathlib import Path

from common.commands import places
from common.errors import fail, say


def _new_folder(new: str, source: Path) -> Path:
    folder = Path(new).expanduser() if "/" in new else places.RECIPES / new
    if not re.fullmatch(r"\w[\w.-]*", Path(new).name):
        fail(f"`{new}` is not a name for a recipe; use letters, digits, `_`, `-` and `.`, for example `my_recipe`")
    if os.path.lexists(folder):
        fail(f"{places.shown(folder)} is there already; choose another name")
    if folder.resolve().is_relative_to(source.resolve()):
        fail(f"{places.shown(folder)} is inside {places.shown(source)}, which is copied; choose a place outside it")
    return folder


def copy_recipe(source: str, new: str) -> None:
    """Copies a recipe.

    Args:
        source: A recipe's name, or a recipe's folder.
        new: A new name under recipes/, or the path of a new folder.

    Raises:
        SystemExit: With code 2 and one line if there is no such recipe, or the new folder cannot be made or is there already.
    """
    recipe = places.find_recipe(source)
    folder = _new_folder(new, recipe)
    # What git would not carry is left out: caches, and outputs of runs started in the recipe's folder.
    ignored = [line.strip("/") for line in (places.ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()]
    try:
        shutil.copytree(recipe, folder, ignore=shutil.ignore_patterns(*ignored))
    except OSError as error:
        fail(f"{places.shown(recipe)} cannot be copied to {places.shown(folder)}: {error.strerror or error}")
    config = places.ROOT / "accelerate_configs" / "zero3.yaml"
    say(f"Copied {places.shown(recipe)} to {places.shown(folder)}. Run it with")
    say(shlex.join(["accelerate", "launch", "--config_file", places.shown(config), places.shown(folder / "train.py")]))
