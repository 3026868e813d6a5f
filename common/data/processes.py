"""Many rows at once: on all cores of this machine, by the first of its processes, while the others wait for what it keeps."""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

import torch
from accelerate import PartialState

Row = TypeVar("Row")
Made = TypeVar("Made")

FEWEST = 2000  # rows; a process takes longer to start than these take
CHUNK = 250  # rows that a process takes at a time
_work: tuple[Callable[[Any], Any], Sequence[Any]] | None = None  # what forked processes find in their memory


def first_here(num_rows: int) -> AbstractContextManager[None]:
    """Returns a context that the first process of each machine goes through before the others, if there are many rows.

    Args:
        num_rows: How many rows there are; the same on all processes.
    """
    if num_rows < FEWEST or not torch.distributed.is_initialized():
        return nullcontext()
    return PartialState().local_main_process_first()


def make_all(make: Callable[[Row], Made], rows: Sequence[Row]) -> Iterator[Made]:
    """Makes something of each row, on all cores that this process may use if there are many.

    Args:
        make: Makes something of a row that can be pickled; it and the rows are not pickled, since processes are forked.
        rows: The rows.

    Yields:
        What was made, in the order of the rows; the processes end with the last one, or when this is closed.
    """
    global _work
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1  # macOS, where a fork is not safe
    if len(rows) < FEWEST or cores == 1:
        yield from map(make, rows)
        return
    parallel = os.environ.get("TOKENIZERS_PARALLELISM")
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # its threads do not live on in a fork
    _work = make, rows
    pool = ProcessPoolExecutor(cores, mp_context=multiprocessing.get_context("fork"), initializer=_begin)
    try:
        chunks = [range(begin, min(begin + CHUNK, len(rows))) for begin in range(0, len(rows), CHUNK)]
        for made in pool.map(_make_chunk, chunks):
            yield from made
    finally:
        pool.shutdown(cancel_futures=True)
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
