"""Many rows at once: on all cores of this machine, by the first of its processes, while the others wait for what it keeps."""

import gc
import multiprocessing
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from accelerate import PartialState
from accelerate.utils import gather_object

Row = TypeVar("Row")
Made = TypeVar("Made")

FEWEST = 2000  # rows; a process takes longer to start than these take
CHUNK = 250  # rows that a process takes at a time
AHEAD = 4  # chunks for each process
TELL_AFTER = 10.0  # seconds
_told: float | None = None  # when the processes that wait for this one were last told that it is at work
_work: tuple[Callable[[Any], Any], Sequence[Any]] | None = None  # what forked processes find in their memory


def _all_are_done(is_done: bool) -> bool:
    """Returns whether all processes are done; each of them has to ask as often as the others."""
    state = PartialState()
    flag = torch.tensor([int(is_done)], device=state.device)
    torch.distributed.all_reduce(flag, torch.distributed.ReduceOp.MIN)
    return bool(flag.item())


def still_here() -> None:
    """Tells the processes that wait in `first_here`, every few seconds, that this one is at work: no time limit ends them."""
    global _told
    if _told is not None and time.monotonic() - _told > TELL_AFTER:
        _all_are_done(False)
        _told = time.monotonic()


@contextmanager
def first_here(is_much: bool) -> Iterator[None]:
    """Lets the first process of each machine go through before the others, if there is much to do.

    The others wait as long as it takes: a barrier would end them after `ddp_timeout`.

    Args:
        is_much: Whether there is; the same on all processes.
    """
    global _told
    if not is_much or not torch.distributed.is_initialized() or _told is not None:
        yield
        return
    is_first = PartialState().is_local_main_process

    def wait() -> None:
        while not _all_are_done(True):
            pass

    if not is_first:
        wait()
        yield
        return
    _told = time.monotonic()
    try:
        yield
    finally:
        _told = None
    wait()


def local_world_size() -> int | None:
    """Returns how many processes the launcher has started on this machine; None where it does not say."""
    # DeepSpeed's launcher sets the first, the others the second; where it is missing accelerate sets it to 1 on a CPU.
    told = os.environ.get("LOCAL_SIZE") or os.environ.get("LOCAL_WORLD_SIZE")
    return int(told) if told else None


def local_rank_and_size() -> tuple[int, int]:
    """Returns which of a machine's processes this one is, and how many they are; 0 and 1 where that is not known."""
    num_processes = local_world_size()
    if not torch.distributed.is_initialized() or num_processes is None:
        return 0, 1
    return PartialState().local_process_index, num_processes


def gather(found: list[Made]) -> list[Made]:
    """Returns what all processes have found, each a list; all of them have to ask."""
    return gather_object(found) if torch.distributed.is_initialized() else found


def make_all(
    make: Callable[[Row], Made], rows: Sequence[Row], *, fewest: int | None = None, chunk: int | None = None
) -> Iterator[Made]:
    """Makes something of each row, on all cores that this process may use if there are many.

    No more is made ahead than the processes have in hand, so that it may be more than fits into memory.

    Args:
        make: Makes something of a row that can be pickled; it and the rows are not pickled, since processes are forked.
        rows: The rows.
        fewest: With fewer rows no process is forked; `FEWEST` if not given.
        chunk: How many a process takes at a time; `CHUNK` if not given.

    Yields:
        What was made, in the order of the rows; the processes end with the last one, or when this is closed.
    """
    global _work
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1  # macOS, where a fork is not safe
    chunk = chunk or CHUNK
    if len(rows) < (fewest or FEWEST) or cores == 1:
        for row in rows:
            yield make(row)
            still_here()
        return
    parallel = os.environ.get("TOKENIZERS_PARALLELISM")
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # its threads do not live on in a fork
    _work = make, rows
    # To look for garbage is to write into every object, and what a forked process writes into it no longer shares: without this
    # each of them comes to have some 150 MB of imported libraries of its own, once it has made some ten thousand rows.
    gc.freeze()
    pool = ProcessPoolExecutor(cores, mp_context=multiprocessing.get_context("fork"), initializer=_begin)
    try:
        begun: deque = deque()
        for begin in range(0, len(rows), chunk):
            begun.append(pool.submit(_make_chunk, range(begin, min(begin + chunk, len(rows)))))
            if len(begun) >= AHEAD * cores:
                yield from begun.popleft().result()
                still_here()
        while begun:
            yield from begun.popleft().result()
            still_here()
    finally:
        pool.shutdown(cancel_futures=True)
        gc.unfreeze()
        _work = None
        if parallel is None:
            os.environ.pop("TOKENIZERS_PARALLELISM", None)
        else:
            os.environ["TOKENIZERS_PARALLELISM"] = parallel


def _begin() -> None:
    """Leaves signals to the process that forked: it ends the others."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _make_chunk(numbers: range) -> list[Any]:
    make, rows = _work
    return [make(rows[number]) for number in numbers]
