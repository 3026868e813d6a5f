"""The folder in which torch compiles DeepSpeed's operators, and the locks that interrupted compilations leave in it."""

import os
import sys
from pathlib import Path

import psutil
import torch


def extensions_dir() -> Path:
    """Returns the folder in which torch compiles extensions, as torch.utils.cpp_extension names it."""
    root = os.environ.get("TORCH_EXTENSIONS_DIR")
    if root:
        return Path(root)
    from torch.utils.cpp_extension import get_default_build_root

    version = f"py{sys.version_info.major}{sys.version_info.minor}{getattr(sys, 'abiflags', '')}"
    device = "cpu" if torch.version.cuda is None else f"cu{torch.version.cuda.replace('.', '')}"
    return Path(get_default_build_root()) / f"{version}_{device}"


def _is_being_built(folder: Path) -> bool:
    """Returns whether a process of this machine works in a build folder (ninja and the compilers run inside it)."""
    for process in psutil.process_iter():
        try:
            if Path(process.cwd()) == folder.resolve():
                return True
        except (psutil.Error, OSError):
            continue  # another user's process, or one that has just ended
    return False


def stale_locks(folder: Path, operator: str = "*") -> list[Path]:
    """Returns the locks on which torch would wait for ever, because whatever compilation took them was interrupted.

    Newer torch asks the kernel for the lock and leaves the file there; older torch (FileBaton) waits until it is gone.

    Args:
        folder: That of `extensions_dir`.
        operator: The extension's name; any if not given.
    """
    from torch.utils import cpp_extension

    if not hasattr(cpp_extension, "FileBaton"):
        return []
    return [lock for lock in sorted(folder.glob(f"{operator}/lock")) if not _is_being_built(lock.parent)]
