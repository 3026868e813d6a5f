"""`recipes doctor`: whether this machine is ready, check by check, each with its cure."""

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

from common.commands import places
from common.commands.all_reduce import AllReduceError, all_reduce
from common.commands.installation import Finding, check_packages, check_python, check_trackers, needed_packages
from common.data import cache
from common.errors import brief, say
from common.run.disk import first_that_exists
from common.run.extensions import extensions_dir, stale_locks

import huggingface_hub
import torch
from huggingface_hub.utils import get_session

CHUNK = 4 << 20  # bytes


def _driver() -> str | None:
    """Returns the version of NVIDIA's driver; None if there is none that answers."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return asked.stdout.partition("\n")[0].strip() if asked.returncode == 0 else None


def _gpus() -> list[tuple[str, int]]:
    """Returns the name and the memory, in bytes, of each GPU that torch sees."""
    seen = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    return [(gpu.name, gpu.total_memory) for gpu in seen]


def check_gpus(gpus: list[tuple[str, int]], driver: str | None, visible: str | None) -> Finding:
    """Looks whether torch sees the GPUs that are there.

    Args:
        gpus: Name and bytes of memory of each that torch sees.
        driver: The version of the driver, if there is one.
        visible: CUDA_VISIBLE_DEVICES.
    """
    if gpus:
        names = ", ".join(f"{name} ({memory / 2**30:.0f} GiB)" for name, memory in gpus)
        return Finding("GPUs", "ok", f"{len(gpus)}: {names}; driver {driver or 'unknown'}")
    tiny = "no GPU: recipes use their tiny.yaml"
    if driver is None:
        return Finding("GPUs", "ok", tiny)
    if visible is not None:
        cure = "unset CUDA_VISIBLE_DEVICES, or name GPUs in it"
        return Finding("GPUs", "warn", f"{tiny}; CUDA_VISIBLE_DEVICES={visible} hides those of driver {driver}", cure)
    what = f"driver {driver} is there, and torch {version('torch')} sees no GPU"
    return Finding("GPUs", "fail", what, "install the build of torch for this driver: https://pytorch.org/get-started/locally")


def check_all_reduce(gpus: int, sum_up: Callable[[str, float], float] = all_reduce) -> Finding:
    """Lets two processes add up their numbers: over NCCL with two GPUs or more, otherwise over gloo."""
    backend = "nccl" if gpus > 1 else "gloo"
    try:
        speed = sum_up(backend, 90)
    except AllReduceError as error:
        cure = "`export NCCL_P2P_DISABLE=1` goes around a broken link" if gpus > 1 else "`export GLOO_SOCKET_IFNAME=lo`"
        return Finding("all-reduce", "fail", f"two processes over {backend}: {brief(error)}", f"{cure}, on one machine")
    return Finding("all-reduce", "ok", f"two processes over {backend}, {speed:.1f} GB/s")


def check_compiler(which: Callable[[str], str | None] = shutil.which) -> Finding:
    """Looks for what compiles DeepSpeed's operators."""
    missing = [tool for tool in ("c++", "ninja") if which(tool) is None]
    if missing:
        what = f"no {' and no '.join(missing)} on the PATH: nothing can be offloaded to the CPU"
        return Finding("compiler", "warn", what, "Debian, Ubuntu: `apt install g++ ninja-build`")
    return Finding("compiler", "ok", f"{which('c++')}, {which('ninja')}")


def check_operators(folder: Path) -> Finding:
    """Looks for locks of interrupted compilations among DeepSpeed's compiled operators."""
    stale = stale_locks(folder)
    if stale:
        paths = " ".join(map(str, stale))
        return Finding("operators", "fail", f"an interrupted compilation left {paths}; runs would wait on it", f"`rm {paths}`")
    built = ", ".join(sorted({path.parent.name for path in folder.glob("*/*.so")}))
    return Finding("operators", "ok", f"{built or 'none'} compiled in {folder}; no stale lock")


def check_shared_memory(folder: Path = Path("/dev/shm")) -> Finding:
    """Looks whether processes have enough memory to share: workers of a data loader, and NCCL, use it."""
    size = shutil.disk_usage(folder).total if folder.is_dir() else 0
    if size < 1 << 30:
        cure = "in a container: `docker run --ipc=host`, or `--shm-size=8g`"
        return Finding("shared memory", "warn", f"{size / 2**30:.2f} GiB in {folder}; several GPUs need 1 or more", cure)
    return Finding("shared memory", "ok", f"{size / 2**30:.0f} GiB in {folder}")


