"""What each launcher does with a signal: what is saved, what it exits with, how long it takes, who is left.

    python -m pytest tests/reliability/test_signals.py -m slow -s

prints the table of docs/reliability.md, a row for each test.
"""

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest
from campaign import trained_steps, weights
from conftest import GRPO_MATH, ROOT, accelerate, command_env
from forks import free_port

pytestmark = pytest.mark.slow

STEPS = 24  # deepspeed hands a signal on after up to two seconds: what is left must take longer on a fast machine
SETTINGS = f"--max_steps {STEPS} --save_steps 2 --eval_steps {STEPS} --logging_steps 1 --num_held_out 4 --num_train 200".split()
SETTINGS += "--per_device_train_batch_size 16 --ddp_timeout 20".split()

# Runs a script as its launcher would, and writes down with what it ends: the launchers tell only some of that.
NOTING = """
import os, runpy, sys
codes = os.environ["CODES"]
script = next(word for word in sys.argv[1:] if word.endswith(".py"))  # deepspeed puts --local_rank before it
sys.argv = [script, *(word for word in sys.argv[1:] if word != script)]
sys.path[0], code, pid, leave = os.path.dirname(script), 1, os.getpid(), os._exit
def note(code):
    if os.getpid() == pid:
        with open(os.path.join(codes, os.environ.get("RANK", "0")), "w") as file:
            file.write(str(code))
def note_and_leave(code):
    note(code)
    leave(code)
os._exit = note_and_leave
try:
    runpy.run_path(script, run_name="__main__")
    code = 0
except SystemExit as ended:
    code = ended.code or 0
    raise
finally:
    note(code)
"""
started: list[subprocess.Popen] = []
ELASTIC = {"PET_SIGNALS_TO_HANDLE": "SIGTERM,SIGINT,SIGUSR1"}  # accelerate and torchrun, as the sbatch files set it


def launch(launcher: str, folder: Path) -> list[str]:
    noting = folder / "noting.py"
    noting.write_text(NOTING)
    script, sharded = [str(noting), GRPO_MATH], ["--deepspeed", "accelerate_configs/ds_zero2.json"]
    arguments = [*SETTINGS, "--output_dir", str(folder / "run")]
    if launcher == "accelerate launch":
        return accelerate(*script, *arguments, config="zero2", num_processes=2)
    if launcher == "torchrun":
        return ["torchrun", "--nproc_per_node", "2", "--master_port", str(free_port()), *script, *arguments, *sharded]
    if launcher == "deepspeed":
        return ["deepspeed", "--num_gpus", "2", "--master_port", str(free_port()), *script, *arguments, *sharded]
    return ["python", *script, *arguments]


def start(launcher: str, folder: Path, env: dict[str, str]) -> subprocess.Popen:
    (folder / "codes").mkdir(exist_ok=True)
    env = command_env(LOCAL_SIZE="2", CODES=str(folder / "codes"), **env)
    with open(folder / "log", "a") as output:
        quiet = {"stdout": output, "stderr": output, "start_new_session": True}
        # What a shell has put into the background passes on that SIGINT is ignored, and deepspeed's launcher would ignore it.
        quiet["preexec_fn"] = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
        started.append(subprocess.Popen(launch(launcher, folder), cwd=ROOT, env=env, **quiet))
    return started[-1]


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """Ends what a test that failed has left."""
    yield
    for process in started:
        if process.poll() is None:
            for one in (*psutil.Process(process.pid).children(recursive=True), process):
                one.kill()
    started.clear()


@pytest.fixture(scope="module")
def wholes(tmp_path_factory: pytest.TempPathFactory):
    """Returns the run of a launcher that nobody interrupts."""
    found: dict[str, Path] = {}

    def whole(launcher: str) -> Path:
        if launcher not in found:
            folder = tmp_path_factory.mktemp("whole")
            assert start(launcher, folder, {}).wait(timeout=400) == 0, (folder / "log").read_text()
            found[launcher] = folder / "run"
        return found[launcher]

    print(
        "\n| launcher | what happens | saved | launcher's exit code | processes' | seconds | orphans | then the same weights |"
    )
    print("|---|---|---|---|---|---|---|---|")
    return whole


