"""Trackers (`report_to`) that fail: the training goes on without them."""

from collections.abc import Callable
from typing import Any

from common.errors import brief, is_main_process

from transformers import Trainer, TrainerCallback
from transformers.integrations import get_reporting_integration_callbacks


class _Survivor:
    """Stands in for a tracker's callback: passes the events on until the tracker fails at one."""

    def __init__(self, tracker: TrainerCallback):
        self.tracker, self.failed = tracker, False

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
                name = type(self.tracker).__name__.removesuffix("Callback")
                if is_main_process():
                    print(f"warning: {name} has failed ({brief(error)}); the training goes on without it", flush=True)
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
