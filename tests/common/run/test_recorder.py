"""When the held-out rows are measured."""

import json
from pathlib import Path
from types import SimpleNamespace

from common.run.recorder import Recorder

import pytest
from transformers import TrainerControl, TrainerState, TrainingArguments


@pytest.mark.parametrize("eval_strategy", ["no", "steps"])
@pytest.mark.parametrize(("eval_steps", "measured"), [(2, [0, 2, 4, 5]), (5, [0, 5]), (1000, [0, 5])])
def test_eval_steps_alone_says_when(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], eval_strategy: str, eval_steps: int, measured: list[int]
):
    """`eval_strategy` is about the validation loss; with `eval_steps` after the last step only start and end are measured."""
    args = TrainingArguments(str(tmp_path), eval_strategy=eval_strategy, eval_steps=eval_steps, use_cpu=True, report_to="none")
    trainer = SimpleNamespace(
        args=args,
        accelerator=SimpleNamespace(is_main_process=True),
        model_wrapped=None,
        callback_handler=SimpleNamespace(callbacks=[]),
    )
    accuracy = {"value": 0.5, "low": 0.1, "high": 0.9, "count": 2}  # of a part of the set
    result = {"held_out": {"count": 4, "metrics": {"accuracy": accuracy, "length": 3.5}, "samples": []}}
    recorder = Recorder(trainer, lambda model: result, {})
    state, control = TrainerState(max_steps=5), TrainerControl()
    recorder.on_train_begin(args, state, control)
    for state.global_step in range(1, 6):
        recorder.on_step_end(args, state, control)
    recorder.on_train_end(args, state, control)
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == measured
    assert rows[0]["metrics"] == {"accuracy": accuracy, "length": {"value": 3.5}}
    assert "step    0  held_out accuracy 50.0% [10.0%, 90.0%] on 2, 0 s" in capsys.readouterr().out.splitlines()


def test_what_is_no_number_is_json(tmp_path: Path):
    trainer = SimpleNamespace(
        args=TrainingArguments(str(tmp_path), use_cpu=True, report_to="none"), accelerator=SimpleNamespace(is_main_process=True)
    )
    row = {"loss": float("nan"), "metrics": {"loss": {"value": float("nan"), "low": 0.5}}, "matrix": [[float("inf"), 1.0]]}
    Recorder(trainer, lambda model: {}, {}).append("metrics.jsonl", row)
    expected = {"loss": None, "metrics": {"loss": {"value": None, "low": 0.5}}, "matrix": [[None, 1.0]]}
    assert json.loads((tmp_path / "metrics.jsonl").read_text(), parse_constant=pytest.fail) == expected
