"""The embedded lesson of a recipe: the folder lesson/, which a copy of the recipe may do without."""

from importlib import import_module
from types import ModuleType

from common.errors import fail


def import_lesson(name: str) -> ModuleType:
    """Imports a module of the folder lesson/ beside the recipe's own files.

    Args:
        name: The module's name, such as `synthetic`.

    Raises:
        SystemExit: With code 2 and one line if the folder is not there.
    """
    try:
        return import_module(f"lesson.{name}")
    except ModuleNotFoundError as error:
        if error.name not in ("lesson", f"lesson.{name}"):
            raise
        fail(
            "dataset_name synthetic: the folder lesson/, which generates these rows, is not in this copy of the recipe; pass a "
            "file, a folder or a hub id, or copy lesson/ from the recipe that this one was made of"
        )