def check_disk(outputs: Path, needed: int = 20 * 10**9, slowest: float = 50e6) -> Finding:
    """Writes for less than a second, at most 64 MB, where runs will be, and takes it away again.

    Args:
        outputs: The folder of the runs; it may have to be made.
        needed: In bytes, below which it warns.
        slowest: In bytes a second, below which it warns.
    """
    folder = first_that_exists(outputs)
    chunk, written, start = os.urandom(CHUNK), 0, time.perf_counter()
    try:
        with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
            while written < 16 * CHUNK and time.perf_counter() - start < 0.5:
                written += file.write(chunk)
                os.fsync(file.fileno())
    except OSError as error:
        cure = "free some room, or give a folder of yours to --output_dir"
        return Finding("disk", "fail", f"{folder} cannot be written to ({error.strerror})", cure)
    speed, free = written / (time.perf_counter() - start), shutil.disk_usage(folder).free
    what = f"{free / 1e9:.0f} GB free in {folder}, {speed / 1e6:.0f} MB/s"
    if free < needed:
        return Finding("disk", "warn", what, "a full-size run keeps some 20 GB: free some, or choose another --output_dir")
    if speed < slowest:
        return Finding("disk", "warn", what, "checkpoints will take long: choose another --output_dir, or raise --save_steps")
    return Finding("disk", "ok", what)


def check_cache(folder: Path) -> Finding:
    """Says how much is kept of earlier runs' data, which nothing removes by itself.

    Args:
        folder: See `common.data.cache.root`.
    """
    size = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):  # another process has just removed or renamed it
            size += path.lstat().st_size
    cure = f"`rm -r {folder}` frees it: a run makes what it needs of it anew" if size else ""
    return Finding("cache", "ok", f"{size / 1e9:.1f} GB of prepared rows, tokens and pictures in {folder}", cure)


def check_hub(endpoint: str, is_offline: bool, patience: float = 5) -> Finding:
    """Asks the hub whether it is there.

    Args:
        endpoint: HF_ENDPOINT.
        is_offline: HF_HUB_OFFLINE.
        patience: In seconds; a thread asks, as nothing else limits the search for a name.
    """
    if is_offline:
        return Finding("hub", "ok", "HF_HUB_OFFLINE is set: models and data come from the cache or from folders")
    answers = []

    def ask() -> None:
        try:
            answers.append(get_session().head(endpoint, timeout=patience).status_code)
        except Exception as error:  # whatever the HTTP library of this version raises
            answers.append(error)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(patience)
    answer = answers[0] if answers else TimeoutError(f"no answer within {patience:.0f} s")
    if isinstance(answer, int) and answer < 500:
        return Finding("hub", "ok", f"{endpoint} answers")
    what = f"{endpoint}: {f'error {answer}' if isinstance(answer, int) else brief(answer)}"
    return Finding("hub", "warn", what, "without it pass local folders, or --config tiny.yaml; HF_ENDPOINT names a mirror")


def check_token(token: str | None) -> Finding:
    """Says whether there is a token of the hub, and never which."""
    if token is None:
        return Finding("token", "warn", "none: no gated models, and no --push", "`hf auth login`, or set HF_TOKEN")
    return Finding("token", "ok", "present")


def findings() -> Iterator[Finding]:
    """Checks this machine, one thing after the other."""
    yield check_python()
    yield from check_packages(places.ROOT / "requirements.lock", needed_packages())
    gpus = _gpus()
    yield check_gpus(gpus, _driver(), os.environ.get("CUDA_VISIBLE_DEVICES"))
    yield check_all_reduce(len(gpus))
    yield check_compiler()
    yield check_operators(extensions_dir())
    yield check_shared_memory()
    yield check_disk(places.OUTPUTS)
    yield check_cache(cache.root())
    yield check_hub(huggingface_hub.constants.ENDPOINT, huggingface_hub.constants.HF_HUB_OFFLINE)
    yield check_token(huggingface_hub.get_token())
    yield check_trackers()


def examine(as_json: bool) -> int:
    """Prints what is found, line by line or as a JSON list; returns the exit code: 1 if a check fails, otherwise 0."""
    seen = []
    for finding in findings():
        seen.append(finding)
        if not as_json:
            cure = f"  ({finding.cure})" if finding.cure else ""
            say(f"{finding.state:<4}  {finding.check}: {finding.what}{cure}")
    if as_json:
        say(json.dumps([asdict(finding) for finding in seen], indent=2))
    return int(any(finding.state == "fail" for finding in seen))
