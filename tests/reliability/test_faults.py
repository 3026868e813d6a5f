"""A machine that is not as it should be: a run ends in one line, or goes on without what is missing."""

import json
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from campaign import STEPS, Setting, run_whole, trained_steps, weights, write_configs
from conftest import GRPO_MATH, accelerate, command_env
from forks import HAS_PLACE, IS_ROOT, ROOT, Run, Server, shared_server, wait_for

SFT, GRPO = Setting("sft_instruct", 0, 1), Setting("grpo_math", 3, 1)
EVERY = [SFT, pytest.param(GRPO, marks=pytest.mark.slow)]
TWO = Setting("grpo_math", 3, 2)
LONG = ("--max_steps", "400", "--save_steps", "2", "--eval_steps", "2")
NOBODY = 65534

needs_mounts = pytest.mark.skipif(not HAS_PLACE, reason="needs namespaces (unshare), which this machine does not allow")


@pytest.fixture(scope="module")
def server() -> Server:
    """One process that has imported the libraries serves all tests."""
    return shared_server()


@pytest.fixture(scope="module")
def configs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("configs")
    write_configs(folder)
    return folder


@pytest.fixture(scope="module")
def wholes(server: Server, configs: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Setting], Path]:
    """Returns the run of a setting that nothing happens to."""
    found: dict[Setting, Path] = {}

    def whole(setting: Setting) -> Path:
        if setting not in found:
            found[setting] = run_whole(server, setting, tmp_path_factory.mktemp("whole") / "run", configs).folder
        return found[setting]

    return whole


@pytest.fixture
def start(server: Server, tmp_path: Path, configs: Path) -> Callable[..., Run]:
    """Starts the run of a setting in a folder of the test, or another one."""

    def start(setting: Setting, *more: str, folder: Path | None = None, before: str = "", **env: str) -> Run:
        command = [*setting.command(folder or tmp_path / "run", configs), *more]
        return server.start(*command, num_processes=setting.num_processes, before=before, **env)

    return start


def mount(server: Server, folder: Path, *options: str) -> Path:
    """Mounts a file system in memory on a folder, as the server's processes see it; returns where others see it."""
    folder.mkdir(parents=True, exist_ok=True)
    inside = ["nsenter", "--target", str(server.process.pid), "--mount"]
    inside += [] if IS_ROOT else ["--user", "--preserve-credentials"]
    subprocess.run([*inside, "mount", "-t", "tmpfs", *options, "none", str(folder)], check=True)
    return Path(f"/proc/{server.process.pid}/root{folder}")


def finish(run: Run) -> str:
    assert not any(run.wait()), run.text()
    return run.text()


def refused(run: Run, *words: str, timeout: float = 60) -> str:
    """Waits for the end of the main process, which must end in one line that holds the words; returns the line."""
    codes = run.server.ask(wait=run.pids[:1], timeout=timeout)
    run.send(signal.SIGKILL)  # as a launcher does with the others
    run.wait()
    lines = [line for line in run.text().splitlines() if line.startswith("error:")]
    assert codes[0] == 2, run.text()
    assert len(lines) == 1, run.text()
    assert "Traceback" not in run.text()
    assert [word for word in words if word not in lines[0]] == [], run.text()
    return lines[0]


def has_saved(folder: Path, step: int = 2) -> Callable[[], bool]:
    return (folder / f"checkpoint-{step}/complete").exists


# --- Folders ------------------------------------------------------------------------------------------------------------


@needs_mounts
@pytest.mark.parametrize("setting", [SFT, GRPO])
def test_a_folder_that_is_read_only(start, server: Server, tmp_path: Path, setting: Setting):
    mount(server, tmp_path / "disk", "-o", "ro")
    line = refused(start(setting, folder=tmp_path / "disk/run"))
    assert line.startswith(
        f"error: output_dir {tmp_path}/disk/run cannot be made: {tmp_path}/disk is not a folder that you may"
    )


