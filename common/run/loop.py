"""Measure, train, measure again, save, report: the part that is the same in every recipe."""

from collections.abc import Callable, Sized
from pathlib import Path

from common.data.notes import LEFT_OUT, LINES
from common.data.runs import COMPLETE, damage
from common.errors import say
from common.models.zero3 import keep_adapters_whole
from common.progress import no_stage, stage
from common.report.card import write_card
from common.report.numbers import format_gain
from common.report.page import Curve, write_report
from common.run.arguments import seconds_of
from common.run.batch import describe_batch
from common.run.checkpoints import best_checkpoint, choose_checkpoint, is_last, loadable, size_of_checkpoint
from common.run.disk import check_room, naming_disk_faults
from common.run.divergence import DivergenceGuard
from common.run.files import open_to_readers
from common.run.heartbeat import Heartbeat
from common.run.live import LiveReport
from common.run.meter import Meter, average_speed, largest_peak_memory_gib
from common.run.record import launcher, versions, write_record
from common.run.recorder import Evaluation, Recorder
from common.run.rollouts import KeepRollouts
from common.run.shared_memory import naming_full_shared_memory
from common.run.signals import REQUEUE, StopRequest
from common.run.trackers import set_up
from common.run.universal import loading_converted
from common.run.watch import Watch

import torch
from transformers import PrinterCallback, ProgressCallback, Trainer, TrainerCallback


class _Trained(Exception):
    """Raised once the weights of a finished training are loaded."""


class _TrainNoMore(TrainerCallback):
    """Leaves the trainer when it begins: it would train one more step after the last one."""

    def __init__(self, step: int):
        self.step = step

    def on_train_begin(self, args, state, control, **kwargs):
        state.global_step = self.step  # of the last step, also where the best weights are of an earlier one
        raise _Trained


def _train(trainer: Trainer, checkpoint: Path | None) -> None:
    """Trains from a checkpoint on; after the last one the weights are loaded, and nothing else."""
    if checkpoint is None or not is_last(checkpoint):
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        return
    best = best_checkpoint(checkpoint) if trainer.args.load_best_model_at_end else None
    trainer.add_callback(_TrainNoMore(int(checkpoint.name.split("-")[1])))
    try:
        trainer.train(resume_from_checkpoint=str(best if best and damage(best) is None else checkpoint))
    except _Trained:
        trainer.callback_handler.on_train_end(trainer.args, trainer.state, trainer.control)


def _undo_defaults(trainer: Trainer) -> None:
    """Turns off what the libraries do by themselves, where it would break an evaluation or hide what is measured."""
    config = trainer.model.config.get_text_config()
    if getattr(config, "output_router_logits", False):
        config.output_router_logits = False  # TRL asks for them itself at each step; left on, they would break generation
    trainer.args.logging_nan_inf_filter = False  # it would show a loss that is not a number as the one before
    trainer.remove_callback(ProgressCallback)
    trainer.remove_callback(PrinterCallback)


def _facts(trainer: Trainer, recorder: Recorder) -> dict[str, str]:
    """Returns what is said of a run's launch, its batch, its time and its tokens so far, and the versions."""
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


def _splits(trainer: Trainer, recorder: Recorder) -> list[str]:
    """Returns a line on how many rows are trained on, and how many are held out."""
    parts = [("to train on", trainer.train_dataset), ("to validate on", trainer.eval_dataset)]
    counts = [f"{len(rows):,} {what}" for what, rows in parts if isinstance(rows, Sized)]
    measured = {row["split"]: row["count"] for row in recorder.rows if "split" in row}
    held_out = [f"{count:,} in {split.replace('_', ' ')}" for split, count in measured.items()]
    return [f"Rows: {', '.join(counts + held_out)}."]


