"""Two processes that really add up their numbers, as the GPUs or the processes of a run do at every step."""

import os
import re
import socket
import subprocess
import sys
import tempfile
import time

# Adds tensors of 64 MB twice, the first time to connect, and prints how many gigabytes a second the second time took.
SCRIPT = """
import os, sys, time
import torch
import torch.distributed as dist
backend, rank = sys.argv[1], int(os.environ["RANK"])
device = torch.device("cuda", rank) if backend == "nccl" else torch.device("cpu")
if backend == "nccl":
    torch.cuda.set_device(device)
dist.init_process_group(backend)
tensor = torch.full((1 << 24,), rank + 1.0, device=device)
for _ in range(2):
    start = time.perf_counter()
    dist.all_reduce(tensor)
    found = set(tensor[:: 1 << 12].tolist())  # waits for the GPU
    seconds = time.perf_counter() - start
dist.destroy_process_group()
if found != {6.0}:
    sys.exit(f"the sum is wrong: {sorted(found)[:3]} instead of 6")
print(f"summed at {tensor.nbytes / 1e9 / seconds:f} GB/s", file=sys.stderr)  # NCCL_DEBUG=INFO fills standard output
"""


class AllReduceError(RuntimeError):
    """Two processes did not come to their sum; the text says what the first one that failed has said last."""


def _last_line(text: str) -> str:
    """Returns what a process has said last, without torch's prefix and without the warnings that follow an error."""
    lines = [re.sub(r"^\[rank\d+\]: ?", "", line).strip() for line in text.splitlines()]
    return next((line for line in reversed(lines) if line and not line.startswith("[W")), "")


def all_reduce(backend: str, timeout: float, script: str = SCRIPT) -> float:
    """Lets two processes of this machine add up a tensor through torch.distributed.

    Args:
        backend: `gloo` for processors, `nccl` for the first two GPUs.
        timeout: In seconds, for all of it: the import of torch too.
        script: What each of them runs, with the back end's name.

    Returns:
        Gigabytes a second, of the tensor.

    Raises:
        AllReduceError: If one of the processes fails, or both do not end in time.
    """
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    env = os.environ | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    with tempfile.TemporaryFile("w+") as first, tempfile.TemporaryFile("w+") as second:
        outputs, processes = (first, second), []
        try:
            for rank, output in enumerate(outputs):
                ranked = env | {"RANK": str(rank), "LOCAL_RANK": str(rank)}
                command = [sys.executable, "-P", "-c", script, backend]
                processes.append(subprocess.Popen(command, env=ranked, stdout=subprocess.DEVNULL, stderr=output))
            deadline = time.monotonic() + timeout
            codes = [None, None]
            # One that has failed leaves the other one waiting.
            while None in codes and not any(codes) and time.monotonic() < deadline:
                time.sleep(0.05)
                codes = [process.poll() for process in processes]
        finally:
            for process in processes:
                process.kill()
                process.wait()
        texts = []
        for output in outputs:
            output.seek(0)
            texts.append(output.read())
    for code, text in zip(codes, texts, strict=True):
        if code:
            raise AllReduceError(_last_line(text) or f"exit code {code}")
    if None in codes:
        raise AllReduceError(f"no sum within {timeout:.0f} s")
    return float(re.search(r"^summed at (.*) GB/s$", texts[0], re.MULTILINE)[1])
