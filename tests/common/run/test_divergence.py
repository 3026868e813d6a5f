"""A loss that leaps, and trackers that fail."""

import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

from common.run import trackers
from common.run.divergence import DivergenceGuard
from common.run.trackers import survive

import pytest
import torch
from transformers import TrainingArguments
from transformers.integrations import TensorBoardCallback
from transformers.trainer_callback import CallbackHandler, TrainerControl, TrainerState


def guard(folder: Path, stop_on_spike: bool) -> DivergenceGuard:
    tokenizer = SimpleNamespace(pad_token_id=0, decode=lambda ids: str(ids.tolist()))
    args = SimpleNamespace(output_dir=str(folder), device="cpu", fp16=False)
    found = DivergenceGuard(MagicMock(args=args, processing_class=SimpleNamespace(tokenizer=tokenizer)), stop_on_spike)
    found.batches = [{"input_ids": torch.tensor([[5, 6, 0]])}]
    return found


def test_a_leap_of_the_loss_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    watched = guard(tmp_path, stop_on_spike=False)
    watched.look_for_spike(12, [1.0] * 11 + [9.0])
    watched.look_for_spike(3, [1.0, 1.0, 90.0])
    assert capsys.readouterr().out == ""
    watched.look_for_spike(12, [1.0] * 11 + [11.0])
    assert "the loss has leapt to 11, 11 times its running median 1;" in capsys.readouterr().out


def test_a_leap_of_the_loss_stops_if_asked_to(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit, match="2"):
        guard(tmp_path, stop_on_spike=True).look_for_spike(12, [1.0] * 11 + [11.0])
    assert f"the batch is in {tmp_path}/diverged-step-12.jsonl" in capsys.readouterr().err
    assert (tmp_path / "diverged-step-12.jsonl").read_text() == '{"process": 0, "input_ids": "[5, 6]"}\n'


def test_a_tracker_that_fails_does_not_end_the_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    class Failing(TensorBoardCallback):
        def __init__(self):
            self.calls = 0

        def on_log(self, *args, **kwargs):
            self.calls += 1
            raise ConnectionError("no route to host")

    failing, args = Failing(), TrainingArguments(output_dir=str(tmp_path), report_to="none", use_cpu=True)
    handler = CallbackHandler([failing], None, None, None, None)
    survive(SimpleNamespace(args=SimpleNamespace(report_to=["tensorboard"]), callback_handler=handler))
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
    silent: bool, mode: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    server = HTTPServer(("127.0.0.1", 0), NotFound)  # it takes connections, and answers them once it serves
    if not silent:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    settings = SimpleNamespace(mode="online", base_url=url, wandb_dir="wandb/")
    found = [settings]
    wandb = SimpleNamespace(
        setup=lambda settings=None: SimpleNamespace(settings=found.append(settings) or found[0]),
        Settings=SimpleNamespace,
    )
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    monkeypatch.setattr(trackers, "PATIENCE", 0.5)
    began = time.monotonic()
    survive(SimpleNamespace(args=SimpleNamespace(report_to=["wandb"]), callback_handler=SimpleNamespace(callbacks=[])))
    assert time.monotonic() - began < 5
    line = f"warning: wandb: {url} does not answer; the run is logged in wandb/, for `wandb sync`\n"
    assert capsys.readouterr().out == (line if silent else "")
    assert (found[-1].mode if found[-1] else "online") == mode
    if not silent:
        server.shutdown()
    server.server_close()
