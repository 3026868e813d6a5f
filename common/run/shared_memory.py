"""The memory that the workers of a data loader share with their process: one line where it does not suffice."""

import mmap
import os
import re
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.queues import Queue

from common.errors import fail

FOLDER = "/dev/shm"
# What torch says, by its version and by what asked for the memory.
USED_UP = r"unable to allocate shared memory\(shm\)|out of shared memory"


@contextmanager
def naming_full_shared_memory() -> Iterator[None]:
    """Ends the program in one line if batches do not fit into the shared memory, instead of waiting for them for ever.

    A batch that a collator has made is put into shared memory by a thread of its worker, where Python prints what goes wrong
    and goes on; the batch never comes. So the worker says it here, and ends, which torch notices; or the connection breaks over
    which an earlier batch was just being fetched.

    Raises:
        SystemExit: With code 2. Any other error is passed on.
    """
    tell, is_full = Queue._on_queue_feeder_error, mmap.mmap(-1, 1)  # a byte that forks share

    def end_worker(error: Exception, batch: object) -> None:
        if re.search(USED_UP, str(error)):
            is_full[0] = True
            os._exit(1)
        tell(error, batch)

    Queue._on_queue_feeder_error = staticmethod(end_worker)
    try:
        yield
    except (RuntimeError, OSError, EOFError) as error:
        if not is_full[0] and not re.search(USED_UP, f"{error} {error.__cause__}"):
            raise
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch's would tell of the worker again, with a traceback
        fail(
            f"{FOLDER} of {shutil.disk_usage(FOLDER).total / 2**20:.3g} MiB is too small for the batches of the data loader's "
            "workers; enlarge it (in a container: `--shm-size 8g`, or `--ipc=host`), or set --dataloader_num_workers 0, and "
            "give the same command again"
        )
    finally:
        Queue._on_queue_feeder_error = staticmethod(tell)
