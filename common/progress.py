"""What a process says while long work goes on: a bar on a terminal, elsewhere a line after ten seconds without one."""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

EVERY = 10.0  # seconds without a line, after which one says what goes on
SOON = 1.0  # seconds after which a bar is shown
WIDTH = 24  # letters of a bar
CLEAR = "\r\033[K"


@dataclass(eq=False)
class _Work:
    what: str
    total: int | None = None
    done: int = 0
    began: float = field(default_factory=time.monotonic)
    begun_at: int = 0  # what was done before: a run that continues
    seconds_left: Callable[[], float] | None = None

    def left(self) -> str:
        """Returns how much time is left, at the pace so far if nobody knows it better."""
        here = self.done - self.begun_at
        if not self.total or here <= 0:
            return ""
        at_this_pace = (time.monotonic() - self.began) / here * (self.total - self.done)
        return f", about {self.seconds_left() if self.seconds_left else at_this_pace:.0f} s left"

    def as_text(self) -> str:
        count = f" {self.done:,}/{self.total:,}" if self.total else ""
        return f"{self.what}{count}, {time.monotonic() - self.began:.0f} s{self.left()}"

    def as_bar(self) -> str:
        if not self.total:
            return f"{self.what}, {time.monotonic() - self.began:.0f} s"
        filled = round(WIDTH * min(1.0, self.done / self.total))
        return f"{self.what} [{'#' * filled}{'.' * (WIDTH - filled)}] {self.done:,}/{self.total:,}{self.left()}"


_part: _Work | None = None
_works: list[_Work] = []  # what goes on within the part, the innermost last
_thread: threading.Thread | None = None
_begun = 0.0  # when the first part was
_said = 0.0  # when there was a line
_has_bar = False


def line_follows() -> None:
    """Notes that a line will be printed; a bar makes room for it."""
    global _said, _has_bar
    _said = time.monotonic()
    if _has_bar:
        _has_bar = False
        print(CLEAR, end="", flush=True)


def _look(is_terminal: bool) -> None:
    """Shows what goes on, if it is time to."""
    global _said, _has_bar
    now = time.monotonic()
    # What has just begun has nothing to say yet: what it is a part of does.
    work = next((one for one in reversed(_works) if now - one.began > EVERY / 10), _part)
    if work is None:  # it has ended since
        return
    if is_terminal and now - work.began > SOON:
        _has_bar = True
        print(f"{CLEAR}{work.as_bar()}", end="", flush=True)
    elif not is_terminal and now - max(_said, _begun) >= EVERY:
        _said = now
        print(f"... {work.as_text()}", flush=True)


def _watch() -> None:
    is_terminal = sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"
    while _part:
        _look(is_terminal)
        time.sleep(min(0.5, EVERY / 4))


def doing(what: str, total: int | None = None, done: int = 0, seconds_left: Callable[[], float] | None = None) -> None:
    """Says from now on that a part of the process goes on, in place of the one before, until `idle`.

    Args:
        what: What goes on.
        total: How many parts it has.
        done: How many of them are done; a later call with the same `what` goes on with its pace.
        seconds_left: Returns how long the rest takes; without it, what the pace so far says.
    """
    global _part, _begun, _thread
    if _part and (_part.what, _part.total) == (what, total):
        _part.done = done
        return
    _begun = _begun if _part else time.monotonic()
    _part = _Work(what, total, done, begun_at=done, seconds_left=seconds_left)
    if os.environ.get("RANK", "0") == "0" and not (_thread and _thread.is_alive()):
        _thread = threading.Thread(target=_watch, daemon=True)
        _thread.start()


def idle() -> None:
    """Says no more of what goes on."""
    global _part
    _part = None
    if _thread:
        _thread.join()
    if _has_bar:
        line_follows()


@contextmanager
def working(what: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
    """Says how far a piece of work is, for as long as it takes; outside any part nothing is said.

    Args:
        what: What goes on.
        total: How many parts it has, if that is known.

    Yields:
        A function that counts parts as done.
    """
    work = _Work(what, total)

    def advance(count: int = 1) -> None:
        work.done += count

    _works.append(work)
    try:
        yield advance
    finally:
        _works.remove(work)
