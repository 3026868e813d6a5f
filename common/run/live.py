"""What is shown while a run goes on: the step on the terminal, and report.html, written anew now and then."""

import time
from collections.abc import Sized
from functools import partial
from pathlib import Path
from typing import Any

from common.data.notes import LEFT_OUT, LINES
from common.progress import doing
from common.report.numbers import format_gain
from common.report.page import Curve, write_report
from common.run.batch import describe_batch
from common.run.meter import average_speed
from common.run.record import launcher, versions
from common.run.recorder import Recorder

from transformers import Trainer, TrainerCallback

EVERY = 15.0  # seconds between two pages where nothing new was measured
SHARE = 0.02  # of the time, at most, that writing them may take


class LiveReport(TrainerCallback):
    """Writes the report of a run that trains: at each evaluation, after a while, and when it is interrupted.

    Args:
        trainer: The trainer; its main process writes.
        recorder: Knows what was measured.
        title: The report's title.
        summary: One sentence for the report.
        curves: Its plots.
    """

    def __init__(self, trainer: Trainer, recorder: Recorder, title: str, summary: str, curves: list[Curve]):
        self.trainer, self.recorder = trainer, recorder
        self.title, self.summary, self.curves = title, summary, curves
        self.shown, self.due, self.every = -1, 0.0, EVERY

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        left = partial(self.recorder.seconds_left, args, state)
        doing("training", total=state.max_steps, done=state.global_step, seconds_left=left)

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.recorder.measured() != self.shown or time.monotonic() > self.due:
            self.now("training")

    on_step_end = on_log = on_train_begin

    def now(self, state: str) -> None:
        """Writes the report of a run that is not at its end, whatever was written last; on the main process.

        Args:
            state: "training" or "interrupted".
        """
        if not self.trainer.accelerator.is_main_process:
            return
        began = time.monotonic()
        self.write(state, self.every)
        self.shown, ended = self.recorder.measured(), time.monotonic()
        self.every = max(EVERY, (ended - began) / SHARE)
        self.due = ended + self.every

    def write(self, state: str, every: float = 0.0) -> Path:
        """Writes the report.

        Args:
            state: "training", "interrupted" or "complete".
            every: While it trains: after how many seconds it is written again, about.

        Returns:
            Its path.
        """
        # What was found in the data names files of this machine: not for the card, which is published.
        found = {"notes": [self._row_counts(), *LINES], "left_out": LEFT_OUT}
        text = {"title": self.title, "summary": self.summary, "facts": self.facts()}
        folder = Path(self.trainer.args.output_dir)
        return write_report(folder, **text, curves=self.curves, **found, state=state, every=every)

    def facts(self) -> dict[str, str]:
        """Returns what is said of the run's launch, its batch, its time and its tokens so far, and the versions."""
        trainer, recorder = self.trainer, self.recorder
        tokens = max((row.get("num_tokens", 0) for row in recorder.rows), default=0)
        seconds, steps = recorder.seconds(), trainer.state.global_step
        peaks = [row["peak_memory_gib"] for row in recorder.rows if "peak_memory_gib" in row]
        where = f"({trainer.args.device.type}, the process that took most)"
        return {
            "ran on": launcher(trainer.args),
            "batch": describe_batch(trainer.args),
            "time": f"{seconds:.0f} s of training and evaluation, {steps} steps",
            "tokens": f"{tokens:,.0f} in prompts and completions",
            "speed": average_speed(recorder.rows) or "no step was logged",
            **{f"gained on {split}": f"{format_gain(gain)} on the same problems" for split, gain in recorder.gains().items()},
            **({"peak memory": f"{peaks[-1]} GiB {where}"} if peaks else {}),
            **versions(),
        }

    def _row_counts(self) -> str:
        """Returns a line on how many rows are trained on, and how many are held out."""
        parts = [("to train on", self.trainer.train_dataset), ("to validate on", self.trainer.eval_dataset)]
        counts = [f"{len(rows):,} {what}" for what, rows in parts if isinstance(rows, Sized)]
        measured = {row["split"]: row["count"] for row in self.recorder.rows if "split" in row}
        held_out = [f"{count:,} in {split.replace('_', ' ')}" for split, count in measured.items()]
        return f"Rows: {', '.join(counts + held_out)}."
