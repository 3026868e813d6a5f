"""Runs of recipes as forks of a process that has imported the libraries once: a run killed at any moment costs seconds."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent

TRAINING = """
import common.run.loop, deepspeed, math_verify, matplotlib.figure, peft, trl.models
from trl import GRPOTrainer, SFTTrainer, get_peft_config
"""
READING = """
import peft, safetensors.torch, torch, transformers.models.auto
"""
SERVER = """
import atexit, gc, json, os, runpy, sys, time
ROOT, codes = os.getcwd(), {}
gc.freeze()  # else each fork copies what was imported as soon as it collects
def run(command, env, outputs):
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for descriptor, output in enumerate(outputs, start=1):
        os.dup2(os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND), descriptor)
    atexit._clear()  # of the server
    os.environ |= env
    os.chdir(env.get("WORKING_DIRECTORY", "."))
    sys.argv, sys.path[0], code = command, os.path.join(ROOT, os.path.dirname(command[0])), 1
    try:
        if "FIRST" in env:
            runpy.run_path(env["FIRST"])
        runpy.run_path(os.path.join(ROOT, command[0]), run_name="__main__")
        code = 0
    except SystemExit as ended:
        code = ended.code or 0
    finally:
        if code == 1:
            sys.excepthook(*sys.exc_info())
        atexit._run_exitfuncs()
        sys.stdout.flush()
        os._exit(code)
for line in sys.stdin:
    request = json.loads(line)
    if "wait" in request:
        deadline = time.monotonic() + request["timeout"]
        while True:
            for pid in set(request["wait"]) - codes.keys():
                found, status = os.waitpid(pid, os.WNOHANG)
                if found:
                    codes[pid] = os.waitstatus_to_exitcode(status)
            if codes.keys() >= set(request["wait"]) or time.monotonic() > deadline:
                break
            time.sleep(0.005)
        print(json.dumps([codes.get(pid) for pid in request["wait"]]), flush=True)
        continue
    pids = []
    for env in request["ranks"]:
        pids.append(os.fork())
        if pids[-1] == 0:
            run(request["command"], env, request["outputs"])
        codes.pop(pids[-1], None)  # of an earlier process: the system gives out their numbers again
    print(json.dumps(pids), flush=True)
gc.unfreeze()
"""


def command_env(**extra: str) -> dict[str, str]:
    """Returns the environment of a machine without a GPU and without a hub, whatever the machine of the tests has."""
    others = ("ACCELERATE_", "WANDB_", "SLURM_")
    env = {name: value for name, value in os.environ.items() if not name.startswith(others)}
    # One thread each: runs go on side by side here, and threads that share a core spend their time waiting for each other.
    env |= {"CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PATH": f"{BIN}:{env['PATH']}"}
    return env | extra


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@dataclass
class Run:
    """A run that has been started: its processes, one for each rank, and the files that hold what they print.

    What a launcher starts prints its errors into the same file as the rest.
    """

    server: "Server"
    pids: list[int]
    output: Path
    errors: Path
    codes: list[int | None] | None = None

    def send(self, number: signal.Signals) -> None:
        """Sends a signal to every process, as a launcher does."""
        for pid in self.pids:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue  # it has ended already

    def wait(self, timeout: float = 120) -> list[int | None]:
        """Returns the exit codes; None for a process that still runs when the time is over."""
        self.codes = self.server.ask(wait=self.pids, timeout=timeout)
        return self.codes

    def text(self) -> str:
        return "".join(file.read_text() for file in dict.fromkeys((self.output, self.errors)) if file.exists())


class Server:
    """A process that has imported once: what training needs, or what somebody has who only reads a model (`READING`).

    Attributes:
        output: A folder for what the runs print, and for their temporary files: a run that is killed leaves them.
        root: The checkout whose code it runs.
    """

    def __init__(self, output: Path, root: Path = ROOT, imports: str = TRAINING, **env: str):
        self.output, self.count = output, 0
        path = os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])
        self.process = subprocess.Popen(
            [sys.executable, "-c", imports + SERVER],
            cwd=root,
            env=command_env(PYTHONPATH=path, TMPDIR=str(output), **env),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, **request) -> list:
        print(json.dumps(request), file=self.process.stdin, flush=True)
        return json.loads(self.process.stdout.readline())

    def start(
        self, *command: str, num_processes: int = 1, launched: bool = True, folders: list[Path] | None = None, **env: str
    ) -> Run:
        """Starts a command as so many ranks of a launcher, or as plain python would (`launched=False`).

        `folders` are the working directories of the ranks, if these are not the repository; a script whose path is given as
        FIRST is run in each rank before the command.
        """
        self.count += 1
        output = self.output / f"{self.count}.txt"
        errors = output if launched else self.output / f"{self.count}.errors.txt"
        common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": str(num_processes)}
        common |= {"LOCAL_WORLD_SIZE": str(num_processes)}
        ranks = [common | {"RANK": str(rank), "LOCAL_RANK": str(rank)} | env for rank in range(num_processes)]
        ranks = ranks if launched else [env]
        for rank, folder in zip(ranks, folders or [], strict=False):
            rank["WORKING_DIRECTORY"] = str(folder)
        return Run(self, self.ask(command=command, ranks=ranks, outputs=[str(output), str(errors)]), output, errors)

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait(timeout=60)


@contextmanager
def serving(output: Path, root: Path = ROOT, imports: str = TRAINING, **env: str) -> Iterator[Server]:
    server = Server(output, root, imports, **env)
    try:
        yield server
    finally:
        server.close()


def wait_for(condition, run: Run, timeout: float = 120) -> None:
    """Waits until something is so, as long as the run goes on."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout:.0f} s:\n{run.text()}"
        assert run.server.ask(wait=run.pids, timeout=0) == [None] * len(run.pids), f"the run ended before:\n{run.text()}"
        time.sleep(0.01)


def fork_one_of_two(rank: int, port: int, work: Callable[[], object]) -> int:
    """Works in a fork of this process, as one of two that may connect; returns its id."""
    from accelerate.state import AcceleratorState  # imports torch, which other users of this module do without

    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        AcceleratorState._reset_state(reset_partial_state=True)
        work()
        code = 0
    finally:
        os._exit(code)
