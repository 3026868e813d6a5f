"""Measure, train, measure again, save, report: the part that is the same in every recipe."""

import json
import os
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from common.data.runs import COMPLETE, newest_complete_checkpoint, read_rows
from common.errors import say
from common.report.card import write_card
from common.report.numbers import format_metric
from common.report.page import Curve, write_report
from common.run.checkpoints import MarkComplete
from common.run.record import launcher, versions, write_record

import torch
from accelerate.utils import gather_object
from transformers import PrinterCallback, ProgressCallback, Trainer, TrainerCallback

# What an evaluation returns for each held-out set: the metrics (a number, or value/low/high), the samples to show, and how
# many problems there were; perhaps also `matrices` (see common.report.heatmap).
Evaluation = dict[str, dict[str, Any]]


def _keep_until(path: Path, step: int | None) -> list[dict[str, Any]]:
    """Drops the rows that a continued run will write again (or half a row, if it was killed) and returns the others."""
    rows = [row for row in read_rows(path) if row["step"] <= step] if step is not None else []
    kept = path.with_name(f".{path.name}")
    kept.write_text("".join(json.dumps(row) + "\n" for row in rows))
    os.replace(kept, path)
    return rows


class _Recorder(TrainerCallback):
    """Evaluates before, during and after training, writes metrics.jsonl and samples.jsonl, prints a line now and then."""

    def __init__(self, trainer: Trainer, evaluate: Callable[[torch.nn.Module], Evaluation], shown: dict[str, str]):
        self.trainer, self.evaluate, self.shown = trainer, evaluate, shown
        self.folder = Path(trainer.args.output_dir)
        self.rows: list[dict[str, Any]] = []
        self.started = self.last_line = time.monotonic()

    def append(self, name: str, row: dict[str, Any]) -> None:
        if self.trainer.accelerator.is_main_process:
            with open(self.folder / name, "a") as file:
                file.write(json.dumps(row) + "\n")

    def seconds(self) -> float:
        return round(time.monotonic() - self.started, 2)

    def restore(self, step: int | None) -> None:
        """Takes up the rows of the run that is continued from a checkpoint at `step`."""
        if self.trainer.accelerator.is_main_process:
            self.rows = _keep_until(self.folder / "metrics.jsonl", step)
            _keep_until(self.folder / "samples.jsonl", step)
        spent = max((row["seconds"] for row in self.rows), default=0.0)
        self.started = time.monotonic() - spent

    def measure(self, step: int) -> None:
        results = self.evaluate(self.trainer.model_wrapped)
        for split, result in results.items():
            row = {
                "step": step,
                "seconds": self.seconds(),
                "split": split,
                "count": result["count"],
                "metrics": result["metrics"],
            }
            if "matrices" in result:
                row["matrices"] = result["matrices"]
            self.rows.append(row)
            self.append("metrics.jsonl", row)
            for sample in result["samples"]:
                self.append("samples.jsonl", {"step": step, "split": split, **sample})
            name, first = next(iter(result["metrics"].items()))
            say(f"step {step:>4}  {split} {name} {format_metric(first)} on {result['count']}, {self.seconds():.0f} s")
            values = {f"{split}/{name}": metric["value"] for name, metric in result["metrics"].items()}
            self._track(values)
        self.last_line = time.monotonic()

    def _track(self, values: dict[str, float]) -> None:
        """Hands values to the trackers of `report_to`. Not through trainer.log, which would close TRL's own row of the step."""
        for callback in self.trainer.callback_handler.callbacks:
            if callback is not self:
                callback.on_log(self.trainer.args, self.trainer.state, self.trainer.control, logs=dict(values))

    def on_train_begin(self, args, state, control, **kwargs):
        if state.global_step == 0:
            self.measure(0)

    def on_step_end(self, args, state, control, **kwargs):
        if args.eval_steps and state.global_step % int(args.eval_steps) == 0 and state.global_step < state.max_steps:
            self.measure(state.global_step)

    def on_log(self, args, state, control, logs=None, **kwargs):
        if "train_runtime" in logs:
            return  # the trainer's summary at the end; the rows say it all
        row = {"step": state.global_step, "seconds": self.seconds(), **logs}
        self.rows.append(row)
        self.append("metrics.jsonl", row)
        if time.monotonic() - self.last_line > 10:
            self.last_line = time.monotonic()
            values = "  ".join(f"{label} {logs[key]:.3g}" for label, key in self.shown.items() if key in logs)
            pace = self.seconds() / max(1, state.global_step)
            left = pace * (state.max_steps - state.global_step)
            say(f"step {state.global_step:>4}/{state.max_steps}  {values}  about {left:.0f} s left")

    def on_train_end(self, args, state, control, **kwargs):
        measured = [row["step"] for row in self.rows if "split" in row]
        if gather_object([state.global_step in measured])[0] and not args.load_best_model_at_end:
            return  # a run that was killed after its last evaluation
        # With `load_best_model_at_end` these may be the weights of an earlier step: the ones that are saved are measured.
        self.measure(state.global_step)


