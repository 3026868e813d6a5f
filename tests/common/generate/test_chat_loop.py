"""The loop of a chat: what is a turn, what is kept, and what stands on a terminal."""

import io
import subprocess
import sys
from pathlib import Path

from common.generate.chat import chat_parser, talk

import pytest
from conftest import ROOT, command_env

SYSTEM = {"role": "system", "content": "Be brief."}


class Terminal(io.StringIO):
    """Standard input as a terminal."""

    def isatty(self) -> bool:
        return True


def chat(monkeypatch: pytest.MonkeyPatch, stdin: io.StringIO, **options) -> list[list[str]]:
    """Returns the conversations that `reply` was given, as texts; it answers with the number of messages."""
    given = []

    def reply(messages: list[dict]) -> None:
        given.append([message["content"] for message in messages])
        messages.append({"role": "assistant", "content": str(len(messages))})

    monkeypatch.setattr(sys, "stdin", stdin)
    talk(reply, **options)
    return given


def test_each_line_is_a_turn_and_begins_anew(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    given = chat(monkeypatch, io.StringIO("  one \n\n   \n/new\ntwo\nthree"), start=[SYSTEM])
    assert given == [["Be brief.", "one"], ["Be brief.", "two"], ["Be brief.", "three"]]
    assert capsys.readouterr().out == ""  # into a pipe goes only what is answered


def test_history_goes_on_until_new(monkeypatch: pytest.MonkeyPatch):
    given = chat(monkeypatch, io.StringIO("one\ntwo\n/new\nthree\n"), history=True, start=[SYSTEM])
    assert given == [["Be brief.", "one"], ["Be brief.", "one", "2", "two"], ["Be brief.", "three"]]


def test_a_recipes_own_commands_are_no_turns(monkeypatch: pytest.MonkeyPatch):
    called = []
    given = chat(monkeypatch, io.StringIO("one\n/think  French \n/think\n/thinking\ntwo\n"), commands={"/think": called.append})
    assert called == ["French", ""]
    assert given == [["one"], ["/thinking"], ["two"]]


def test_on_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    chat(monkeypatch, Terminal("one\n"), history=True, hint="Tools: none.", prompt="Say: ")
    assert capsys.readouterr().out == "Tools: none. /new starts over, Ctrl-D ends.\nSay: Say: \n"
    chat(monkeypatch, Terminal(""))
    assert capsys.readouterr().out == "Ctrl-D ends.\n> \n"


def test_ctrl_c_ends_it_while_it_answers(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    def reply(messages: list[dict]) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sys, "stdin", Terminal("one\ntwo\n"))
    talk(reply)
    assert capsys.readouterr().out == "Ctrl-D ends.\n> \n"


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ("--temperature -1", "--temperature is -1; use 0 for the likeliest token, or a number above 0"),
        ("--temperature nan", "--temperature is nan; use 0 for the likeliest token, or a number above 0"),
        ("--temperature inf", "--temperature is inf; use 0 for the likeliest token, or a number above 0"),
        ("--temperature hot", "--temperature is hot; use 0 for the likeliest token, or a number above 0"),
        ("--max_new_tokens 0", "--max_new_tokens is 0; use at least 1"),
        ("--max_new_tokens 1.5", "--max_new_tokens is 1.5; use at least 1"),
        ("--temp 1", "unrecognized arguments: --temp 1; `recipes chat RUN --help` lists the options"),
    ],
)
def test_mistakes_in_the_options(capsys: pytest.CaptureFixture[str], options: str, line: str):
    with pytest.raises(SystemExit) as ended:
        chat_parser("A chat.").parse_args(["run", *options.split()])
    assert ended.value.code == 2
    assert capsys.readouterr().err == f"error: {line}\n"


def test_mistakes_are_answered_before_the_libraries_are_imported():
    """In every recipe; one process for all of them."""
    chats = [*sorted(ROOT.glob("recipes/*/chat.py")), ROOT / "common" / "commands" / "chat.py"]
    assert len(chats) > 1
    program = """
import runpy, sys
for chat in sys.argv[1:]:
    own, sys.argv[1:] = dict(sys.modules), ["no_such_run", "--temperature", "-1"]
    sys.path.insert(0, chat.rpartition("/")[0])
    try:
        runpy.run_path(chat, run_name="__main__")
    except SystemExit as ended:
        print(ended.code, [name for name in ("peft", "trl", "deepspeed", "transformers.modeling_utils") if name in sys.modules])
    sys.path.pop(0)
    for name in set(sys.modules) - set(own):
        if "." not in name and name in ("data", "metrics", "tools", "arguments", "images", "mgsm"):
            del sys.modules[name]
"""
    command = [sys.executable, "-c", program, *map(str, chats)]
    env = command_env(PYTHONPATH=str(ROOT))
    finished = subprocess.run(command, cwd=Path(ROOT), env=env, capture_output=True, text=True, timeout=120)
    assert finished.stdout.splitlines() == ["2 []"] * len(chats), finished.stderr
