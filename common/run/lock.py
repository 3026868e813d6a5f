"""A lock on a run's folder, so that the same command given twice does not train twice in it."""

import atexit
import errno
import fcntl
import os
from pathlib import Path
from tempfile import TemporaryFile

from common.errors import say

from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

LOCK = ".lock"
WITHOUT_LOCKS = (errno.ENOLCK, errno.ENOTSUP)  # file systems whose servers know no locks
_held: dict[Path, BaseFileLock] = {}


def _release(folder: Path, made: list[Path], process: int) -> None:
    """Takes the lock away, and the folders that were made for it, if nothing was written into them."""
    if os.getpid() != process:
        return
    lock = _held.pop(folder, None)
    try:
        if lock is not None:
            lock.acquire()  # it has it, unless a signal came between the file and its lock, or another process has
            (folder / LOCK).unlink(missing_ok=True)
            lock.release(force=True)
        for path in made:
            path.rmdir()
    except OSError:
        return  # it holds a run now, or another one's lock, was removed, or may no longer be written into


def _without_locks(folder: Path) -> str | None:
    """Returns why a file in a folder cannot be locked, or None if it can; tried on a file without a name.

    filelock would find out on the lock's own file, which it empties before and leaves there.
    """
    with TemporaryFile(dir=folder) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in WITHOUT_LOCKS:
                raise
            return error.strerror
    return None


def _holder(folder: Path) -> str:
    """Returns who has a soft lock, which names its process and machine, as words in brackets."""
    lines = (folder / LOCK).read_text(encoding="utf-8").split() if (folder / LOCK).is_file() else []
    return f" (process {lines[0]} on {lines[1]}; if it is long gone: `rm {folder / LOCK}`)" if len(lines) > 1 else ""


def lock_folder(folder: Path) -> str | None:
    """Locks a folder until this process ends, without waiting; makes it where there is none.

    Args:
        folder: The folder of a run.

    Returns:
        None, or who has it locked, as words in brackets, perhaps none.

    Raises:
        OSError: If the folder cannot be made or written into.
    """
    if folder in _held and _held[folder].is_locked:
        return None
    made = [path for path in (folder.absolute(), *folder.absolute().parents) if not path.exists()]
    atexit.register(_release, folder, made, os.getpid())  # first: a signal may end this process at any moment
    folder.mkdir(parents=True, exist_ok=True)
    problem = _without_locks(folder)
    if problem:
        say(f"{folder}: the file system knows no locks ({problem}); the file {LOCK} stands in for one.")
    lock = _held[folder] = (SoftFileLock if problem else FileLock)(folder / LOCK, blocking=False)
    try:
        lock.acquire()
    except Timeout:
        return _holder(folder)
    return None


def is_locked(folder: Path) -> bool:
    """Returns whether a run is going on in a folder, as far as its lock tells; writes nothing.

    Args:
        folder: The folder of a run.
    """
    try:
        descriptor = os.open(folder / LOCK, os.O_RDONLY)
    except OSError:
        return False  # there is none, or it is another user's
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)  # given back at once; a run that is killed leaves the file
    except OSError:
        return True  # it is held; or its file system knows no locks, and the file stands in for one
    finally:
        os.close(descriptor)
    return False
