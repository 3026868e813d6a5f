"""What ends a training from outside: signals, its time, and the end of its launcher."""

import contextlib
import ctypes
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

from common.data.runs import COMPLETE
from common.errors import is_main_process, say, tell_launcher

import psutil
from transformers import TrainingArguments

STOPPING = [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1]
PR_SET_PDEATHSIG = 1  # linux/prctl.h
REQUEUE = "requeue"  # an empty file in the run's folder: it was stopped by the clock or SIGUSR1 and wants to go on


class StopRequest:
    """Notes a signal instead of dying of it, while there is something to be saved; a second Ctrl-C ends at once.

    Attributes:
        received: The number of the signal that came, 0 before.
        leave: What is done with a signal instead, while there is nothing to be saved.
    """

    REQUEUES = int(signal.SIGUSR1)  # the signal, and the clock, after which the run wants to go on in another job

    def __init__(self, seconds: int | None):
        """Begins to note signals.

        Args:
            seconds: How long the process may run before it counts as asked to stop; None for ever.
        """
        self.received, self.process = 0, os.getpid()
        self.leave: Callable[[int], None] | None = None
        self.deadline = None if seconds is None else psutil.Process().create_time() + seconds
        self.earlier = {number: signal.signal(number, self._note) for number in STOPPING}

    def _note(self, number: int, frame: object) -> None:
        if os.getpid() != self.process:  # a worker of a data loader, forked since
            os._exit(exit_code(number))
        if self.leave is not None:
            self.leave(number)
        if self.received == number == signal.SIGINT:
            raise SystemExit(exit_code(number))
        self.received = int(number)

    def now(self) -> int:
        """Returns the number of the signal that has come, or `REQUEUES` when the time is over; 0 to go on."""
        if not self.received and self.deadline is not None and time.time() > self.deadline and is_main_process():
            self.received = self.REQUEUES
        return self.received

    def close(self) -> None:
        """Lets signals do what they did before."""
        for number, handler in self.earlier.items():
            signal.signal(number, handler)


def exit_code(number: int) -> int:
    """Returns the exit code of a process that a signal has ended; SIGUSR1, a request to make room, counts as SIGTERM."""
    return 128 + (signal.SIGINT if number == signal.SIGINT else signal.SIGTERM)


def _watch(ancestors: list[psutil.Process]) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        while all(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in ancestors):
            time.sleep(1)
    os.kill(os.getpid(), signal.SIGTERM)


def what_is_saved(folder: Path) -> str:
    """Returns what the same command will do with a run's folder, as a line."""
    if any(folder.rglob(COMPLETE)):
        return "stopped; the same command continues from what is saved"
    return "nothing was saved yet; the same command begins anew"


def ask_for_another_job(folder: Path, number: int) -> None:
    """Asks the job script for another job, where the signal is the one that says so and something is saved.

    A job whose time does not suffice for what comes before the first step would else be queued for ever.

    Args:
        folder: That of the run.
        number: The signal's.
    """
    if number == StopRequest.REQUEUES and is_main_process() and any(folder.rglob(COMPLETE)):
        (folder / REQUEUE).touch()


def end_with_launcher(args: TrainingArguments) -> None:
    """Ends this process in one line on a signal until training begins, and on a SIGTERM when its launcher dies.

    None is to train on with nobody to stop it. `accelerate launch` and torchrun are the parents of their processes: the kernel
    tells (prctl(2), Linux). The `deepspeed` launcher is a grandparent and leaves its processes alive when it ends: a thread
    looks after it once a second.

    Args:
        args: The training arguments, which name the run's folder.
    """
    process = os.getpid()

    def end(number: int, frame: object) -> None:
        if os.getpid() != process:  # a process that was forked to prepare data
            os._exit(exit_code(number))
        line = what_is_saved(Path(args.output_dir))
        say(line)
        tell_launcher(line)
        ask_for_another_job(Path(args.output_dir), number)  # a run that has begun, in a job that is preempted while it loads
        raise SystemExit(exit_code(number))

    for number in STOPPING:
        signal.signal(number, end)
    if "RANK" not in os.environ:
        return
    parent = os.getppid()
    launchers = [found for found in psutil.Process().parents() if _is_launcher(found)]
    if launchers:
        threading.Thread(target=_watch, args=(launchers,), daemon=True).start()
    elif "TORCHELASTIC_RUN_ID" in os.environ and hasattr(os, "sched_getaffinity"):  # Linux
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM))
        if os.getppid() != parent or _is_orphan(parent):  # it died before
            os.kill(os.getpid(), signal.SIGTERM)


def _is_orphan(parent: int) -> bool:
    """Returns whether the parent is the process that takes in orphans; in a container it may be the launcher itself."""
    try:
        return parent == 1 and not any("python" in word for word in psutil.Process(1).cmdline())
    except psutil.Error:
        return False


def _is_launcher(process: psutil.Process) -> bool:
    """Returns whether a process is that of the `deepspeed` command, or of the module that it starts on each machine."""
    try:
        return any(
            os.path.basename(word) == "deepspeed" or word == "deepspeed.launcher.launch" for word in process.cmdline()[:4]
        )
    except psutil.Error:
        return False