@needs_mounts
@pytest.mark.slow
@pytest.mark.parametrize("setting", [SFT, GRPO, TWO])
def test_a_disk_that_becomes_read_only(start, server: Server, tmp_path: Path, setting: Setting):
    seen = mount(server, tmp_path / "disk")
    run = start(setting, *LONG, folder=tmp_path / "disk/run")
    wait_for(has_saved(seen / "run"), run)
    mount(server, tmp_path / "disk", "-o", "remount,ro")
    refused(run, "cannot be written into any more at step ", "; put it back, and the same command continues")


@pytest.mark.parametrize("setting", [SFT, *(pytest.param(setting, marks=pytest.mark.slow) for setting in (GRPO, TWO))])
def test_a_folder_that_is_removed(start, tmp_path: Path, setting: Setting):
    run, folder = start(setting, *LONG), tmp_path / "run"
    wait_for(has_saved(folder), run)
    subprocess.run(["rm", "-rf", folder], capture_output=True)  # says that it is not empty where the run has just written
    began = time.monotonic()
    refused(run, f"output_dir {folder} was removed")
    assert time.monotonic() - began < 30


AS_ANOTHER = f"import os; os.setgid({NOBODY}); os.setuid({NOBODY})"
needs_root = pytest.mark.skipif(not IS_ROOT, reason="only root can be somebody else")


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that others may enter, unlike pytest's."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@needs_root
@pytest.mark.parametrize("setting", [SFT, Setting("grpo_math", 0, 1)])
def test_the_run_of_another_user(start, place: Path, setting: Setting):
    folder = place / "run"
    folder.mkdir()
    (folder / "run.json").write_text("{}")
    for mode, line in {
        0o755: f"cannot be used: {folder} is not a folder that you may write in",
        0o777: f"cannot be used: you may not write into {folder}/run.json; it may be another user's run",
        0o700: f"cannot be used: {folder} is not a folder that you may write in",
    }.items():
        folder.chmod(mode)
        refused(start(setting, folder=folder, before=AS_ANOTHER), line)
    place.chmod(0o700)
    refused(start(setting, folder=folder, before=AS_ANOTHER), f"cannot be made: {place} is not a folder that you may write in")


@needs_root
@pytest.mark.slow
@pytest.mark.parametrize("setting", [SFT, GRPO])
def test_the_model_of_another_user(server: Server, wholes, place: Path, setting: Setting):
    folder = Path(shutil.copytree(wholes(setting), place / "run"))
    chat = ("common/commands/chat.py", str(folder))
    finish(server.start(*chat, launched=False, before=AS_ANOTHER))
    (folder / "run.json").chmod(0o600)
    refused(server.start(*chat, launched=False, before=AS_ANOTHER), f"{folder}/run.json: you may not read it; ask its owner")


# --- A full disk --------------------------------------------------------------------------------------------------------


# Something else fills the disk after a run has looked.
BLIND = "import common.run.loop as loop, common.run.watch as watch; watch.check_room = loop.check_room = lambda *_: None"


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@needs_mounts
@pytest.mark.parametrize("setting", EVERY)
def test_a_disk_with_no_room_is_refused_before_training(start, server: Server, tmp_path: Path, setting: Setting):
    mount(server, tmp_path / "disk", "-o", "size=4m")
    run = start(setting, folder=tmp_path / "disk/run")
    refused(run, "a checkpoint needs 0.00", " GB, and 0.004", " GB are free there; make room, or choose another --output_dir")
    assert "step    0" not in run.text()


@needs_mounts
def test_a_disk_that_is_full_in_the_middle_of_a_save(start, server: Server, tmp_path: Path):
    folder = tmp_path / "disk/run"
    seen = mount(server, tmp_path / "disk", "-o", "size=11m") / "run"
    line = refused(start(SFT, folder=folder, before=BLIND), "the disk is full at step 4 (a checkpoint needs about 0.00")
    assert " GB), 0.00" in line
    assert " GB are free now; make room, and the same command continues" in line
    assert has_saved(seen)()
    assert not (seen / "checkpoint-4").exists()


