"""A machine that is not as it should be: a run ends in one line, or goes on without what is missing."""

import json
import os
import re
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
from forks import ROOT, Run, Server, wait_for
from machines import (
    BLIND,
    HAS_PLACES,
    IS_ROOT,
    LITTLE_SHARED_MEMORY,
    LO_UP,
    NO_ENVIRONMENT,
    NO_LOCKS,
    NO_NETWORK,
    NO_RIGHTS,
    NOWHERE_TEMPORARY,
    SOMEBODY,
    disk,
    start_on,
)

SFT, GRPO = Setting("sft_instruct", 0, 1), Setting("grpo_math", 3, 1)
EVERY = [SFT, pytest.param(GRPO, marks=pytest.mark.slow)]
TWO = Setting("grpo_math", 3, 2)
LONG = ("--max_steps", "400", "--save_steps", "2", "--eval_steps", "2")

needs_mounts = pytest.mark.skipif(not HAS_PLACES, reason="needs namespaces (unshare), which this machine does not allow")


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
def start(server: Server, tmp_path: Path, configs: Path) -> Iterator[Callable[..., Run]]:
    """Starts the run of a setting in a folder of the test, or another one; ends what a test leaves."""
    started: list[Run] = []

    def start(setting: Setting, *more: str, folder: Path | None = None, machine: str = "", **env: str) -> Run:
        command = [*setting.command(folder or tmp_path / "run", configs), *more]
        started.append(start_on(server, machine, *command, num_processes=setting.num_processes, **env))
        return started[-1]

    yield start
    for run in started:
        if None in run.wait(0):
            run.send(signal.SIGKILL)


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
def test_a_folder_that_is_read_only(start, tmp_path: Path, setting: Setting):
    with disk(tmp_path / "disk", "ro") as place:
        line = refused(start(setting, folder=tmp_path / "disk/run", machine=place.machine))
    assert line.startswith(
        f"error: output_dir {tmp_path}/disk/run cannot be made: {tmp_path}/disk is not a folder that you may"
    )


# NFS is given time in a run.
IMPATIENT = """
import common.run.disk
common.run.disk.PATIENCE = 1
"""


def test_a_folder_that_another_machine_does_not_see(start, tmp_path: Path):
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here, there / "run"):
        folder.mkdir(parents=True)
    (there / "run/.seen").write_text("of a run before, on that machine's own disk")
    run = start(Setting("sft_instruct", 2, 2), folder=Path("run"), machine=IMPATIENT, folders=[here, there])
    refused(
        run,
        f"output_dir run: process 1 on {socket.gethostname()} does not see in {there}/run what process 0 on ",
        f"writes into {here}/run; give a folder that all machines share to --output_dir",
    )
    assert not (here / "run").exists()


@pytest.mark.parametrize("setting", [SFT, *(pytest.param(setting, marks=pytest.mark.slow) for setting in (GRPO, TWO))])
def test_a_folder_that_is_removed(start, tmp_path: Path, setting: Setting):
    run, folder = start(setting, *LONG), tmp_path / "run"
    wait_for(has_saved(folder), run)
    subprocess.run(["rm", "-rf", folder], capture_output=True)  # says that it is not empty where the run has just written
    began = time.monotonic()
    refused(run, f"output_dir {folder} was removed")
    assert time.monotonic() - began < 30


needs_root = pytest.mark.skipif(not IS_ROOT, reason="only root can give files to somebody else")


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
    for path in (place, folder, folder / "run.json"):
        os.chown(path, SOMEBODY, SOMEBODY)
    for mode, line in {
        0o755: f"cannot be used: {folder} is not a folder that you may write in",
        0o777: f"cannot be used: you may not write into {folder}/run.json; it may be another user's run",
        0o700: f"cannot be used: {folder} is not a folder that you may write in",
    }.items():
        folder.chmod(mode)
        refused(start(setting, folder=folder, machine=NO_RIGHTS), line)
    place.chmod(0o700)
    refused(start(setting, folder=folder, machine=NO_RIGHTS), f"cannot be made: {place} is not a folder that you may write in")


