"""Measure, train, measure again, save, report: the part that is the same in every recipe."""

from collections.abc import Callable
from pathlib import Path

from common.data.runs import COMPLETE, damage
from common.data.tokens import as_arrays
from common.errors import say
from common.models.experts import keep_adapters_apart
from common.models.zero3 import keep_adapters_whole
from common.progress import doing, idle
from common.report.card import write_card
from common.report.numbers import format_gain
from common.report.page import Curve
from common.run.arguments import seconds_of
from common.run.checkpoints import (
    best_checkpoint,
    choose_checkpoint,
    copy_what_is_trained,
    is_last,
    loadable,
    size_of_checkpoint,
)
from common.run.disk import check_room, naming_disk_faults
from common.run.divergence import DivergenceGuard
from common.run.files import open_to_readers
from common.run.heartbeat import Heartbeat
from common.run.live import LiveReport
from common.run.meter import Meter, largest_peak_memory_gib
from common.run.record import write_record
from common.run.recorder import Evaluation, Recorder
from common.run.rollouts import KeepRollouts
from common.run.shared_memory import naming_full_shared_memory
from common.run.signals import StopRequest
from common.run.trackers import set_up
from common.run.universal import loading_converted
from common.run.watch import Watch

import torch
from transformers import PrinterCallback, ProgressCallback, Trainer, TrainerCallback
from transformers.trainer_utils import SaveStrategy


class _Trained(Exception):
    """Raised once the weights of a finished training are loaded."""


class _TrainNoMore(TrainerCallback):
    """Leaves the trainer when it begins: it would train one more step after the last one."""

    def __init__(self, step: int):
        self.step = step

    def on_train_begin(self, args, state, control, **kwargs):
        state.global_step = self.step  # of the last step, also where the best weights are of an earlier one
        raise _Trained


def _train_or_load(trainer: Trainer, checkpoint: Path | None) -> None:
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


def _write_record(script: str, trainer: Trainer) -> None:
    """Writes the record of a run; no process goes on before it is there."""
    write_record(script, trainer.args)
    trainer.accelerator.wait_for_everyone()


def _undo_defaults(trainer: Trainer) -> None:
    """Turns off what the libraries do by themselves, where it breaks an evaluation, hides what is measured or costs time."""
    config = trainer.model.config.get_text_config()
    if getattr(config, "output_router_logits", False):
        config.output_router_logits = False  # TRL asks for them itself at each step; left on, they would break generation
    keep_adapters_apart(trainer.model)
    keep_adapters_whole(trainer.model, trainer.args.deepspeed_plugin)
    trainer.args.logging_nan_inf_filter = False  # it would show a loss that is not a number as the one before
    trainer.remove_callback(ProgressCallback)
    trainer.remove_callback(PrinterCallback)
    trainer.train_dataset, trainer.eval_dataset = as_arrays(trainer.train_dataset), as_arrays(trainer.eval_dataset)
    trainer.create_model_card = lambda *args, **kwargs: None  # TRL's own, at each checkpoint; ours is written at the end


def _make_watch(trainer: Trainer, folder: Path) -> Watch:
    """Returns what stops a run: on request, when its time is over, where it diverges or a checkpoint has no room."""
    needed = size_of_checkpoint(trainer.model, trainer.is_deepspeed_enabled)
    settings = trainer.args.run_values
    limit = settings.get("max_run_time")
    request = StopRequest(seconds_of(limit) if limit else None)
    return Watch(trainer, request, DivergenceGuard(trainer, settings.get("stop_on_spike", False)), needed, folder)


def _add_callbacks(trainer: Trainer, watch: Watch, recorder: Recorder, report: LiveReport) -> Heartbeat:
    """Adds all that looks at a training while it goes on, in the order in which it is to be called."""
    watch.before_leaving = lambda: _stop(trainer, recorder, report)
    trainer.callback_handler.callbacks.insert(0, Meter(trainer))  # before the trackers, which log what it adds
    heartbeat = Heartbeat(trainer.args)
    for callback in (heartbeat, watch, recorder, KeepRollouts(trainer, recorder.append), report):
        trainer.add_callback(callback)
    return heartbeat