def rank(process: psutil.Process) -> str:
    """Returns the rank of a process that trains; empty if it is another one."""
    try:
        return process.environ().get("RANK", "") if any(word.endswith("noting.py") for word in process.cmdline()[:3]) else ""
    except psutil.Error:
        return ""


def case(launcher: str, sent: signal.Signals, to: str, env: dict[str, str]):
    """What accelerate does in every case is tried in `make test-all`, torchrun, on which it stands, and deepspeed once each."""
    first = launcher == "accelerate launch" or (sent, to) == (signal.SIGTERM, "launcher")
    return pytest.param(launcher, sent, to, env, marks=[] if first else pytest.mark.campaign)


@pytest.mark.parametrize(
    ("launcher", "sent", "to", "env"),
    [
        *[("python", sent, "launcher", {}) for sent in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGKILL)],
        *[
            case(launcher, sent, to, ELASTIC if launcher != "deepspeed" else {})
            for launcher in ("accelerate launch", "torchrun", "deepspeed")
            for sent, to in [
                (signal.SIGTERM, "launcher"),
                (signal.SIGINT, "launcher"),
                (signal.SIGUSR1, "launcher"),
                (signal.SIGKILL, "launcher"),
                (signal.SIGKILL, "process 1"),
                (signal.SIGSTOP, "process 1"),
            ]
        ],
        ("accelerate launch", signal.SIGUSR1, "launcher", {}),
    ],
)
def test_a_signal(wholes, tmp_path: Path, launcher: str, sent: signal.Signals, to: str, env: dict[str, str]):
    process, run, log = start(launcher, tmp_path, env), tmp_path / "run", tmp_path / "log"
    deadline = time.monotonic() + 200
    while not (run / "checkpoint-2/complete").exists() or 3 not in trained_steps(run):
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.02)
    everyone = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    began = time.monotonic()
    target = everyone[0] if to == "launcher" else next(one for one in everyone if rank(one) == "1")
    target.send_signal(sent)
    code = process.wait(timeout=150)
    _, left = psutil.wait_procs(everyone[1:], timeout=60)
    seconds, text = time.monotonic() - began, log.read_text()
    for orphan in left:
        orphan.kill()
    saved = max(int(mark.parent.name.split("-")[1]) for mark in run.glob("checkpoint-*/complete"))
    requeued = (run / "requeue").exists()
    codes = {path.name: path.read_text() for path in sorted((tmp_path / "codes").iterdir())}
    ranks = ["0", "1"] if launcher != "python" else ["0"]

    again = start(launcher, tmp_path, env)
    assert again.wait(timeout=400) == 0, log.read_text()
    same = weights(run) == weights(wholes(launcher)) and trained_steps(run) == list(range(1, STEPS + 1))
    what = f"{sent.name}{'' if to == 'launcher' else f' to {to}'}"
    what += ", without PET_SIGNALS_TO_HANDLE" if sent == signal.SIGUSR1 and not env and launcher == "accelerate launch" else ""
    by_signal = f"step {saved}{'' if f'saved step {saved};' in text else ' (the newest checkpoint)'}"
    shown = ", ".join(codes.get(number, "killed") for number in ranks)
    print(
        f"\n| {launcher} | {what} | {by_signal} | {code} | {shown} | {seconds:.0f} | {len(left)} | {'yes' if same else 'NO'} |"
    )

    assert not left, text
    assert same
    if to == "launcher" and not (launcher == "python" and sent == signal.SIGKILL):
        expected = {str(128 + sent)} if launcher == "python" and sent != signal.SIGUSR1 else {"143", "130"}
        assert set(codes.values()) <= expected, text
        assert codes, text
        assert f"saved step {saved}; the same command continues" in text
    told = launcher == "python" or (launcher != "deepspeed" and env)  # other launchers die of it, and nobody knows of what
    assert requeued == (sent == signal.SIGUSR1 and bool(told))
    if sent == signal.SIGSTOP:
        assert re.search(rf"process 1 \(pid {target.pid} on {os.uname().nodename}\): no answer", text), text
    assert seconds < (100 if sent == signal.SIGSTOP else 40)
