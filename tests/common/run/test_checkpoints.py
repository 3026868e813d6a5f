"""Which checkpoint a run continues from."""

import os
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace

from common.data.runs import COMPLETE, checkpoint_steps, damage, newest_complete_checkpoint
from common.run.checkpoints import choose_checkpoint, copy_what_is_trained, loadable, mark, mark_for, rotate, size_of_checkpoint

import pytest
import torch
from accelerate import PartialState
from forks import fork_one_of_two
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, Qwen3MoeConfig, Trainer, TrainingArguments, set_seed


def checkpoint(folder: Path, step: int, complete: bool) -> Path:
    path = folder / f"checkpoint-{step}"
    path.mkdir(parents=True)
    if complete:
        (path / COMPLETE).touch()
    return path


def test_torn_checkpoints_are_passed_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    checkpoint(tmp_path, 8, True)
    newest = checkpoint(tmp_path, 10, True)
    torn = checkpoint(tmp_path, 12, False)
    (tmp_path / "checkpoint-final").mkdir()
    assert newest_complete_checkpoint(tmp_path) == newest
    assert capsys.readouterr().out.splitlines() == [
        f"{torn} is incomplete (the run was stopped while it was written): passing over it."
    ]
    assert torn.exists()


def test_without_a_complete_one_a_run_starts_anew(tmp_path: Path):
    assert newest_complete_checkpoint(tmp_path / "none") is None
    checkpoint(tmp_path, 2, False)
    assert newest_complete_checkpoint(tmp_path) is None


@pytest.mark.parametrize(
    ("limit", "best", "kept"),
    [
        (None, None, [2, 4, 6, 8]),
        (1, None, [8]),
        (2, None, [4, 8]),
        (1, "x/checkpoint-2", [2, 8]),
        (3, "x/checkpoint-2", [2, 4, 8]),
    ],
)
def test_the_oldest_are_removed(tmp_path: Path, limit: int | None, best: str | None, kept: list[int]):
    for step, complete in ((2, True), (4, True), (6, False), (8, True)):
        checkpoint(tmp_path, step, complete)
    rotate(tmp_path, 8, limit, best)
    assert sorted(checkpoint_steps(tmp_path)) == kept


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (lambda part: None, None),
        (lambda part: part.unlink(), "is damaged (state.pt is missing)"),
        (lambda part: part.write_bytes(b""), "is damaged (state.pt has 0 bytes instead of 1000)"),
        (lambda part: part.write_bytes(bytes(500) + b"\1" + bytes(499)), "is damaged (state.pt is not what was written)"),
        (lambda part: (part.parent / COMPLETE).write_text('{"0": {'), "is damaged (its mark cannot be read)"),
        (lambda part: (part.parent / COMPLETE).write_text(""), None),  # of 0.1.0, which kept no sums
    ],
)
def test_damage_is_found(tmp_path: Path, fault: Callable[[Path], None], said: str | None):
    part = checkpoint(tmp_path, 2, False) / "state.pt"
    part.write_bytes(bytes(1000))
    mark(part.parent, rank=0)
    fault(part)
    assert damage(part.parent) == said
    assert newest_complete_checkpoint(tmp_path) == (part.parent if said is None else None)


def write_choice(folder: Path, rank: int) -> None:
    """Chooses as one of two processes, and writes what it has chosen."""
    PartialState(cpu=True)
    (folder / f"{rank}").write_text(str(choose_checkpoint(folder, rank)))


def test_all_processes_continue_from_the_same_checkpoint(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    """Also where one of them alone sees that the newest is damaged: each looks at what it has written."""
    for step in (2, 4):
        folder = checkpoint(tmp_path, step, False)
        for rank in range(2):
            (folder / f"rng_state_{rank}.pth").write_bytes(bytes(100))
        mark_for(folder, 2)
    (tmp_path / "checkpoint-4/rng_state_1.pth").write_bytes(b"\1" * 100)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    workers = [fork_one_of_two(rank, port, partial(write_choice, tmp_path, rank)) for rank in range(2)]
    assert [os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1]) for worker in workers] == [0, 0]
    assert [(tmp_path / name).read_text() for name in "01"] == [str(tmp_path / "checkpoint-2")] * 2
    line = f"{tmp_path}/checkpoint-4 is damaged (rng_state_1.pth is not what was written): passing over it."
    assert capfd.readouterr().out.splitlines() == [line]


