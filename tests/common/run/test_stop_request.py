"""What a process does with a signal while there is something to be saved, and by which clock it stops."""

import signal
from collections.abc import Callable, Iterator

from common.run.signals import StopRequest

import pytest


@pytest.fixture
def request_of() -> Iterator[Callable[[int | None], StopRequest]]:
    made: list[StopRequest] = []

    def request_of(seconds: int | None) -> StopRequest:
        made.append(StopRequest(seconds))
        return made[-1]

    yield request_of
    for request in reversed(made):
        request.close()


def test_a_second_ctrl_c_ends_at_once(request_of: Callable[[int | None], StopRequest]):
    request = request_of(None)
    signal.raise_signal(signal.SIGINT)
    assert request.now() == signal.SIGINT
    with pytest.raises(SystemExit, match="130"):
        signal.raise_signal(signal.SIGINT)


def test_the_clock_counts_from_the_start_of_the_process(request_of: Callable[[int | None], StopRequest]):
    """The process of a test is older than a second, and younger than a year."""
    assert request_of(1).now() == StopRequest.REQUEUES
    assert request_of(365 * 24 * 3600).now() == 0
    assert request_of(None).now() == 0
