"""Trackers (`report_to`): one run each, named after the recipe and the folder; one that fails does not end the training."""

import json
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from common.data.runs import parse_record, read_rows
from common.errors import brief, is_main_process, say
from common.run.wandb_run import is_disabled, set_up_wandb

from transformers import Trainer, TrainerCallback
from transformers.integrations import get_reporting_integration_callbacks

WITH_MODULE = ("wandb", "trackio")  # to whose `log` TRL hands timings and completions itself; both have a `config`
UNNAMED = "huggingface"  # the project of transformers where none is given
COLUMNS = ["step", "split", "question", "answer", "completion", "correct"]


class Tracker:
    """Stands in for a tracker's callback: passes the events on until the tracker fails at one, and ends it last of all.

    By itself a tracker ends when the training does, before the last evaluation.

    Args:
        callback: The tracker's callback.
        settings: What is told of the run beside the trainer's arguments.
        folder: The run's.
    """

    def __init__(self, callback: TrainerCallback, settings: dict[str, Any], folder: Path):
        self.callback, self.settings, self.folder, self.failed = callback, settings, folder, False
        self.name = type(callback).__name__.removesuffix("Callback")

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.name == "TensorBoard" and is_main_process():
            self._guarded(self._set_up_tensorboard)(state.global_step)
        self._guarded(self.callback.on_train_begin)(args, state, control, **kwargs)
        if self.name.lower() in WITH_MODULE:
            module = import_module(self.name.lower())
            module.log = self._guarded(module.log)
            if is_main_process() and not self.failed:
                self._guarded(lambda: module.config.update(self.settings, allow_val_change=True))()

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Waits: the last evaluation and the report are still to come."""

    def end(self, trainer: Trainer) -> None:
        """Ends the tracker's run; before that hands over the report and the kept samples if `track_samples` asks for it."""
        if trainer.args.run_values.get("track_samples") and is_main_process():
            self._guarded(self._hand_over)(Path(trainer.args.output_dir) / "report.html")
        told = {"model": trainer.model, "processing_class": trainer.processing_class}
        self._guarded(self.callback.on_train_end)(trainer.args, trainer.state, trainer.control, **told)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.callback, name)
        return self._guarded(found) if name.startswith("on_") else found

    def _set_up_tensorboard(self, step: int) -> None:
        """Gives a continued run the folder that it had, where what it logs again takes the place of what was there."""
        writer = import_module("torch.utils.tensorboard").SummaryWriter  # tensorboard need not be installed
        self.callback.logging_dir = self.callback.logging_dir or str(self.folder / "tensorboard")
        self.callback.tb_writer = writer(self.callback.logging_dir, purge_step=step + 1 if step else None)
        self.callback.tb_writer.add_text("settings", f"```\n{json.dumps(self.settings, indent=1)}\n```")

    def _hand_over(self, report: Path) -> None:
        rows = [[row.get(name) for name in COLUMNS] for row in read_rows(report.parent / "samples.jsonl")]
        if self.name == "Wandb":
            wandb = import_module("wandb")
            table = wandb.Table(columns=COLUMNS, data=rows)
            wandb.run.log({"samples": table, "report": wandb.Html(report, inject=False)})
        elif self.name == "Trackio":
            import_module("trackio").save(report)
        elif self.name == "TensorBoard":
            for number, row in enumerate(rows):
                text = "\n\n".join(f"{name}\n```\n{value}\n```" for name, value in zip(COLUMNS, row, strict=True))
                self.callback.tb_writer.add_text(f"samples/{number}", text, row[0])

    def _guarded(self, event: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if self.failed:
                return None
            try:
                return event(*args, **kwargs)
            except Exception as error:  # whatever the tracker of this version raises
                self.failed = True
                say(f"warning: {self.name} has failed ({brief(error)}); the training goes on without it")
                return None

        return call


def set_up(trainer: Trainer, run: Path) -> list[Tracker]:
    """Makes the trackers of a trainer those of its run: one run each, which a continued run takes up again.

    A project and a run that are given (`project`, `run_name`, WANDB_PROJECT) win, in wandb also WANDB_RUN_ID and WANDB_RESUME.

    Args:
        trainer: The trainer, whose callbacks of `report_to` are replaced.
        run: The folder with the record of the run, of which the trainer may train a part.

    Returns:
        The trackers, which whoever called this ends.
    """
    callbacks, args = trainer.callback_handler.callbacks, trainer.args
    if "wandb" in args.report_to and is_disabled():
        wandb = tuple(get_reporting_integration_callbacks(["wandb"]))
        callbacks[:] = [callback for callback in callbacks if not isinstance(callback, wandb)]
        args.report_to = [name for name in args.report_to if name != "wandb"]
        say("warning: report_to wandb: WANDB_DISABLED is set, so nothing is logged there")
    if not args.report_to:
        return []
    record = parse_record(run) or {}
    recipe = record.get("recipe", UNNAMED)
    if args.run_name is None:
        args.run_name = "-".join(filter(None, [run.absolute().name, record.get("id")]))  # 0.1.0 recorded no id
    if args.project == UNNAMED:
        args.project = recipe
    settings = {"recipe": recipe} | json.loads(json.dumps(args.run_values, default=str))
    kinds = tuple(get_reporting_integration_callbacks(args.report_to))
    trackers = [Tracker(callback, settings, run) for callback in callbacks if isinstance(callback, kinds)]
    standing_in = {id(tracker.callback): tracker for tracker in trackers}
    callbacks[:] = [standing_in.get(id(callback), callback) for callback in callbacks]
    if "wandb" in args.report_to and is_main_process():
        set_up_wandb(run, args.project)
    return trackers
