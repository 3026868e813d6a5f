"""Where the recipes are, and starting one of their scripts."""

import os
import runpy
import sys
from pathlib import Path
from typing import Any

from common.errors import fail, nearest

CHECKOUT = Path(__file__).resolve().parent.parent.parent
# In site-packages the recipes stand in a folder of the package's name (pyproject.toml), since `recipes` may be anyone's.
ROOT = CHECKOUT if (CHECKOUT / "recipes").is_dir() else CHECKOUT / "zero_recipes"
RECIPES = ROOT / "recipes"
IS_INSTALLED = ROOT != CHECKOUT
OUTPUTS = Path("outputs")  # where runs go if nobody says otherwise; the first one makes it


def recipe_folders() -> list[Path]:
    """Returns the folder of each recipe, by name."""
    return sorted(script.parent for script in RECIPES.glob("*/train.py"))


def find_recipe(source: str) -> Path:
    """Returns the folder of a recipe.

    Args:
        source: A recipe's name, or a recipe's folder.

    Raises:
        SystemExit: With code 2 and one line if there is none.
    """
    for folder in (RECIPES / source, Path(source)):
        if (folder / "train.py").is_file():
            return folder
    names = [folder.name for folder in recipe_folders()]
    hint = nearest(source, names) or f"; there is: {', '.join(names)}, or a folder with a train.py"
    fail(f"there is no recipe `{source}`{hint}")


def recipe_of(record: dict[str, Any]) -> Path | None:
    """Returns the folder of a run's recipe, None if it is not here.

    It is looked up by its name among the recipes that are here: whoever made the run must not choose the script.

    Args:
        record: See `common.data.runs.read_record`.
    """
    return next((folder for folder in recipe_folders() if folder.name == record["recipe"]), None)


def run_script(script: Path, arguments: list[str]) -> None:
    """Runs a script of a recipe in this process, as `python SCRIPT ARGUMENTS` would.

    Args:
        script: The script; its siblings are found.
        arguments: What follows it on the command line.
    """
    sys.argv = [str(script), *arguments]
    sys.path.insert(0, str(script.parent))
    runpy.run_path(sys.argv[0], run_name="__main__")


def shown(path: Path) -> str:
    """Returns a path as one would type it: relative to the current folder if it is in there."""
    return os.path.relpath(path) if path.resolve().is_relative_to(Path.cwd()) else str(path.resolve())
