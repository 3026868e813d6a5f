"""Trackers (`report_to`): a run that is continued is one run there, and one that fails does not end the training."""

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from http.client import HTTPException
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from common.data.runs import parse_record
from common.errors import brief, is_main_process

from transformers import Trainer, TrainerCallback
from transformers.integrations import get_reporting_integration_callbacks

PATIENCE = 10  # seconds for a tracker's server to answer
PAST_CALLBACKS = ("wandb", "trackio")  # to whose `log` TRL hands timings and completions itself


def _warn(message: str) -> None:
    if is_main_process():
        print(f"warning: {message}", flush=True)


def _answers(url: str) -> bool:
    """Returns whether a server answers in time, with whatever; a thread asks, as nothing else limits the search for a name."""
    answered = threading.Event()

    def ask() -> None:
        with suppress(OSError, HTTPException):
            with suppress(HTTPError):  # an answer
                urlopen(Request(url, method="HEAD"), timeout=PATIENCE).close()
            answered.set()

    threading.Thread(target=ask, daemon=True).start()
    return answered.wait(PATIENCE)


def _is_disabled() -> bool:
    """Returns whether the environment turns wandb off as transformers 4 read it; 5 does not look at the variable any more."""
    return os.environ.get("WANDB_DISABLED", "").upper() in ("1", "ON", "YES", "TRUE")


def _set_up_wandb(run: Path) -> None:
    """Lets wandb take up the run that was interrupted, and log into a folder if its server does not answer.

    By itself it begins another run at each start; it waits for a server for 101 s, and fails (wandb 0.31).
    """
    import wandb  # where it is not asked for, it need not be installed

    try:
        settings = wandb.setup().settings
    except Exception:  # whatever is wrong with its settings: its callback fails of it too, and says so
        return
    chosen: dict[str, str] = {}
    run_id = settings.run_id or (parse_record(run) or {}).get("id")  # 0.1.0 recorded none
    if run_id and settings.resume != "auto" and not settings.resume_from and not settings.fork_from:  # they name a run
        chosen |= {"run_id": run_id, "resume": settings.resume or "allow"}
    if settings.mode == "online" and not _answers(settings.base_url):
        chosen["mode"] = "offline"
        _warn(f"wandb: {settings.base_url} does not answer; the run is logged in {settings.wandb_dir}, for `wandb sync`")
    if chosen:  # in one call: another one, while it is online, took 50 s without a network
        wandb.setup(settings=wandb.Settings(**chosen))


class _Survivor:
    """Stands in for a tracker's callback: passes the events on until the tracker fails at one.

    Args:
        tracker: The callback.
    """

    def __init__(self, tracker: TrainerCallback):
        self.tracker, self.failed = tracker, False
        self.name = type(tracker).__name__.removesuffix("Callback")

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
        self._guarded(self.tracker.on_train_begin)(*args, **kwargs)
        if self.name.lower() in PAST_CALLBACKS:
            module = import_module(self.name.lower())
            module.log = self._guarded(module.log)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.tracker, name)
        return self._guarded(found) if name.startswith("on_") else found

    def _guarded(self, event: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if self.failed:
                return None
            try:
                return event(*args, **kwargs)
            except Exception as error:  # whatever the tracker of this version raises
                self.failed = True
                _warn(f"{self.name} has failed ({brief(error)}); the training goes on without it")
                return None

        return call


def survive(trainer: Trainer, run: Path) -> None:
    """Lets a trainer train on when a tracker fails: a network that has gone must not cost a run.

    In wandb a run that is continued stays one run. WANDB_RUN_ID and WANDB_RESUME win over the id of the record.

    Args:
        trainer: The trainer, whose callbacks of `report_to` are replaced.
        run: The folder with the record of the run, of which the trainer may train a part.
    """
    callbacks, names = trainer.callback_handler.callbacks, trainer.args.report_to
    if "wandb" in names and _is_disabled():
        wandb = tuple(get_reporting_integration_callbacks(["wandb"]))
        callbacks[:] = [callback for callback in callbacks if not isinstance(callback, wandb)]
        trainer.args.report_to = names = [name for name in names if name != "wandb"]
        _warn("report_to wandb: WANDB_DISABLED is set, so nothing is logged there")
    trackers = tuple(get_reporting_integration_callbacks(names))
    callbacks[:] = [_Survivor(callback) if isinstance(callback, trackers) else callback for callback in callbacks]
    if "wandb" in names and is_main_process():
        _set_up_wandb(run)
