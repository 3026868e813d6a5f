"""`recipes copy SRC NEW`: a recipe of your own; nothing is ever overwritten.

Without a checkout the launch configurations come along, into `accelerate_configs/` beside the new folder.
"""

import os
import re
import shlex
import shutil
from pathlib import Path

from common.commands import places
from common.errors import fail, say


def _new_folder(new: str, source: Path) -> Path:
    folder = Path(new).expanduser() if "/" in new or places.IS_INSTALLED else places.RECIPES / new
    if not re.fullmatch(r"\w[\w.-]*", Path(new).name):
        fail(f"`{new}` is not a name for a recipe; use letters, digits, `_`, `-` and `.`, for example `my_recipe`")
    if os.path.lexists(folder):
        fail(f"{places.shown(folder)} is there already; choose another name")
    if folder.resolve().is_relative_to(source.resolve()):
        fail(f"{places.shown(folder)} is inside {places.shown(source)}, which is copied; choose a place outside it")
    return folder


def _with_own_configs(folder: Path, configs: Path) -> Path:
    """Copies the launch configurations beside a new recipe, unless they are there, and returns where they are then."""
    own = folder.parent / configs.name
    if not own.exists():
        shutil.copytree(configs, own)
    return own


def copy_recipe(source: str, new: str) -> None:
    """Copies a recipe.

    Args:
        source: A recipe's name, or a recipe's folder.
        new: A new name under recipes/ (without a checkout: in the current folder), or the path of a new folder.

    Raises:
        SystemExit: With code 2 and one line if there is no such recipe, or the new folder cannot be made or is there already.
    """
    recipe = places.find_recipe(source)
    folder = _new_folder(new, recipe)
    # What git would not carry is left out: caches, and outputs of runs started in the recipe's folder.
    ignored = [line.strip("/") for line in (places.ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()]
    configs = places.ROOT / "accelerate_configs"
    try:
        shutil.copytree(recipe, folder, ignore=shutil.ignore_patterns(*ignored))
        if places.IS_INSTALLED:
            configs = _with_own_configs(folder, configs)
    except OSError as error:
        fail(f"{places.shown(recipe)} cannot be copied to {places.shown(folder)}: {error.strerror or error}")
    say(f"Copied {recipe.name if places.IS_INSTALLED else places.shown(recipe)} to {places.shown(folder)}. Run it with")
    stage = re.search(r"accelerate_configs/(\w+\.yaml)", (recipe / "train.py").read_text(encoding="utf-8"))
    config = configs / (stage[1] if stage else "zero3.yaml")
    say(shlex.join(["accelerate", "launch", "--config_file", places.shown(config), places.shown(folder / "train.py")]))