# --- Weights that are saved under other names than they have in memory ----------------------------------------------------

SIZES = {"hidden_size": 16, "moe_intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "head_dim": 8}
SIZES |= {"num_key_value_heads": 1, "num_experts": 2, "num_experts_per_tok": 1, "vocab_size": 32, "pad_token_id": 0}


def train_experts(folder: Path, resume: Path | None = None, **settings) -> dict[str, torch.Tensor]:
    """Trains a mixture of experts for three steps, without DeepSpeed, and returns its weights."""
    set_seed(0)
    rows = [{"input_ids": row, "labels": row} for row in torch.randint(1, 32, (12, 8)).tolist()]
    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=3,
        save_steps=1,
        per_device_train_batch_size=4,
        learning_rate=0.1,
        use_cpu=True,
        report_to="none",
        disable_tqdm=True,
        **settings,
    )
    model = AutoModelForCausalLM.from_config(Qwen3MoeConfig(**SIZES))
    trainer = Trainer(model, arguments, train_dataset=rows, eval_dataset=rows)
    with loadable(trainer):
        trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    trainer.save_model(str(folder / "final"))
    return {name: weight.clone() for name, weight in model.state_dict().items()}


def test_experts_are_found_again_in_a_checkpoint(tmp_path: Path):
    whole = train_experts(tmp_path / "whole")
    resumed = train_experts(tmp_path / "resumed", tmp_path / "whole" / "checkpoint-1")
    assert all(weight.equal(resumed[name]) for name, weight in whole.items())
    # The model that is kept has the names of the hub.
    assert "model.layers.0.mlp.experts.0.gate_proj.weight" in load_file(tmp_path / "whole" / "final" / "model.safetensors")


def test_the_best_experts_are_the_best(tmp_path: Path):
    """Of three evaluations the first one is taken for the best: its loss is the highest."""
    best = {"load_best_model_at_end": True, "metric_for_best_model": "eval_loss", "greater_is_better": True}
    kept = train_experts(tmp_path, eval_strategy="steps", eval_steps=1, **best)
    losses = [AutoModelForCausalLM.from_pretrained(tmp_path / f"checkpoint-{step}").state_dict() for step in (1, 3)]
    assert all(weight.equal(losses[0][name]) for name, weight in kept.items())
    assert not all(weight.equal(losses[1][name]) for name, weight in kept.items())


# --- What is copied when adapters are saved -------------------------------------------------------------------------------


def state_of(model: torch.nn.Module, stage: int, should_save: bool = True) -> dict[str, torch.Tensor]:
    """What a trainer is given to save under a stage; accelerate's own function gives all the weights as "accelerate's"."""
    arguments = SimpleNamespace(deepspeed_plugin=SimpleNamespace(zero_stage=stage), should_save=should_save)
    accelerator = SimpleNamespace(unwrap_model=lambda engine: engine, get_state_dict=lambda engine: "accelerate's")
    copy_what_is_trained(SimpleNamespace(args=arguments, accelerator=accelerator))
    return accelerator.get_state_dict(model)


def test_what_is_frozen_is_not_copied_to_be_saved():
    model = torch.nn.ModuleDict({"base": torch.nn.Linear(4, 4), "lora": torch.nn.Linear(4, 2)})
    model["base"].requires_grad_(False)
    state = state_of(model, stage=2)
    assert all(state[name].equal(weight) for name, weight in model.state_dict().items())
    copied = [name for name, weight in model.state_dict().items() if state[name].data_ptr() != weight.data_ptr()]
    assert copied == ["lora.weight", "lora.bias"]


def test_a_process_that_saves_nothing_copies_nothing():
    assert state_of(torch.nn.Linear(4, 4), stage=2, should_save=False) == {}


def test_stage_3_gathers_by_itself():
    assert state_of(torch.nn.Linear(4, 4), stage=3) == "accelerate's"


def test_what_is_frozen_is_saved_unless_it_is_a_base_model():
    model = torch.nn.Sequential(torch.nn.Linear(10, 10, bias=False), torch.nn.Linear(10, 2, bias=False, dtype=torch.bfloat16))
    model[0].requires_grad_(False)
    assert size_of_checkpoint(model, sharded=True) == 100 * 4 + 20 * (2 + 12)
    model.peft_config = {}
    assert size_of_checkpoint(model, sharded=False) == 20 * (2 + 8)
