"""wandb: one run of its own for each run, also where that is continued, and a folder where its server does not answer."""

import os
import threading
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from common.data.runs import parse_record
from common.errors import say

PATIENCE = 10  # seconds for its server to answer


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


def is_disabled() -> bool:
    """Returns whether the environment turns wandb off as transformers 4 read it; 5 does not look at the variable any more."""
    return os.environ.get("WANDB_DISABLED", "").upper() in ("1", "ON", "YES", "TRUE")


def set_up_wandb(run: Path, project: str) -> None:
    """Lets wandb take up the run that was interrupted, and log into a folder if its server does not answer.

    By itself it begins another run at each start; it waits for a server for 101 s, and fails (wandb 0.31).

    Args:
        run: The folder with the record of the run.
        project: The project, if the environment and wandb's own settings name none.
    """
    import wandb  # where it is not asked for, it need not be installed

    try:
        settings = wandb.setup().settings
    except Exception:  # whatever is wrong with its settings: its callback fails of it too, and says so
        return
    os.environ.setdefault("WANDB_PROJECT", settings.project or project)  # transformers reads it, and nothing else
    chosen: dict[str, str] = {}
    run_id = settings.run_id or (parse_record(run) or {}).get("id")  # 0.1.0 recorded none
    if run_id and settings.resume != "auto" and not settings.resume_from and not settings.fork_from:  # they name a run
        chosen |= {"run_id": run_id, "resume": settings.resume or "allow"}
    if settings.mode == "online" and not _answers(settings.base_url):
        chosen["mode"] = "offline"
        say(f"warning: wandb: {settings.base_url} does not answer; the run is logged in {settings.wandb_dir}, for `wandb sync`")
    if chosen:  # in one call: another one, while it is online, took 50 s without a network
        wandb.setup(settings=wandb.Settings(**chosen))
