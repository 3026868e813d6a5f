"""A model behind `recipes serve`, for as long as a test asks it: a fork of a process that has imported the libraries."""

import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from forks import BIN, Server, wait_for


@contextmanager
def served(server: Server, folder: Path, **env: str) -> Iterator[str]:
    """Serves the model of a run or a folder on a free port, and yields the address for a client (`base_url`)."""
    run = server.start(str(BIN / "recipes"), "serve", str(folder), "--port", "0", launched=False, **env)
    try:
        wait_for(lambda: "\ncurl " in run.text(), run)
        yield re.search(r" at (http://127\.0\.0\.1:\d+/v1) ", run.text())[1]
    finally:
        run.send(signal.SIGTERM)
        assert None not in run.wait()
