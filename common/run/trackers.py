"""Trackers (`report_to`) that fail: the training goes on without them."""

import threading
from collections.abc import Callable
from contextlib import suppress
from http.client import HTTPException
from importlib import import_module
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

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


def _log_offline_if_unreachable() -> None:
    """Lets wandb log into a folder if its server does not answer: by itself it waits for 101 s, and fails (wandb 0.31)."""
    import wandb  # where it is not asked for, it need not be installed

    try:
        settings = wandb.setup().settings
    except Exception:  # whatever is wrong with its settings: its callback fails of it too, and says so
        return
    if settings.mode == "online" and not _answers(settings.base_url):
        wandb.setup(settings=wandb.Settings(mode="offline"))
        _warn(f"wandb: {settings.base_url} does not answer; the run is logged in {settings.wandb_dir}, for `wandb sync`")


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


def survive(trainer: Trainer) -> None:
    """Lets a trainer train on when a tracker fails: a network that has gone must not cost a run.

    Args:
        trainer: The trainer, whose callbacks of `report_to` are replaced.
    """
    trackers = tuple(get_reporting_integration_callbacks(trainer.args.report_to))
    callbacks = trainer.callback_handler.callbacks
    callbacks[:] = [_Survivor(callback) if isinstance(callback, trackers) else callback for callback in callbacks]
    if "wandb" in trainer.args.report_to and is_main_process():
        _log_offline_if_unreachable()