def _checkpoint_to_continue(trainer: Trainer, needed: int) -> Path | None:
    """Returns where an interrupted run goes on, and says so; of a run that begins makes sure that what it saves fits."""
    folder = Path(trainer.args.output_dir)
    checkpoint = choose_checkpoint(folder, trainer.args.process_index)
    if checkpoint:
        say(f"Continuing from {checkpoint}.")
    else:
        then = "make room, or choose another --output_dir"
        if trainer.args.save_strategy != SaveStrategy.NO:
            check_room(folder, needed, then)
        else:  # one is only saved where the run is asked to stop, and looked at then
            check_room(folder, size_of_checkpoint(trainer.model, sharded=False, has_optimizer=False), then, "the model")
    return checkpoint


def _stop(trainer: Trainer, recorder: Recorder, report: LiveReport) -> None:
    """Leaves the report of a run that ends before it is complete, and ends its trackers."""
    report.now("interrupted")
    for tracker in recorder.trackers:
        tracker.end(trainer)


def _restore_and_train(trainer: Trainer, checkpoint: Path | None, recorder: Recorder, report: LiveReport) -> None:
    """Takes up what was recorded until the checkpoint, and trains on; a run that stops leaves its report."""
    step = int(checkpoint.name.split("-")[1]) if checkpoint else None
    recorder.restore(step, is_last=checkpoint is not None and is_last(checkpoint))
    trainer.accelerator.wait_for_everyone()
    with loading_converted(Path(trainer.args.output_dir)), loadable(trainer):
        try:
            _train_or_load(trainer, checkpoint)
        except SystemExit:  # asked to stop, or diverged
            _stop(trainer, recorder, report)
            raise


def _where(trainer: Trainer, watch: Watch) -> str:
    return f" at step {trainer.state.global_step} (a checkpoint needs about {watch.needed / 1e9:.3g} GB)"


def _finish(trainer: Trainer, recorder: Recorder, report: LiveReport) -> None:
    """Writes the totals, the card and the report of a finished training, and marks its folder as complete."""
    folder = Path(trainer.args.output_dir)
    totals = {"step": trainer.state.global_step, "seconds": recorder.seconds(), "peak_memory_gib": largest_peak_memory_gib()}
    if trainer.accelerator.is_main_process:
        recorder.append("metrics.jsonl", totals)
        recorder.rows.append(totals)
        text = {"title": report.title, "summary": report.summary, "facts": report.facts()}
        write_card(folder, **text, settings=trainer.args.run_values, rows=recorder.rows)
        page = report.write("complete")
        open_to_readers(folder)
        (folder / COMPLETE).touch()
        for split, gain in recorder.gains().items():
            say(f"{split}: {format_gain(gain)} on the same problems")
        say(f"The model and its card are in {folder}, the report is {page}")


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
    folder = Path(trainer.args.output_dir)
    whole = folder.parent if more_follows else folder
    _write_record(script, trainer)
    _undo_defaults(trainer)
    trackers = set_up(trainer, whole)
    watch = _make_watch(trainer, whole)
    recorder = Recorder(trainer, evaluate, shown, trackers)
    report = LiveReport(trainer, recorder, title, summary, curves)
    heartbeat = _add_callbacks(trainer, watch, recorder, report)
    copy_what_is_trained(trainer)
    checkpoint = _checkpoint_to_continue(trainer, watch.needed)

    with naming_disk_faults(folder, where=lambda: _where(trainer, watch)), naming_full_shared_memory():
        _restore_and_train(trainer, checkpoint, recorder, report)
        doing("saving the model and its report")
        watch.check_weights()
        trainer.save_model(str(folder))
        _finish(trainer, recorder, report)
    for tracker in trackers:
        tracker.end(trainer)
    idle()
    trainer.accelerator.wait_for_everyone()
    heartbeat.close()
    watch.request.close()
    if not more_follows:
        trainer.accelerator.end_training()