@needs_mounts
@pytest.mark.slow
@pytest.mark.parametrize("looks", [True, False])
@pytest.mark.parametrize("setting", [SFT, GRPO])
def test_a_disk_that_fills_up(start, server: Server, tmp_path: Path, wholes, setting: Setting, looks: bool):
    """Found before a save; or, if something else has filled it since, while it is saved."""
    whole, folder = wholes(setting), tmp_path / "disk/run"
    room = int(1.4 * size_of(whole / "checkpoint-2"))
    seen = mount(server, tmp_path / "disk", "-o", f"size={room}") / "run"
    run = start(setting, folder=folder, before="" if looks else BLIND)
    if looks:
        refused(run, "a checkpoint needs 0.0", " are free there; make room, and the same command continues from checkpoint-2")
    else:
        refused(
            run, "the disk is full at step 4 (a checkpoint needs about 0.0", " are free now; make room, and the same command"
        )
    assert has_saved(seen)()
    assert not (seen / f"checkpoint-{STEPS}").exists()
    mount(server, tmp_path / "disk", "-o", f"remount,size={10 * room}")
    assert "Continuing from" in finish(start(setting, folder=folder))
    assert weights(seen) == weights(whole)


@needs_mounts
@pytest.mark.slow
@pytest.mark.parametrize("setting", [SFT, GRPO])
def test_a_disk_that_fills_up_at_the_very_end(start, server: Server, tmp_path: Path, wholes, setting: Setting):
    """When the checkpoints are there, and the final model is not."""
    whole, folder = wholes(setting), tmp_path / "disk/run"
    room = 2 * size_of(whole / "checkpoint-2") + 10**6
    seen = mount(server, tmp_path / "disk", "-o", f"size={room}") / "run"
    refused(start(setting, folder=folder), f"the disk is full at step {STEPS} ")
    assert not (seen / "complete").exists()
    mount(server, tmp_path / "disk", "-o", f"remount,size={10 * room}")
    finish(start(setting, folder=folder))
    assert weights(seen) == weights(whole)
    assert trained_steps(seen) == list(range(1, STEPS + 1))


# --- What a machine may lack --------------------------------------------------------------------------------------------


# The one device by which the processes of a machine talk to each other: SIOCSIFFLAGS, IFF_UP (linux/sockios.h, linux/if.h).
LO_UP = "import fcntl, socket, struct; fcntl.ioctl(socket.socket(), 0x8914, struct.pack('16sh', b'lo', 1))"
KEY = {"WANDB_API_KEY": "0123456789" * 4}
BARE = f"""
import ctypes, errno, os
assert ctypes.CDLL(None).unshare(0x40000000) == 0  # CLONE_NEWNET (linux/sched.h)
{LO_UP}
def flock(*_):
    raise OSError(errno.ENOLCK, "No locks available")
fcntl.flock = flock
for name in ("HOME", "USER", "LOGNAME", "XDG_CACHE_HOME"):
    os.environ.pop(name, None)
os.environ |= {{"PATH": "/nowhere", "TMPDIR": "/nowhere"}}
"""


@needs_mounts
@pytest.mark.parametrize("setting", [SFT, pytest.param(Setting("grpo_math", 0, 1), marks=pytest.mark.slow)])
def test_no_locks_no_git_no_home_no_network_no_folder_for_temporary_files(start, tmp_path: Path, setting: Setting):
    """With a tracker that wants to be told of the run."""
    began = time.monotonic()
    run, folder = start(setting, before=BARE, WANDB_DIR=str(tmp_path), **KEY), tmp_path / "run"
    wait_for(has_saved(folder), run)
    refused(
        start(setting, before=BARE), f"is in use: a run is going on there (process {run.pids[0]} on {socket.gethostname()};"
    )
    text = finish(run)
    assert f"{folder}: the file system knows no locks (No locks available); the file .lock stands in" in text
    assert not (folder / ".lock").exists()
    assert "does not answer; the run is logged in " in text
    assert "Traceback" not in text
    assert list(tmp_path.glob("wandb/offline-run-*/*.wandb"))
    assert time.monotonic() - began < 60, "by itself wandb waits for 101 s"
    assert "git revision: not a git checkout" in (folder / "README.md").read_text()
    assert "This run is complete" in finish(start(setting, before=BARE))


