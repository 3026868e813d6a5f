"""A process that hangs is named: each leaves a sign of life in the run's folder, and looks at those of the others."""

import json
import os
import socket
import sys
import threading
import time
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from types import FrameType

from common.errors import tell_launcher

from transformers import TrainerCallback, TrainingArguments

MISSED = 4  # beats, after which a process counts as silent
PARTS = 8  # places that a line names
WAITING = ("torch/distributed/", "deepspeed/comm/", "deepspeed/runtime/zero/", "deepspeed/utils/nvtx.py")


@dataclass
class Beat:
    """A sign of life.

    Attributes:
        process: Its rank.
        machine: Where it runs; empty before its first sign.
        pid: Its number there; 0 before its first sign.
        count: How many there were before.
        step: The step that it is in.
        place: The function in which its main thread is, with file and line.
        waits: Whether it waits there for other processes.
    """

    process: int
    machine: str
    pid: int
    count: int
    step: int
    place: str
    waits: bool


def _place(frame: FrameType | None) -> tuple[str, bool]:
    """Returns the function in which a thread is or out of which it communicates, and whether it communicates."""
    waits = False
    while frame is not None:
        name = frame.f_code.co_filename
        if not any(part in name for part in WAITING):
            return f"{frame.f_code.co_name} ({os.path.basename(name)}:{frame.f_lineno})", waits
        waits, frame = True, frame.f_back
    return "nowhere", waits


def describe(beats: list[Beat], silent: set[int], seconds: float) -> str:
    """Returns a line on where every process is: first those that do not answer, then those that the others wait for.

    Args:
        beats: The last sign of life of every process.
        silent: The processes of which none has come for a while.
        seconds: For how long this process has not gone on.
    """

    def state(beat: Beat) -> tuple[bool, bool, str]:
        answers = beat.process not in silent
        return answers, beat.waits, beat.place if answers else ""

    parts = []
    for (answers, waits, place), group in groupby(sorted(beats, key=state), key=state):
        first, *more = group
        who = f"process {first.process}" + (f" (pid {first.pid} on {first.machine})" if first.pid else "")
        who += f" and {len(more)} more" if more else ""
        where = f"waiting in {place}" if waits else f"in {place}"
        parts.append(f"{who}: {where if answers else 'no answer'}")
    if len(parts) > PARTS:
        parts[PARTS:] = [f"and {len(parts) - PARTS} other places"]
    return f"step {min(beat.step for beat in beats)} has not gone on for {seconds:.0f} s: {'; '.join(parts)}"


class Heartbeat(TrainerCallback):
    """Says which process does not come once another has waited for half of `ddp_timeout`, and ends the run after all of it.

    torch ends a collective after `ddp_timeout` too, but says only who waited, and the groups that DeepSpeed makes for itself
    have a time of their own (30 minutes with gloo, 10 with NCCL). The signs of life are left by a thread, so that a process
    that hangs in its own code can still say where, and the ending is torch's; one that is stopped, or whose machine is gone,
    leaves none, and those that wait for it end here.

    Args:
        args: The training arguments.
    """

    def __init__(self, args: TrainingArguments):
        self.folder, self.timeout = Path(args.output_dir), args.ddp_timeout
        self.process, self.count = args.process_index, args.world_size
        self.interval = min(30.0, self.timeout / 20)
        self.step, self.went_on = 0, time.monotonic()
        # Of each process its count, and when it was first seen: one that is stopped before its first sign is silent, too.
        self.last: dict[int, tuple[int, float]] = dict.fromkeys(range(self.count), (0, self.went_on))
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._beat, args=(threading.get_ident(),), daemon=True)
        if self.count > 1:
            self.thread.start()

    def on_step_begin(self, args, state, control, **kwargs):
        self.step, self.went_on = state.global_step + 1, time.monotonic()

    def on_substep_end(self, args, state, control, **kwargs):
        self.went_on = time.monotonic()

    on_step_end = on_prediction_step = on_evaluate = on_save = on_substep_end

    def close(self) -> None:
        """Leaves no more signs of life."""
        self.ended.set()
        if self.count > 1:
            self.thread.join()
            self._file(self.process).unlink(missing_ok=True)

    def _file(self, process: int) -> Path:
        return self.folder / f".heartbeat-{process}.json"

    def _beat(self, main: int) -> None:
        count, said = 0, False
        while not self.ended.wait(self.interval if count else 0):  # the first at once: it says who this process is
            count += 1
            place, waits = _place(sys._current_frames().get(main))
            beat = Beat(self.process, socket.gethostname(), os.getpid(), count, self.step, place, waits)
            try:
                working = self._file(self.process).with_suffix(".new")
                working.write_text(json.dumps(asdict(beat)), encoding="utf-8")
                os.replace(working, self._file(self.process))
                beats = self._look()
            except OSError:  # a disk that is full, or has gone, is named by who writes checkpoints; others may have ended
                continue
            now = time.monotonic()
            silent = {process for process, (_, came) in self.last.items() if now - came > MISSED * self.interval}
            still = now - self.went_on
            if still < self.timeout / 2:
                said = False
            elif not said:
                said = True
                self._say(beats, silent, still, f"after {self.timeout} s (ddp_timeout) nobody waits any longer")
            if still > self.timeout and silent:
                self._say(beats, silent, still, f"that is more than ddp_timeout, {self.timeout} s: the run ends")
                os._exit(1)  # the main thread waits, and is not to be told

    def _look(self) -> list[Beat]:
        """Returns the last sign of life of every process, and notes when they came."""
        beats = []
        for process in range(self.count):
            file = self._file(process)
            found = json.loads(file.read_text(encoding="utf-8")) if file.exists() else None
            beat = Beat(**found) if found else Beat(process, "", 0, 0, self.step, "nowhere", False)
            if self.last[process][0] != beat.count:
                self.last[process] = (beat.count, time.monotonic())
            beats.append(beat)
        return beats

    def _say(self, beats: list[Beat], silent: set[int], seconds: float, then: str) -> None:
        line = describe(beats, silent, seconds)
        if silent or len({beat.waits for beat in beats}) > 1:  # else it may be nothing but slow
            tell_launcher(line)
        if self.process == min(beat.process for beat in beats if beat.process not in silent):
            print(f"{line}; {then}", file=sys.stderr, flush=True)
