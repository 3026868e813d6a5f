"""The rows of a run: what is measured before, during and after training, and what the trainer logs."""

import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from common.data.runs import finite, read_rows
from common.errors import say
from common.measure.statistics import paired_difference
from common.progress import working
from common.report.numbers import as_metric, count_of, format_metric
from common.run.meter import speed
from common.run.trackers import Tracker

import torch
from accelerate.utils import gather_object
from transformers import Trainer, TrainerCallback, TrainerState, TrainingArguments

# What an evaluation returns for each held-out set: the metrics (a number, or value/low/high and the count of problems that it
# is of), the samples to show, and how many problems there were; perhaps also `matrices` (tables of shares: `title`, `rows` and
# `columns`, `row_title` and `column_title`, `values`), and `right`: whether each counts for the first metric, so that what was
# gained is measured on the same problems.
Evaluation = dict[str, dict[str, Any]]


def _keep_until(path: Path, step: int | None, is_last: bool) -> list[dict[str, Any]]:
    """Drops the rows that a continued run will write again (or half a row, if it was killed) and returns the others.

    After the last step these are the final evaluation's, which comes after the checkpoint, and the totals.
    """
    rows = []
    for row in read_rows(path) if step is not None else []:
        written_again = "loss" not in row and "eval_loss" not in row and "learning_rate" not in row
        if row["step"] < step or (row["step"] == step and not (is_last and written_again)):
            rows.append(row)
    kept = path.with_name(f".{path.name}")
    kept.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    os.replace(kept, path)
    return rows


