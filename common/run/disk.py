"""The disk and the memory: whether what is to come fits, and one line when the disk is full or the folder has gone."""

import errno
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from common.data.runs import COMPLETE, checkpoint_steps
from common.errors import fail, is_main_process

import psutil
from accelerate.utils import broadcast_object_list, gather_object
from safetensors import SafetensorError

SEEN = ".seen"  # in a run's folder, while its processes look whether they all see it
PATIENCE = 40  # seconds for which they look: NFS may remember for 30 that a folder was not there (nfs(5), acdirmin)


def first_that_exists(folder: Path) -> Path:
    """Returns a folder, or the nearest one above it that is there."""
    return next(path for path in (folder.absolute(), *folder.absolute().parents) if os.path.isdir(path))


def check_room(folder: Path, needed: int, then: str, what: str = "a checkpoint") -> None:
    """Makes sure that a checkpoint, or something else, fits on the disk.

    Args:
        folder: Into which it is written; it may have to be made.
        needed: In bytes.
        then: What to do about it.
        what: What is written.

    Raises:
        SystemExit: With code 2 and one line that says how much is needed and how much there is.
    """
    free = shutil.disk_usage(first_that_exists(folder)).free
    if is_main_process() and free < needed:
        fail(f"output_dir {folder}: {what} needs {needed / 1e9:.3g} GB, and {free / 1e9:.3g} GB are free there; {then}")


def check_host_memory(needed: int, what: str, then: str) -> None:
    """Makes sure that something fits into the memory of this machine.

    Args:
        needed: In bytes.
        what: What is to be loaded.
        then: What to do about it.

    Raises:
        SystemExit: With code 2 and one line that says how much is needed and how much there is.
    """
    free = psutil.virtual_memory().available
    if free < needed:
        fail(f"{what} needs {needed / 1e9:.3g} GB of memory, and {free / 1e9:.3g} GB are free; {then}")


def _reads(file: Path, text: str) -> bool:
    """Returns whether a file holds a text."""
    try:
        return file.read_text(encoding="utf-8") == text
    except OSError:
        return False


def check_shared(folder: Path) -> None:
    """Makes sure that all machines of a run see the same folder; called by every process.

    Args:
        folder: The run's folder, which the main process has made.

    Raises:
        SystemExit: With code 2 and one line that names a process which does not see it, and its machine.
    """
    written = [uuid4().hex]
    if is_main_process():
        (folder / SEEN).write_text(written[0], encoding="utf-8")
    broadcast_object_list(written)
    deadline = time.monotonic() + PATIENCE
    while not (sees := _reads(folder / SEEN, written[0])) and time.monotonic() < deadline:
        time.sleep(0.2)
    seen = gather_object([(socket.gethostname(), folder.absolute(), sees)])
    if is_main_process():
        (folder / SEEN).unlink()
    for process, (machine, there, sees) in enumerate(seen):
        if not sees:
            fail(
                f"output_dir {folder}: process {process} on {machine} does not see in {there} what process 0 on {seen[0][0]} "
                f"writes into {seen[0][1]}; give a folder that all machines share to --output_dir"
            )


def _is_full(error: BaseException, folder: Path) -> bool:
    """Returns whether an error while writing came of a full disk; torch and safetensors do not pass its number on."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    text = str(error)
    if "No space left" in text or "quota exceeded" in text:
        return True
    said = ["PytorchStreamWriter", "inline_container", "iostream error", "file write failed"]
    return any(words in text for words in said) and shutil.disk_usage(folder).free < 2**26


@contextmanager
def naming_disk_faults(
    folder: Path, then: str = "the same command continues", where: Callable[[], str] = lambda: ""
) -> Iterator[None]:
    """Ends the program in one line if the disk is full, or the folder has gone, while something is written into it.

    Checkpoints that are half written are removed.

    Args:
        folder: What is written into, a run's folder or another one.
        then: What happens once there is room.
        where: Returns how far the run has come, for the line.

    Raises:
        SystemExit: With code 2. Any other error is passed on.
    """
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        there = first_that_exists(folder)
        if _is_full(error, there):
            for step in checkpoint_steps(folder):
                if not (folder / f"checkpoint-{step}" / COMPLETE).exists():
                    shutil.rmtree(folder / f"checkpoint-{step}", ignore_errors=True)
            free = shutil.disk_usage(there).free
            fail(f"output_dir {folder}: the disk is full{where()}, {free / 1e9:.3g} GB are free now; make room, and {then}")
        if not os.access(folder, os.W_OK):
            fail(f"output_dir {folder} was removed, or cannot be written into any more{where()}; put it back, and {then}")
        raise
