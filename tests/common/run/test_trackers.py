"""Trackers: a run that is continued is one run there, and one that fails does not end the training."""

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace

from common.run import wandb_run
from common.run.record import write_record
from common.run.trackers import Tracker, set_up

import pytest
import wandb
from transformers import TrainingArguments
from transformers.integrations import TensorBoardCallback, WandbCallback
from transformers.trainer_callback import CallbackHandler, TrainerControl, TrainerState

SCRIPT = "recipes/sft_instruct/train.py"


def training_args(folder: Path, *report_to: str) -> TrainingArguments:
    args = TrainingArguments(output_dir=str(folder), report_to=list(report_to) or "none", use_cpu=True)
    args.run_values = {"model_name_or_path": "tiny:llama", "dataset_name": "synthetic"}
    return args


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Returns a function that starts a run as a new process would, and returns its run in wandb; none if it has none."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    for name, value in {"MODE": "offline", "DIR": str(tmp_path), "SILENT": "true"}.items():
        monkeypatch.setenv(f"WANDB_{name}", value)

    def start(folder: Path, part: str | None = None, end: Callable | None = None) -> "wandb.Run | None":
        wandb.teardown()  # a process has its own settings
        write_record(SCRIPT, training_args(folder))
        args = training_args(folder / (part or ""), "wandb")
        if part:
            write_record(SCRIPT, args)
        handler = CallbackHandler([WandbCallback()], None, None, None, None)
        state, control = TrainerState(), TrainerControl()
        trainer = SimpleNamespace(args=args, callback_handler=handler, model=None, processing_class=None, state=state)
        trainer.control = control
        trackers = set_up(trainer, folder)
        handler.on_train_begin(args, state, control)
        handler.on_log(args, state, control, {"loss": 1.0})
        if end:
            end(trackers[0], trainer)
        found = wandb.run
        wandb.finish()
        return found

    yield start
    wandb.teardown()


def test_a_run_that_is_continued_is_one_run_in_wandb(start: Callable, tmp_path: Path):
    first = start(tmp_path / "run")
    again, other = start(tmp_path / "run"), start(tmp_path / "other")
    assert first.id == again.id != other.id
    assert again.settings.resume == "allow"
    assert start(tmp_path / "run", "team").id == first.id, "a part of it"
    # Of two in one second wandb numbers the second folder: offline-run-DATE_TIME-ID-1.
    assert {path.name.split("-")[3] for path in tmp_path.glob("wandb/offline-run-*")} == {first.id, other.id}