@pytest.mark.slow
def test_nowhere_to_put_a_temporary_file(start):
    """Not even in the working directory, which is Python's last resort; only a `tiny:` model needs one."""
    nowhere = "import tempfile; tempfile.tempdir = None; tempfile._candidate_tempdir_list = lambda: ['/nowhere']"
    refused(start(SFT, before=nowhere), "model_name_or_path tiny:llama is built in a temporary folder, and there is none (")
    finish(start(GRPO, before=nowhere))


def without_a_name() -> dict[str, object]:
    """Returns what makes `subprocess` start as a user that has no name and no home; nothing where that cannot be."""
    as_user = {"user": 12345, "group": 12345, "extra_groups": []}
    try:
        subprocess.run([sys.executable, "-c", ""], **as_user, check=True)
    except (OSError, subprocess.CalledProcessError):
        return {}
    return as_user


ASCII = {"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def test_what_a_terminal_cannot_show_is_shown_by_its_number():
    code = "import common; from common.errors import say; say('\\u00bb \\u4e2d \\ud800'); print('x', end='')"
    shown = subprocess.run([sys.executable, "-c", code], env=command_env(**ASCII), capture_output=True, check=True).stdout
    assert shown == b"\\xbb \\u4e2d \\ud800\nx"


@pytest.mark.slow
@pytest.mark.parametrize("setting", [SFT, GRPO], ids=str)
def test_a_machine_with_nothing(tmp_path: Path, configs: Path, setting: Setting):
    """A real start in an empty environment, in ASCII, by a user with no name and no home, where that can be tried."""
    folder = Path(tempfile.mkdtemp())
    try:
        folder.chmod(0o777)
        rows = [{"question": f"Was kostet Größe {n} in 中?", "answer": f"#### {n}"} for n in range(200)]
        (folder / "data.jsonl").write_text(
            "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8"
        )
        shutil.copytree(configs, folder / "configs")
        command = [sys.executable, *setting.command(folder / "run", folder / "configs")]
        command += ["--dataset_name", str(folder / "data.jsonl"), "--num_held_out", "4"]
        env = ASCII | {"PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"}
        done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, timeout=200, **without_a_name())
        assert done.returncode == 0, (done.stdout + done.stderr).decode()
        assert b"Gr\\xf6\\xdfe" in done.stdout if setting is SFT else True
        for path in (folder / "run").rglob("*"):
            if path.suffix in (".json", ".jsonl", ".yaml", ".md", ".html", ".jinja"):
                path.read_text(encoding="utf-8")
        assert "Größe" in (folder / "run/report.html").read_text(encoding="utf-8")
    finally:
        shutil.rmtree(folder)


# --- Networks and trackers ----------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("setting", [SFT, GRPO])
def test_a_tracker_that_fails_later(server: Server, configs: Path, tmp_path: Path, wholes, setting: Setting):
    failing = """
import wandb
log, count = wandb.Run.log, 0
def failing(*args, **kwargs):
    global count
    count += 1
    if count > 3:
        raise BrokenPipeError("the service has died")
    return log(*args, **kwargs)
wandb.Run.log = failing
"""
    more = ["--log_completions", "true"] if setting is GRPO else []
    command = [*setting.command(tmp_path / "run", configs), *more]
    env = {"WANDB_DIR": str(tmp_path), "WANDB_MODE": "offline"} | KEY
    text = finish(server.start(*command, num_processes=setting.num_processes, before=failing, **env))
    assert text.count("warning: Wandb has failed (the service has died); the training goes on without it") == 1
    assert weights(tmp_path / "run") == weights(wholes(setting))


@needs_mounts
@pytest.mark.slow
def test_the_main_command_needs_no_network(tmp_path: Path):
    """Nor a device, but for `lo`."""
    alone = "unshare --net --map-root-user sh -c".split()
    command = accelerate(GRPO_MATH, "--max_steps", "2", "--num_held_out", "8", "--output_dir", str(tmp_path / "run"))
    script = f'"{sys.executable}" -c "{LO_UP}" && exec "$@"'
    done = subprocess.run(
        [*alone, script, "sh", *command], cwd=ROOT, env=command_env(), capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "run/complete").exists()
