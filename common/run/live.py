"""What is shown while a run goes on: the step on the terminal, and report.html, written anew now and then."""

import time
from collections.abc import Callable
from typing import Any

from common.progress import stage

from transformers import TrainerCallback

EVERY = 15.0  # seconds between two pages where nothing new was measured
SHARE = 0.02  # of the time, at most, that writing them may take


class LiveReport(TrainerCallback):
    """Writes the report of a run that trains: at each evaluation, after a while, and when it is interrupted.

    Args:
        write: Writes it, given the run's state and after how many seconds it is written again, about.
        measured: Returns how many evaluations there are.
        writes: Whether this is the process that writes.
    """

    def __init__(self, write: Callable[[str, float], Any], measured: Callable[[], int], writes: bool):
        self.write, self.measured, self.writes = write, measured, writes
        self.shown, self.due, self.every = -1, 0.0, EVERY

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        stage("training", total=state.max_steps, done=state.global_step)

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._look()

    on_step_end = on_log = on_train_begin

    def _look(self) -> None:
        if self.writes and (self.measured() != self.shown or time.monotonic() > self.due):
            self.now("training")

    def now(self, state: str) -> None:
        """Writes the report, whatever was written last.

        Args:
            state: "training" or "interrupted".
        """
        if not self.writes:
            return
        began = time.monotonic()
        self.write(state, self.every)
        self.shown, ended = self.measured(), time.monotonic()
        self.every = max(EVERY, (ended - began) / SHARE)
        self.due = ended + self.every
