"""What is made of large data once and kept for the next start: a folder in the cache of `datasets`."""

import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from common.errors import brief, fail, say

import datasets

_temporary: list[TemporaryDirectory] = []  # removed when this process ends


def root() -> Path:
    """Returns the folder in which everything is kept."""
    return Path(datasets.config.HF_DATASETS_CACHE) / "zero_recipes"


def folder_of(name: str) -> Path:
    """Returns the folder of what has a name, such as a digest, whether it is there or not."""
    return root() / name


def _begin(folder: Path, what: str) -> Path:
    working = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        shutil.rmtree(working, ignore_errors=True)  # of a process that was killed
        working.mkdir(parents=True)
    except OSError as error:
        say(f"The {what} are not kept for the next start: {brief(error)}")
        _temporary.append(TemporaryDirectory(prefix="zero-recipes-"))
        return Path(_temporary[-1].name)
    return working


def make(folder: Path, what: str, write: Callable[[Path], None]) -> Path:
    """Makes a folder that others find whole or not at all; several processes may do so at once.

    Args:
        folder: Where it is to be kept.
        what: Its content in a word, for what is printed.
        write: Writes into a folder.

    Returns:
        Where it is: if it cannot be kept, in a temporary folder.

    Raises:
        SystemExit: With code 2 and one line if it can be written nowhere.
    """
    working = folder
    try:
        working = _begin(folder, what)
        write(working)
    except BaseException as error:
        if working != folder:
            shutil.rmtree(working, ignore_errors=True)
        if isinstance(error, OSError):
            fail(f"{working} cannot be written ({brief(error)}); set HF_HOME to a disk with more space")
        raise
    if working.parent == folder.parent:
        try:
            working.rename(folder)
        except OSError:  # another process was faster
            shutil.rmtree(working, ignore_errors=True)
        return folder
    return working


def read(folder: Path, what: str, load: Callable[[Path], object]) -> object | None:
    """Returns what `load` makes of a folder; None if it is not there, or cannot be read and is removed.

    Args:
        folder: The folder.
        what: Its content in a word, for what is printed.
        load: Reads it.
    """
    if not folder.is_dir():
        return None
    try:
        return load(folder)
    except Exception as error:  # of a damaged folder the libraries raise whatever they stumble over
        say(f"The {what} kept in {folder} cannot be read and are made anew ({brief(error)})")
        shutil.rmtree(folder, ignore_errors=True)
        return None


def write_file(path: Path, content: bytes) -> None:
    """Writes a file of the cache as a whole, also where several processes write it at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}")
    part.write_bytes(content)
    part.replace(path)