def _peak_memory_gib() -> float:
    """Returns the largest peak memory of any process: of the GPU, or of the process where there is none."""
    if torch.cuda.is_available():
        peak = torch.cuda.max_memory_allocated() / 2**30
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return round(max(gather_object([peak])), 2)


def run(
    script: str,
    trainer: Trainer,
    evaluate: Callable[[torch.nn.Module], Evaluation],
    *,
    title: str,
    summary: str,
    curves: list[Curve],
    shown: dict[str, str],
    facts: dict[str, str],
    more_follows: bool = False,
) -> None:
    """Trains with evaluations around it, continues an interrupted run, and leaves the model and the report.

    Args:
        script: The recipe's `__file__`.
        trainer: Any transformers or TRL trainer, ready to train.
        evaluate: Given the model as the trainer wrapped it, measures it; called on every process. It must not draw random
            numbers, or an interrupted run would not end with the same weights.
        title: The report's title.
        summary: One sentence for the report.
        curves: The report's plots.
        shown: Label to key of the trainer's log: what the progress lines show.
        facts: More lines for the report.
        more_follows: Whether this process trains or measures something else afterwards: its processes stay connected.
    """
    args, accelerator = trainer.args, trainer.accelerator
    folder = Path(args.output_dir)
    write_record(script, args)
    accelerator.wait_for_everyone()

    recorder = _Recorder(trainer, evaluate, shown)
    trainer.remove_callback(ProgressCallback)
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(recorder)
    trainer.add_callback(MarkComplete(accelerator))

    checkpoint = newest_complete_checkpoint(folder)
    step = int(checkpoint.name.split("-")[1]) if checkpoint else None
    recorder.restore(step)
    if checkpoint:
        say(f"Continuing from {checkpoint}.")
    accelerator.wait_for_everyone()
    try:
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    except KeyboardInterrupt:
        say(f"Interrupted at step {trainer.state.global_step}: the same command continues from the newest checkpoint.")
        raise SystemExit(130) from None

    trainer.save_model(str(folder))
    totals = {"step": trainer.state.global_step, "seconds": recorder.seconds(), "peak_memory_gib": _peak_memory_gib()}
    if accelerator.is_main_process:
        recorder.append("metrics.jsonl", totals)
        tokens = max((row.get("num_tokens", 0) for row in recorder.rows), default=0)
        facts = {
            "ran on": launcher(args),
            **facts,
            "time": f"{totals['seconds']:.0f} s of training and evaluation, {totals['step']} steps",
            "tokens": f"{tokens:,.0f} in prompts and completions, {tokens / totals['seconds']:,.0f} a second",
            "peak memory": f"{totals['peak_memory_gib']} GiB ({args.device.type}, the process that took most)",
            **versions(),
        }
        settings = args.run_values
        write_card(folder, title=title, summary=summary, settings=settings, rows=recorder.rows, facts=facts)
        report = write_report(folder, title=title, summary=summary, curves=curves, facts=facts)
        (folder / COMPLETE).touch()
        say(f"The model and its card are in {folder}, the report is {report}")
    accelerator.wait_for_everyone()
    if not more_follows:
        accelerator.end_training()
