"""Files that are there whole or not at all."""

import os
from pathlib import Path


def sync(path: Path) -> None:
    """Waits until a file, or the names in a folder, are on the disk and outlive a loss of power."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_whole(path: Path, text: str) -> None:
    """Writes a file so that it is there whole or not at all, wherever the process is killed."""
    working = path.with_name(f".{path.name}")
    try:
        working.write_text(text, encoding="utf-8")
        sync(working)
        os.replace(working, path)
    except BaseException:  # also what a signal raises
        working.unlink(missing_ok=True)
        raise
    sync(path.parent)


def open_to_readers(folder: Path) -> None:
    """Gives the weights in a folder the permissions that the umask asks for; safetensors writes its own for the owner alone."""
    mask = os.umask(0)
    os.umask(mask)
    for path in folder.rglob("*.safetensors"):
        if not path.is_symlink():
            path.chmod(0o666 & ~mask)