def _report(trainer: Trainer, recorder: Recorder, write: Callable[..., Path], *, title: str, summary: str) -> None:
    """Writes the totals, the card and the report of a finished training, and marks its folder as complete."""
    args, folder = trainer.args, Path(trainer.args.output_dir)
    totals = {"step": trainer.state.global_step, "seconds": recorder.seconds(), "peak_memory_gib": largest_peak_memory_gib()}
    if trainer.accelerator.is_main_process:
        recorder.append("metrics.jsonl", totals)
        recorder.rows.append(totals)
        facts, settings = _facts(trainer, recorder), args.run_values
        write_card(folder, title=title, summary=summary, settings=settings, rows=recorder.rows, facts=facts)
        report = write("complete", 0.0)
        open_to_readers(folder)
        (folder / COMPLETE).touch()
        for split, gain in recorder.gains().items():
            say(f"{split}: {format_gain(gain)} on the same problems")
        say(f"The model and its card are in {folder}, the report is {report}")


def run(
    script: str,
    trainer: Trainer,
    evaluate: Callable[[torch.nn.Module], Evaluation],
    *,
    title: str,
    summary: str,
    curves: list[Curve],
    shown: dict[str, str],
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
        more_follows: Whether this is a part of a run, whose folder is the one above: the processes stay connected for the rest.
    """
    args, accelerator = trainer.args, trainer.accelerator
    folder = Path(args.output_dir)
    write_record(script, args)
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        (folder / REQUEUE).unlink(missing_ok=True)

    _undo_defaults(trainer)
    trackers = set_up(trainer, folder.parent if more_follows else folder)
    needed = size_of_checkpoint(trainer.model, trainer.is_deepspeed_enabled)
    limit = args.run_values.get("max_run_time")
    request = StopRequest(seconds_of(limit) if limit else None)
    watch = Watch(trainer, request, DivergenceGuard(trainer, args.run_values.get("stop_on_spike", False)), needed)
    recorder = Recorder(trainer, evaluate, shown, trackers)

    def write(state: str, every: float) -> Path:
        # What was found in the data names files of this machine: not for the card, which is published.
        found = {"notes": [*_splits(trainer, recorder), *LINES], "left_out": LEFT_OUT}
        text = {"title": title, "summary": summary, "facts": _facts(trainer, recorder)}
        return write_report(folder, **text, curves=curves, **found, state=state, every=every)

    def end_trackers() -> None:
        for tracker in trackers:
            tracker.end(trainer, folder / "report.html" if args.run_values.get("track_samples") else None)

    live = LiveReport(write, recorder.measured, trainer.accelerator.is_main_process)
    watch.before_leaving = lambda: live.now("interrupted")
    trainer.callback_handler.callbacks.insert(0, Meter(trainer))  # before the trackers, which log what it adds
    heartbeat = Heartbeat(args)
    for callback in (heartbeat, watch, recorder, KeepRollouts(trainer, recorder.append), live):
        trainer.add_callback(callback)

    keep_adapters_whole(trainer.model, args.deepspeed_plugin)
    checkpoint = choose_checkpoint(folder, args.process_index)
    if checkpoint:
        say(f"Continuing from {checkpoint}.")
    else:
        check_room(folder, needed, "make room, or choose another --output_dir")
    step = int(checkpoint.name.split("-")[1]) if checkpoint else None

    def where() -> str:
        return f" at step {trainer.state.global_step} (a checkpoint needs about {watch.needed / 1e9:.3g} GB)"

    with naming_disk_faults(folder, where=where), naming_full_shared_memory():
        recorder.restore(step, is_last=checkpoint is not None and is_last(checkpoint))
        accelerator.wait_for_everyone()
        with loading_converted(folder), loadable(trainer):
            try:
                _train(trainer, checkpoint)
            except SystemExit:  # asked to stop, or diverged
                live.now("interrupted")
                end_trackers()
                raise
        stage("saving the model and its report")
        watch.check_weights()
        trainer.save_model(str(folder))
        _report(trainer, recorder, write, title=title, summary=summary)
    end_trackers()
    no_stage()
    accelerator.wait_for_everyone()
    heartbeat.close()
    request.close()
    if not more_follows:
        accelerator.end_training()