@needs_root
@pytest.mark.slow
@pytest.mark.parametrize("setting", [SFT, Setting("grpo_math", 0, 1)])
def test_a_folder_that_may_no_longer_be_written_into(start, place: Path, setting: Setting):
    place.chmod(0o777)
    run = start(setting, *LONG, folder=place / "run", machine=NO_RIGHTS)
    wait_for(has_saved(place / "run"), run)
    (place / "run").chmod(0o555)
    refused(run, "or cannot be written into any more at step ", "; put it back, and the same command continues")


@needs_root
@pytest.mark.slow
@pytest.mark.parametrize("setting", [SFT, GRPO])
def test_the_model_of_another_user(server: Server, wholes, place: Path, setting: Setting):
    folder = Path(shutil.copytree(wholes(setting), place / "run"))
    for path in [folder, *folder.rglob("*")]:
        os.chown(path, SOMEBODY, SOMEBODY)
    chat = ("common/commands/chat.py", str(folder))
    finish(start_on(server, NO_RIGHTS, *chat, launched=False))
    (folder / "run.json").chmod(0o600)
    refused(start_on(server, NO_RIGHTS, *chat, launched=False), f"{folder}/run.json: you may not read it; ask its owner")


# --- A full disk --------------------------------------------------------------------------------------------------------


GB = r"0\.0\d* GB"


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@needs_mounts
@pytest.mark.parametrize("setting", EVERY)
def test_a_disk_with_no_room_is_refused_before_training(start, tmp_path: Path, setting: Setting):
    with disk(tmp_path / "disk", "size=4m") as place:
        run = start(setting, folder=tmp_path / "disk/run", machine=place.machine)
        refused(run, "a checkpoint needs 0.0", " GB, and 0.004", " are free there; make room, or choose another --output_dir")
    assert "step    0" not in run.text()


@needs_mounts
@pytest.mark.parametrize("room", [0.8, 0.1])  # of a checkpoint: the model is about a quarter of it
def test_without_checkpoints_only_the_model_must_fit(start, tmp_path: Path, wholes, room: float):
    size = int(room * size_of(wholes(SFT) / "checkpoint-2"))
    none = "--save_strategy no --load_best_model_at_end false --early_stopping_patience 0".split()
    with disk(tmp_path / "disk", f"size={size}") as place:
        run = start(SFT, *none, folder=tmp_path / "disk/run", machine=place.machine)
        if room < 0.5:
            refused(run, "/run: the model needs 0.0", " are free there; make room, or choose another --output_dir")
        else:
            finish(run)
            assert (place.seen / "run/model.safetensors").exists()


@needs_mounts
def test_a_disk_that_is_full_in_the_middle_of_a_save(start, tmp_path: Path):
    with disk(tmp_path / "disk", "size=11m") as place:
        line = refused(start(SFT, folder=tmp_path / "disk/run", machine=place.machine + BLIND))
        assert has_saved(place.seen / "run")()
        assert not (place.seen / "run/checkpoint-4").exists()
    said = rf"the disk is full at step 4 \(a checkpoint needs about {GB}\), {GB} are free now; make room, and the same command"
    assert re.search(said, line), line


@needs_mounts
@pytest.mark.slow
@pytest.mark.parametrize("looks", [True, False])
@pytest.mark.parametrize("setting", [SFT, GRPO])
def test_a_disk_that_fills_up(start, tmp_path: Path, wholes, setting: Setting, looks: bool):
    """Found before a save; or, if something else has filled it since, while it is saved."""
    whole, folder = wholes(setting), tmp_path / "disk/run"
    room = int(1.4 * size_of(whole / "checkpoint-2"))
    with disk(tmp_path / "disk", f"size={room}") as place:
        line = refused(start(setting, folder=folder, machine=place.machine + ("" if looks else BLIND)))
        there = f"a checkpoint needs {GB}, and {GB} are free there; make room, and the same command continues from checkpoint-2"
        assert re.search(
            there if looks else rf"the disk is full at step 4 \(a checkpoint needs about {GB}\), {GB} are", line
        ), line
        assert has_saved(place.seen / "run")()
        assert not (place.seen / f"run/checkpoint-{STEPS}").exists()
        place.mount(f"remount,size={10 * room}")
        assert "Continuing from" in finish(start(setting, folder=folder, machine=place.machine))
        assert weights(place.seen / "run") == weights(whole)


