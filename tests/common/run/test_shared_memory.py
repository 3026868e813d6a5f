"""The line where shared memory does not suffice; on a machine that has too little: tests/reliability/test_faults.py."""

import os
import signal
from multiprocessing.queues import Queue

from common.run.shared_memory import naming_full_shared_memory

import pytest

TOO_SMALL = RuntimeError("unable to allocate shared memory(shm) for file </torch_1>: No space left on device (28)")


def meet_an_end(error: Exception) -> None:
    """A fork finds the memory full, as a data loader's worker does, and ends; its process notices."""
    pid = os.fork()
    if pid == 0:
        Queue._on_queue_feeder_error(TOO_SMALL, None)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1
    raise error


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("DataLoader worker (pid(s) 1) exited unexpectedly"),
        ConnectionResetError(104, "Connection reset by peer"),  # a batch of before was just being fetched from it
        EOFError(),
    ],
)
def test_a_worker_that_ends_for_want_of_memory_is_named_however_it_is_noticed(
    error: Exception, capfd: pytest.CaptureFixture[str]
):
    with pytest.raises(SystemExit) as ended, naming_full_shared_memory():
        meet_an_end(error)
    assert ended.value.code == 2
    assert "is too small for the batches of the data loader's workers" in capfd.readouterr().err


def test_the_worker_s_end_is_not_told_twice():
    """torch's handler raises wherever the news of a worker's end comes: as a traceback while the iterator is taken down."""

    def tell(*_: object) -> None:
        raise AssertionError

    earlier = signal.signal(signal.SIGCHLD, tell)  # as torch does with a loader's first worker
    try:
        with pytest.raises(SystemExit), naming_full_shared_memory():
            raise TOO_SMALL
        os.kill(os.getpid(), signal.SIGCHLD)
    finally:
        signal.signal(signal.SIGCHLD, earlier)


@pytest.mark.parametrize("error", [RuntimeError("another"), ConnectionResetError(104, "Connection reset by peer"), EOFError()])
def test_other_errors_are_passed_on(error: Exception):
    with pytest.raises(type(error)), naming_full_shared_memory():
        raise error