def test_project_and_run_are_named_after_recipe_and_folder(start: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    found = start(tmp_path / "run")
    assert (found.project, found.name) == ("sft_instruct", f"run-{found.id}")
    assert found.config["dataset_name"] == "synthetic"
    assert found.config["recipe"] == "sft_instruct"
    monkeypatch.setenv("WANDB_PROJECT", "mine")
    assert start(tmp_path / "run").project == "mine"


@pytest.mark.parametrize("is_asked", [False, True])
def test_samples_and_report_are_handed_over_where_that_is_asked(is_asked: bool, start: Callable, tmp_path: Path):
    folder = tmp_path / "run"

    def end(tracker: Tracker, trainer: SimpleNamespace) -> None:
        row = {"step": 0, "split": "held_out", "question": "a row of mine", "answer": "4", "completion": "5", "correct": False}
        (folder / "samples.jsonl").write_text(json.dumps(row) + "\n")
        (folder / "report.html").write_text("<p>a page of mine</p>")
        trainer.args.run_values["track_samples"] = is_asked
        tracker.end(trainer)

    start(folder, end=end)
    media = [path.read_text() for path in tmp_path.glob("wandb/offline-run-*/files/media/**/*") if path.is_file()]
    assert any("a row of mine" in text for text in media) == is_asked
    assert any("a page of mine" in text for text in media) == is_asked


def test_a_tracker_ends_when_all_is_measured(tmp_path: Path):
    class Ending(TensorBoardCallback):
        def __init__(self):
            self.events = []

        def on_log(self, *args, **kwargs):
            self.events.append("log")

        def on_train_end(self, *args, **kwargs):
            self.events.append("end")

    ending, args = Ending(), training_args(tmp_path)
    args.report_to = ["tensorboard"]
    handler = CallbackHandler([ending], None, None, None, None)
    trainer = SimpleNamespace(args=args, callback_handler=handler, model=None, processing_class=None, state=None, control=None)
    (tracker,) = set_up(trainer, tmp_path)
    handler.on_train_end(args, TrainerState(), TrainerControl())
    tracker.on_log(args, TrainerState(), TrainerControl(), logs={"eval_held_out/accuracy": 0.5})
    tracker.end(trainer)
    assert ending.events == ["log", "end"]


@pytest.mark.parametrize(
    ("given", "run_id", "resume"),
    [
        ({"RUN_ID": "mine"}, "mine", "allow"),
        ({"RUN_ID": "mine", "RESUME": "never"}, "mine", "never"),
        ({"RESUME": "must"}, None, "must"),
    ],
)
def test_the_users_own_run_of_wandb_wins(
    given: dict[str, str], run_id: str | None, resume: str, start: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    own = start(tmp_path / "run").id
    for name, value in given.items():
        monkeypatch.setenv(f"WANDB_{name}", value)
    found = start(tmp_path / "run")
    assert (found.id, found.settings.resume) == (run_id or own, resume)


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("WANDB_DISABLED", "true", "warning: report_to wandb: WANDB_DISABLED is set, so nothing is logged there\n"),
        ("WANDB_MODE", "disabled", ""),
    ],
)
def test_wandb_is_turned_off_by_the_environment(
    name: str,
    value: str,
    line: str,
    start: Callable,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.setenv(name, value)
    start(tmp_path / "run")
    assert capsys.readouterr().out == line
    assert not list(tmp_path.rglob("*.wandb"))


def test_a_tracker_that_fails_does_not_end_the_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    class Failing(TensorBoardCallback):
        def __init__(self):
            self.calls = 0

        def on_log(self, *args, **kwargs):
            self.calls += 1
            raise ConnectionError("no route to host")

    failing, args = Failing(), training_args(tmp_path)
    args.report_to = ["tensorboard"]
    handler = CallbackHandler([failing], None, None, None, None)
    set_up(SimpleNamespace(args=args, callback_handler=handler), tmp_path)
    for _ in range(2):
        handler.on_log(args, TrainerState(), TrainerControl(), {"loss": 1.0})
    assert failing.calls == 1
    assert capsys.readouterr().out == "warning: Failing has failed (no route to host); the training goes on without it\n"


class NotFound(BaseHTTPRequestHandler):
    def do_HEAD(self):
        self.send_error(404)

    def log_message(self, *args):
        return


@pytest.mark.parametrize(("silent", "mode"), [(False, "online"), (True, "offline")])
def test_a_server_that_does_not_answer_in_time_is_not_waited_for(
    silent: bool, mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    server = HTTPServer(("127.0.0.1", 0), NotFound)  # it takes connections, and answers them once it serves
    if not silent:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    settings = SimpleNamespace(mode="online", base_url=url, wandb_dir="wandb/", run_id=None, project="mine")
    found = [settings]
    wandb = SimpleNamespace(
        setup=lambda settings=None: SimpleNamespace(settings=found.append(settings) or found[0]),
        Settings=SimpleNamespace,
    )
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    monkeypatch.setattr(wandb_run, "PATIENCE", 0.5)
    began = time.monotonic()
    args = training_args(tmp_path)
    args.report_to = ["wandb"]
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    set_up(SimpleNamespace(args=args, callback_handler=SimpleNamespace(callbacks=[])), tmp_path)
    assert time.monotonic() - began < 5
    line = f"warning: wandb: {url} does not answer; the run is logged in wandb/, for `wandb sync`\n"
    assert capsys.readouterr().out == (line if silent else "")
    assert (found[-1].mode if found[-1] else "online") == mode
    assert os.environ["WANDB_PROJECT"] == "mine"
    if not silent:
        server.shutdown()
    server.server_close()