@needs_mounts
@pytest.mark.slow
@pytest.mark.parametrize("setting", [SFT, GRPO])
def test_a_disk_that_fills_up_at_the_very_end(start, tmp_path: Path, wholes, setting: Setting):
    """When the checkpoints are there, and the final model is not."""
    whole, folder = wholes(setting), tmp_path / "disk/run"
    room = 2 * size_of(whole / "checkpoint-2") + 10**6
    with disk(tmp_path / "disk", f"size={room}") as place:
        refused(start(setting, folder=folder, machine=place.machine), f"the disk is full at step {STEPS} ")
        assert not (place.seen / "run/complete").exists()
        place.mount(f"remount,size={10 * room}")
        finish(start(setting, folder=folder, machine=place.machine))
        assert weights(place.seen / "run") == weights(whole)
        assert trained_steps(place.seen / "run") == list(range(1, STEPS + 1))


# --- What a machine may lack --------------------------------------------------------------------------------------------


KEY = {"WANDB_API_KEY": "0123456789" * 4}
BARE = "\n".join([NO_NETWORK, NO_LOCKS, NO_ENVIRONMENT])


@needs_mounts
@pytest.mark.parametrize("setting", [SFT, pytest.param(Setting("grpo_math", 0, 1), marks=pytest.mark.slow)])
def test_no_locks_no_git_no_home_no_network_no_folder_for_temporary_files(start, tmp_path: Path, setting: Setting):
    """With a tracker that wants to be told of the run."""
    began = time.monotonic()
    run, folder = start(setting, machine=BARE, WANDB_DIR=str(tmp_path), **KEY), tmp_path / "run"
    wait_for(has_saved(folder), run)
    refused(
        start(setting, machine=BARE), f"is in use: a run is going on there (process {run.pids[0]} on {socket.gethostname()};"
    )
    text = finish(run)
    assert f"{folder}: the file system knows no locks (No locks available); the file .lock stands in" in text
    assert not (folder / ".lock").exists()
    assert "does not answer; the run is logged in " in text
    assert "Traceback" not in text
    assert list(tmp_path.glob("wandb/offline-run-*/*.wandb"))
    assert time.monotonic() - began < 90, "by itself wandb waits for 101 s"
    assert "git revision: not a git checkout" in (folder / "README.md").read_text()
    assert "This run is complete" in finish(start(setting, machine=BARE))


@needs_mounts
@pytest.mark.skipif(not IS_ROOT, reason="mounts a /dev/shm of its own, which takes root")
def test_a_data_loader_that_has_no_shared_memory(start):
    refused(
        start(SFT, "--dataloader_num_workers", "1", machine=LITTLE_SHARED_MEMORY),
        "/dev/shm of 0.0938 MiB is too small for the batches of the data loader's workers; enlarge it (in a container: ",
        "`--shm-size 8g`, or `--ipc=host`), or set --dataloader_num_workers 0, and give the same command again",
    )


@pytest.mark.slow
def test_nowhere_to_put_a_temporary_file(start):
    """Not even in the working directory, which is Python's last resort; only a `tiny:` model needs one."""
    refused(
        start(SFT, machine=NOWHERE_TEMPORARY),
        "model_name_or_path tiny:llama is built in a temporary folder, and there is none (",
    )
    finish(start(GRPO, machine=NOWHERE_TEMPORARY))


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
    text = finish(start_on(server, failing, *command, num_processes=setting.num_processes, **env))
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
