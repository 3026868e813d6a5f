"""Where the recipes are."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
RECIPES = ROOT / "recipes"


def recipe_folders() -> list[Path]:
    """Returns the folder of each recipe, by name."""
    return sorted(script.parent for script in RECIPES.glob("*/train.py"))


def shown(path: Path) -> str:
    """Returns a path as one would type it: relative to the current folder if it is in there."""
    return os.path.relpath(path) if path.resolve().is_relative_to(Path.cwd()) else str(path.resolve())
