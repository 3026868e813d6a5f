"""`recipes doctor`: each check on a machine where it is well, and on one where it is not."""

import json
import time
from collections.abc import Iterator
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

from common.commands import all_reduce, doctor
from common.commands.installation import Finding
from common.commands.main import main

import pytest
import torch
from conftest import run_command
from torch.utils import cpp_extension

# --- The machine --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gpus", "driver", "visible", "state", "what"),
    [
        ([("NVIDIA H100", 80 << 30)] * 2, "580.1", None, "ok", "2: NVIDIA H100 (80 GiB), NVIDIA H100 (80 GiB); driver 580.1"),
        ([], None, None, "ok", "no GPU: recipes use their tiny.yaml"),
        ([], "580.1", "", "warn", "CUDA_VISIBLE_DEVICES= hides those of driver 580.1"),
        ([], "450.2", None, "fail", "sees no GPU"),
    ],
)
def test_gpus(gpus: list, driver: str | None, visible: str | None, state: str, what: str):
    found = doctor.check_gpus(gpus, driver, visible)
    assert found.state == state
    assert what in found.what
    assert bool(found.cure) == (state != "ok")


@pytest.mark.parametrize(("gpus", "backend"), [(0, "gloo"), (1, "gloo"), (2, "nccl"), (8, "nccl")])
def test_all_reduce_goes_over_what_a_run_would_use(gpus: int, backend: str):
    found = doctor.check_all_reduce(gpus, lambda backend, timeout: 12.34)
    assert found == Finding("all-reduce", "ok", f"two processes over {backend}, 12.3 GB/s")


HANGS = "import time; time.sleep(60)"


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (HANGS, "no sum within 1 s"),
        # The other one waits for it: what has failed is said, and at once.
        ("import os, sys, time; sys.exit('no\\nlink\\n') if os.environ['RANK'] == '1' else time.sleep(60)", "link"),
        (
            "import sys; sys.exit('[rank1]: RuntimeError: no link\\n[rank1]:[W1126 c.cpp:1] Warning: left open')",
            "RuntimeError: no link",
        ),
        ("import os; os.kill(os.getpid(), 9)", "exit code -9"),
    ],
)
def test_all_reduce_that_fails(script: str, said: str):
    begun = time.monotonic()
    found = doctor.check_all_reduce(
        0, lambda backend, timeout: all_reduce.all_reduce(backend, 1 if script == HANGS else 60, script)
    )
    assert time.monotonic() - begun < 20
    assert (found.state, found.what) == ("fail", f"two processes over gloo: {said}")
    assert found.cure


