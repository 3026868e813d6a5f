"""Long work is never silent: lines in a file, a bar on a terminal, and nothing of either where there is news anyway."""

import os
import pty
import re
import subprocess
import sys
import time
from pathlib import Path

from common import progress
from common.errors import say
from common.progress import doing, idle, working

import pytest
from conftest import run_command


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(progress, "EVERY", 0.4)
    yield
    idle()


def test_a_file_gets_a_line_when_there_was_none(capsys: pytest.CaptureFixture[str]):
    doing("loading")
    with working("reading rows", total=200) as advance:
        advance(50)
        time.sleep(1.1)
    idle()
    lines = capsys.readouterr().out.splitlines()
    assert 1 <= len(lines) <= 2
    assert re.fullmatch(r"\.\.\. reading rows 50/200, \d s, about \d s left", lines[0])
    time.sleep(0.7)
    assert capsys.readouterr().out == "", "it is over"


def test_news_take_its_place(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(progress, "EVERY", 1.5)  # far from the time between two lines: other tests take the cores
    doing("loading")
    with working("reading rows"):
        for number in range(8):
            say(f"line {number}")
            time.sleep(0.3)
    assert capsys.readouterr().out.splitlines() == [f"line {number}" for number in range(8)]


def test_the_innermost_work_is_said_and_a_part_goes_on(capsys: pytest.CaptureFixture[str]):
    doing("training", total=10, done=3)
    with working("measuring"):
        time.sleep(0.9)
        assert "... measuring, " in capsys.readouterr().out
    doing("training", total=10, done=4)
    time.sleep(0.9)
    assert re.search(r"\.\.\. training 4/10, \d s, about \d+ s left", capsys.readouterr().out)


def test_outside_a_part_nothing_is_said(capsys: pytest.CaptureFixture[str]):
    with working("answering"):
        time.sleep(0.9)
    assert capsys.readouterr().out == "", "a chat may write into a pipe"


def test_another_process_says_nothing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setenv("RANK", "1")
    doing("loading")
    with working("reading rows"):
        time.sleep(0.9)
    assert capsys.readouterr().out == ""


def test_a_terminal_gets_a_bar_that_makes_room():
    script = """
import time
from pathlib import Path
from common.errors import say
from common.progress import idle, doing, working
doing("loading")
with working("reading rows", total=4) as advance:
    advance(2)
    time.sleep(2)
    say("news")
idle()
"""
    master, slave = pty.openpty()
    process = subprocess.Popen([sys.executable, "-c", script], stdout=slave, env={**os.environ, "TERM": "xterm"})
    os.close(slave)
    shown = b""
    while True:
        try:
            part = os.read(master, 4096)
        except OSError:  # its end
            break
        if not part:
            break
        shown += part
    os.close(master)
    assert process.wait() == 0
    text = shown.decode()
    assert "reading rows [############............] 2/4, about " in text
    assert text.endswith("\r\x1b[Knews\r\n")


def test_a_script_of_a_recipe_is_not_silent_while_it_imports(tmp_path: Path):
    script = "import time, common.progress as progress; progress.EVERY = 0.2; import common.run; time.sleep(1)"
    for name, is_said in {"train_accelerate.py": True, "evaluate.py": True, "chat.py": False}.items():
        (tmp_path / name).write_text(script)
        shown = run_command([sys.executable, str(tmp_path / name)])
        assert ("... importing the libraries, " in shown.stdout) == is_said, shown.stderr
