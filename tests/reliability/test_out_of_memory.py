"""A GPU that is out of memory ends the run in one line that says what to do; one that will be is announced."""

import sys
from pathlib import Path
from types import SimpleNamespace

from common.run import memory

import pytest
import torch
from forks import Server
from trl import ModelConfig

OUT_OF_MEMORY = (
    "CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of 79.19 GiB of which 1.0 GiB is free."
)
# In one of the ranks an update asks for more than there is.
FIRST = f"""
import os
import torch
import transformers
from common.run import memory

memory.gpu_gib = lambda: 0.5
step = transformers.Trainer.training_step

def training_step(self, *args, **kwargs):
    if self.state.global_step == 1 and os.environ["RANK"] == "{{rank}}":
        raise torch.OutOfMemoryError("{OUT_OF_MEMORY}")
    return step(self, *args, **kwargs)

transformers.Trainer.training_step = training_step
"""
SHORT = "--max_steps 3 --num_train 64 --num_held_out 4 --eval_strategy no --load_best_model_at_end false"
SHORT += " --early_stopping_patience 0"
SFT = f"recipes/sft_instruct/train.py --deepspeed accelerate_configs/ds_zero3.json {SHORT}".split()


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_one_rank_out_of_memory_ends_both(rank: int, server: Server, tmp_path: Path):
    (tmp_path / "first.py").write_text(FIRST.format(rank=rank))
    run = server.start(*SFT, "--output_dir", str(tmp_path / "run"), num_processes=2, FIRST=str(tmp_path / "first.py"))
    codes = run.wait(timeout=100)
    said = run.text()
    assert None not in codes, said
    assert 0 not in codes, said
    assert "Traceback" not in said
    line = next(line for line in said.splitlines() if line.startswith("error: the GPU"))
    assert line.startswith("error: the GPU is out of memory in the forward pass of step 2: 2.50 GiB more were asked for, and ")
    assert said.count("This run is planned to need") == 1
    assert said.index("This run is planned to need") < said.index("step    0")
    assert "planned were" in line
    assert said.count("error: ") == 2
    assert "error: another process has ended" in said


def arguments(**settings: object) -> tuple[SimpleNamespace, ModelConfig]:
    values = {"per_device_train_batch_size": 4, "max_length": 4096, "activation_checkpointing": True}
    plugin = SimpleNamespace(deepspeed_config={"zero_optimization": {"stage": 2}})
    args = SimpleNamespace(deepspeed_plugin=plugin, world_size=1, run_values=values | settings, per_device_eval_batch_size=16)
    args.per_device_train_batch_size = args.run_values["per_device_train_batch_size"]
    return args, ModelConfig(model_name_or_path="Qwen/Qwen3-0.6B")


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(memory, "gpu_gib", lambda: 8.0)


@pytest.mark.usefixtures("card")
def test_a_run_that_will_not_fit_is_told_so_before_it_loads(capsys: pytest.CaptureFixture[str]):
    memory.check_memory(*arguments())
    said = capsys.readouterr().out
    assert said.startswith("This run is planned to need 13.")
    assert "and the GPU has 8.0" in said
    assert said.index("--use_peft true") < said.index("accelerate_configs/zero2_offload.yaml")
    assert said.count("\n") == 1
    memory.check_memory(*arguments(use_peft=True))
    assert capsys.readouterr().out == ""


def test_an_optimizer_in_8_bits_is_refused_more_numbers_than_it_counts(monkeypatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr(memory, "gpu_gib", lambda: 80.0)
    args, _ = arguments(optim="adamw_bnb_8bit")
    model_args = ModelConfig(model_name_or_path="meta-llama/Llama-3.2-3B-Instruct")
    with pytest.raises(SystemExit):
        memory.check_memory(args, model_args)
    line = capsys.readouterr().err
    assert line.startswith("error: optim adamw_bnb_8bit: ZeRO-2 updates a process's 3.2 billion weights as one tensor")
    assert "zero3.yaml" in line
    monkeypatch.setattr(memory, "gpu_gib", lambda: 40.0)
    memory.check_memory(arguments()[0], model_args)  # too large as it is, and no cure is named that would be refused
    said = capsys.readouterr().out
    assert "--use_peft true" in said
    assert "8bit" not in said
    monkeypatch.setattr(memory, "gpu_gib", lambda: 80.0)
    args.world_size = 2
    memory.check_memory(args, model_args)
    args.world_size, args.deepspeed_plugin.deepspeed_config["zero_optimization"]["stage"] = 1, 3
    memory.check_memory(args, model_args)
    assert capsys.readouterr().out == ""


def test_without_a_gpu_nothing_is_said(capsys: pytest.CaptureFixture[str]):
    memory.check_memory(*arguments())
    assert capsys.readouterr().out == ""


@pytest.mark.usefixtures("card")
def test_where_memory_ran_out_is_said():
    def backward() -> None:
        raise torch.OutOfMemoryError(OUT_OF_MEMORY)

    def evaluate() -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    for function, phase in ((backward, "the backward pass: 2.50 GiB more were asked for"), (evaluate, "evaluating")):
        try:
            function()
        except torch.OutOfMemoryError as error:
            line = memory.describe(error, sys.exc_info()[2], *arguments())
        assert f"the GPU is out of memory in {phase}" in line
        assert "and it has 8.0 GiB" in line
        assert "\n" not in line
    assert "--per_device_eval_batch_size 8" in line


def test_other_errors_keep_their_traceback(monkeypatch: pytest.MonkeyPatch):
    seen = []
    monkeypatch.setattr(sys, "excepthook", lambda *error: seen.append(error[0]))
    memory.end_in_one_line(*arguments())
    sys.excepthook(ValueError, ValueError("wrong"), None)
    assert seen == [ValueError]


@pytest.mark.gpu
def test_a_real_gpu_that_is_given_little_says_what_to_do(tmp_path: Path):
    from conftest import accelerate, run_command

    first = "import runpy, sys, torch; torch.cuda.set_per_process_memory_fraction(0.002); sys.argv = sys.argv[1:]; "
    first += "sys.path.insert(0, 'recipes/sft_instruct'); runpy.run_path(sys.argv[0], run_name='__main__')"
    (tmp_path / "little.py").write_text(first)
    command = accelerate(str(tmp_path / "little.py"), SFT[0], *SHORT.split(), "--config", "tiny.yaml", config="zero2")
    run = run_command([*command, "--output_dir", str(tmp_path / "run")], CUDA_VISIBLE_DEVICES="0")
    assert run.returncode != 0
    ours, _, launcher = run.stderr.partition("Traceback (most recent call last)")
    assert "error: the GPU is out of memory in" in ours
    assert "OutOfMemoryError" not in launcher