@pytest.mark.slow
def test_all_reduce_really():
    assert all_reduce.all_reduce("gloo", 90) > 0
    wrong = all_reduce.SCRIPT.replace("dist.all_reduce(tensor)", "dist.all_reduce(tensor, op=dist.ReduceOp.MAX)")
    with pytest.raises(all_reduce.AllReduceError, match=r"the sum is wrong: \[2.0\] instead of 6"):
        all_reduce.all_reduce("gloo", 90, wrong)


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_all_reduce_over_nccl(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("NCCL_DEBUG", "INFO")  # which fills the output
    assert all_reduce.all_reduce("nccl", 90) > 0


def test_compiler():
    assert doctor.check_compiler(lambda tool: f"/usr/bin/{tool}").state == "ok"
    found = doctor.check_compiler(lambda tool: tool if tool == "c++" else None)
    assert (found.state, found.what) == ("warn", "no ninja on the PATH: nothing can be offloaded to the CPU")
    assert "no c++ and no ninja" in doctor.check_compiler(lambda tool: None).what


def test_operators(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert "none compiled" in doctor.check_operators(tmp_path).what
    (tmp_path / "cpu_adam").mkdir()
    (tmp_path / "cpu_adam" / "cpu_adam.so").touch()
    (tmp_path / "cpu_adam" / "lock").touch()
    monkeypatch.delattr(cpp_extension, "FileBaton", raising=False)
    found = doctor.check_operators(tmp_path)
    assert (found.state, found.what) == ("ok", f"cpu_adam compiled in {tmp_path}; no stale lock")
    monkeypatch.setattr(cpp_extension, "FileBaton", object, raising=False)  # older torch waits until the file is gone
    found = doctor.check_operators(tmp_path)
    assert (found.state, found.cure) == ("fail", f"`rm {tmp_path / 'cpu_adam' / 'lock'}`")


def test_shared_memory(tmp_path: Path):
    assert doctor.check_shared_memory(tmp_path).state == "ok"  # a disk has more than a GiB
    found = doctor.check_shared_memory(tmp_path / "shm")
    assert found.state == "warn"
    assert "--ipc=host" in found.cure


def test_disk(tmp_path: Path):
    begun = time.monotonic()
    assert doctor.check_disk(tmp_path / "outputs", needed=0, slowest=0).state == "ok"
    assert time.monotonic() - begun < 20
    assert list(tmp_path.iterdir()) == []
    full = doctor.check_disk(tmp_path / "outputs", needed=10**18)
    assert (full.state, full.cure.partition(":")[0]) == ("warn", "a full-size run keeps some 20 GB")
    slow = doctor.check_disk(tmp_path / "outputs", needed=0, slowest=1e15)
    assert (slow.state, slow.cure.partition(":")[0]) == ("warn", "checkpoints will take long")
    closed = doctor.check_disk(Path("/proc/outputs"))
    assert closed.state == "fail"
    assert closed.what.startswith("/proc cannot be written to (")


def test_cache(tmp_path: Path):
    """Its size with what lies further in, and how to free it; nothing of it is touched."""
    assert doctor.check_cache(tmp_path / "none").cure == ""
    rows = tmp_path / "zero_recipes" / "a1" / "rows.arrow"
    rows.parent.mkdir(parents=True)
    with rows.open("wb") as file:
        file.truncate(3 * 10**8)
    found = doctor.check_cache(tmp_path / "zero_recipes")
    assert (found.state, found.what) == ("ok", f"0.3 GB of prepared rows, tokens and pictures in {tmp_path}/zero_recipes")
    assert found.cure.startswith(f"`rm -r {tmp_path}/zero_recipes` frees it")
    assert rows.is_file()


# --- The hub ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A server whose answer is the number at the end of its address; 0 is one that comes too late."""

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            number = int(self.path.rpartition("/")[2])
            if number == 0:
                time.sleep(1)
            self.send_response(number or 200)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    server = HTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_hub(hub: str):
    assert doctor.check_hub(f"{hub}/200", False) == Finding("hub", "ok", f"{hub}/200 answers")
    broken = doctor.check_hub(f"{hub}/503", False)
    assert (broken.state, broken.what) == ("warn", f"{hub}/503: error 503")
    late = doctor.check_hub(f"{hub}/0", False, patience=0.2)
    assert late.state == "warn"
    nobody = doctor.check_hub("http://127.0.0.1:9", False)
    assert nobody.state == "warn"
    assert nobody.what.startswith("http://127.0.0.1:9: ")


def test_hub_is_not_asked_when_offline():
    found = doctor.check_hub("http://127.0.0.1:9", True)
    assert (found.state, found.what.partition(" is")[0]) == ("ok", "HF_HUB_OFFLINE")


def test_token_is_never_shown():
    found = doctor.check_token("hf_secret")
    assert found.state == "ok"
    assert "secret" not in str(asdict(found))
    assert doctor.check_token(None).state == "warn"


# --- The command --------------------------------------------------------------------------------------------------------

WELL = Finding("Python", "ok", "3.11")
WORSE = Finding("token", "warn", "none", "`hf auth login`")
WORST = Finding("disk", "fail", "full", "free some")


@pytest.mark.parametrize(("findings", "code"), [([WELL], 0), ([WELL, WORSE], 0), ([WELL, WORST, WORSE], 1)])
def test_a_line_a_check_and_the_exit_code(findings: list, code: int, monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.setattr(doctor, "findings", lambda: iter(findings))
    lines = {WELL: "ok    Python: 3.11", WORSE: "warn  token: none  (`hf auth login`)", WORST: "fail  disk: full  (free some)"}
    for arguments in (["doctor"], ["doctor", "--json"]):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == code
        out, error = capsys.readouterr()
        assert error == ""
        if arguments == ["doctor"]:
            assert out.splitlines() == [lines[finding] for finding in findings]
        else:
            assert json.loads(out) == [asdict(finding) for finding in findings]


@pytest.mark.slow
def test_this_machine():
    """As it is given, on a machine without a GPU and without a hub."""
    ended = run_command(["recipes", "doctor", "--json"], HF_TOKEN="hf_secret")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stderr == ""
    assert "secret" not in ended.stdout
    found = {finding["check"]: finding["state"] for finding in json.loads(ended.stdout)}
    assert list(found)[:5] == ["Python", "packages", "versions", "GPUs", "all-reduce"]
    assert list(found)[5:] == ["compiler", "operators", "shared memory", "disk", "cache", "hub", "token", "trackers"]
    assert {found["Python"], found["packages"], found["all-reduce"], found["disk"], found["token"]} <= {"ok", "warn"}


def test_version_and_its_mistakes(capsys):
    for arguments, expected in {"--version": 0, "--verson": 2, "doctor --jsn": 2, "doctor now": 2}.items():
        with pytest.raises(SystemExit) as ended:
            main(arguments.split())
        assert ended.value.code == expected
        out, error = capsys.readouterr()
        if expected:
            assert error.startswith("error: ")
            assert (out, error.count("\n")) == ("", 1)
        else:
            assert out.startswith("zero-recipes ")
            assert len(out.split()) == 2


@pytest.mark.parametrize(("typed", "completed"), [("recipes doc", "doctor"), ("recipes doctor --j", "--json")])
def test_the_shell_completes(typed: str, completed: str, monkeypatch: pytest.MonkeyPatch, capsys):
    for name, value in {
        "_RECIPES_COMPLETE": "complete_bash",
        "COMP_WORDS": typed,
        "COMP_CWORD": len(typed.split()) - 1,
    }.items():
        monkeypatch.setenv(name, str(value))
    with pytest.raises(SystemExit) as ended:
        main([])
    assert (ended.value.code, capsys.readouterr().out.split()) == (0, [completed])