class Recorder(TrainerCallback):
    """Evaluates before, during and after training, writes metrics.jsonl and samples.jsonl, prints a line now and then."""

    def __init__(
        self,
        trainer: Trainer,
        evaluate: Callable[[torch.nn.Module], Evaluation],
        shown: dict[str, str],
        trackers: Sequence[Tracker] = (),
    ):
        self.trainer, self.evaluate, self.shown, self.trackers = trainer, evaluate, shown, trackers
        self.folder = Path(trainer.args.output_dir)
        self.rows: list[dict[str, Any]] = []
        self.started = self.last_line = self.step_began = time.monotonic()
        self.step_seconds: list[float] = []  # of this process
        self.measure_seconds = 0.0  # of the last evaluation

    def append(self, name: str, row: dict[str, Any]) -> None:
        if self.trainer.accelerator.is_main_process:
            with open(self.folder / name, "a", encoding="utf-8") as file:
                file.write(json.dumps(finite(row), allow_nan=False) + "\n")

    def seconds(self) -> float:
        return round(time.monotonic() - self.started, 2)

    def restore(self, step: int | None, is_last: bool) -> None:
        """Takes up the rows of the run that is continued from a checkpoint at `step`, its last one perhaps."""
        if self.trainer.accelerator.is_main_process:
            rows = self.folder / "metrics.jsonl"
            if step is None and rows.exists() and rows.stat().st_size:
                os.replace(rows, rows.with_name("metrics.interrupted.jsonl"))
                say(f"No checkpoint is there yet: beginning anew (the rows so far are in {rows.stem}.interrupted.jsonl).")
            self.rows = _keep_until(rows, step, is_last)
            _keep_until(self.folder / "samples.jsonl", step, is_last)
            if (self.folder / "rollouts.jsonl").exists():  # of GRPO
                _keep_until(self.folder / "rollouts.jsonl", step, is_last=False)
        spent = max((row["seconds"] for row in self.rows), default=0.0)
        self.started = time.monotonic() - spent

    def measured(self) -> int:
        """Returns how many evaluations there are, those before an interruption too."""
        return sum("split" in row for row in self.rows)

    def measure(self, step: int) -> None:
        begun = time.monotonic()
        with working("measuring the held-out rows"):
            results = self.evaluate(self.trainer.model_wrapped)
        took = self.measure_seconds = round(time.monotonic() - begun, 2)
        for number, (split, result) in enumerate(results.items()):
            metrics = {name: as_metric(measured) for name, measured in result["metrics"].items()}
            row = {"step": step, "seconds": self.seconds(), "split": split, "count": result["count"], "metrics": metrics}
            if number == 0:
                row["evaluation_seconds"] = took  # of all sets
            if "matrices" in result:
                row["matrices"] = result["matrices"]
            if "right" in result:
                row["right"] = "".join("01"[is_right] for is_right in result["right"])
                row |= self._gained(row)
            self.rows.append(row)
            self.append("metrics.jsonl", row)
            for sample in result["samples"]:
                self.append("samples.jsonl", {"step": step, "split": split, **sample})
            name, first = next(iter(metrics.items()))
            count = count_of(first, result["count"])
            say(f"step {step:>4}  {split} {name} {format_metric(first)} on {count}, {self.seconds():.0f} s")
            # transformers shows what begins with eval_ under eval/, and everything else under train/.
            self._track({f"eval_{split}/{name}": metric["value"] for name, metric in metrics.items()})
        self.last_line = time.monotonic()

    def _gained(self, row: dict[str, Any]) -> dict[str, Any]:
        """Returns how much more is right than at the first evaluation of the same problems, if this is a later one."""
        before = next((one for one in self.rows if one.get("split") == row["split"]), None)
        if before is None or len(before.get("right", "")) != len(row["right"]):
            return {}
        return {"gained": paired_difference(*([int(is_right) for is_right in one["right"]] for one in (row, before)))}

    def gains(self) -> dict[str, dict[str, float]]:
        """Returns by set what the last evaluation gained over the first one."""
        return {row["split"]: row["gained"] for row in self.rows if "gained" in row}

    def _track(self, values: dict[str, float]) -> None:
        """Hands values to the trackers of `report_to`. Not through trainer.log, which would close TRL's own row of the step."""
        for tracker in self.trackers:
            tracker.on_log(self.trainer.args, self.trainer.state, self.trainer.control, logs=dict(values))

    def on_train_begin(self, args, state, control, **kwargs):
        state.compute_steps(args, state.max_steps)  # a checkpoint brings those that it was saved with
        if state.global_step == 0:
            self.measure(0)

    def on_step_begin(self, args, state, control, **kwargs):
        self.step_began = time.monotonic()

    def on_step_end(self, args, state, control, **kwargs):
        self.step_seconds.append(time.monotonic() - self.step_began)
        if args.eval_steps and state.global_step % int(args.eval_steps) == 0 and state.global_step < state.max_steps:
            self.measure(state.global_step)

    def on_log(self, args, state, control, logs=None, **kwargs):
        if "train_runtime" in logs:
            return  # the trainer's summary at the end; the rows say it all
        row = {"step": state.global_step, "seconds": self.seconds(), **logs}
        self.rows.append(row)
        self.append("metrics.jsonl", row)
        values = "  ".join(f"{label} {logs[key]:.3g}" for label, key in self.shown.items() if key in logs)
        if values and time.monotonic() - self.last_line > 10:
            self.last_line = time.monotonic()
            left = self.seconds_left(args, state)
            say(f"step {state.global_step:>4}/{state.max_steps}  {values}  {speed(logs)}  about {left:.0f} s left")

    def seconds_left(self, args: TrainingArguments, state: TrainerState) -> float:
        """Returns how long the steps and evaluations that are left take, at the pace of the last ones.

        The first step of a process compiles and allocates, so it counts only where there is no other.
        """
        left = state.max_steps - state.global_step
        measured = left // int(args.eval_steps) + 1 if args.eval_steps else 1
        return fmean((self.step_seconds[1:] or self.step_seconds or [0.0])[-50:]) * left + measured * self.measure_seconds

    def on_train_end(self, args, state, control, **kwargs):
        measured = [row["step"] for row in self.rows if "split" in row]
        if gather_object([state.global_step in measured])[0] and not args.load_best_model_at_end:
            return  # a run that was killed after its last evaluation
        # With `load_best_model_at_end` these may be the weights of an earlier step: the ones that are saved are measured, under
        # the step that they are of.
        best = state.best_global_step if args.load_best_model_at_end else None
        if best and best != state.global_step:
            say(f"The weights of step {best} are kept: the best by {args.metric_for_best_model} (load_best_model_at_end).")
        self.measure(best or state.global_step)
