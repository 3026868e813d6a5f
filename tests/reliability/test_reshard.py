"""An interrupted run goes on with another number of processes: 2, then 1, then 2 again, its losses those of 2 all along.

python -m pytest tests/reliability/test_reshard.py -m "slow or not slow" -s    # prints the differences
"""

import json
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from campaign import Setting, write_configs
from forks import Run, Server, serving, wait_for
from safetensors.torch import load_file

from common.commands.main import main

STEPS = 12
SMALL = (
    f"--max_steps {STEPS} --save_steps 4 --eval_steps 4 --logging_steps 1 --num_held_out 4 --dataloader_num_workers 0".split()
)
# Weights that decay and weights that do not; of three evaluations the first is the best, so that the weights that are saved at
# the end are those of a checkpoint from before both conversions.
SFT = "--per_device_train_batch_size 16 --num_train 160 --weight_decay 0.1 --metric_for_best_model eval_loss".split()
SFT += "--greater_is_better true --warmup_steps 2".split()
LORA = ("--use_peft", "true", "--lora_target_modules", "all-linear")
BF16 = ("--bf16", "true")
UNEVEN = ("--num_train", "150")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("output")) as server:
        yield server


@pytest.fixture(scope="session")
def configs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("configs")
    write_configs(folder)
    one = json.loads((folder / "zero2.json").read_text())
    one["zero_optimization"]["stage"] = 1
    (folder / "zero1.json").write_text(json.dumps(one))
    return folder


@pytest.fixture
def start(server: Server, configs: Path) -> Callable[..., Run]:
    """Starts a run of a setting on so many processes."""

    def start(output_dir: Path, setting: Setting, num_processes: int, *more: str) -> Run:
        command = [*setting.command(output_dir, configs), *SMALL, *(SFT if setting.recipe == "sft_instruct" else [])]
        return server.start(*command, *setting.more, *more, num_processes=num_processes, launched=num_processes > 1)

    return start


def until(step: int, run: Run, output_dir: Path) -> None:
    """Kills a run once it has saved a step."""
    wait_for((output_dir / f"checkpoint-{step}/complete").exists, run)
    run.send(signal.SIGKILL)
    run.wait()
    for later in output_dir.glob("checkpoint-*"):  # what it has begun before it died
        if int(later.name.split("-")[1]) > step:
            shutil.rmtree(later)


def finish(run: Run) -> str:
    assert not any(run.wait(300)), run.text()
    return run.text()


def recipes(*words: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    return ended.value.code


def values(output_dir: Path, name: str) -> dict[int, float]:
    rows = map(json.loads, (output_dir / "metrics.jsonl").read_text().splitlines())
    return {row["step"]: row[name] for row in rows if name in row}


def largest_difference(one: dict[int, float], other: dict[int, float]) -> float:
    assert one.keys() == other.keys() == set(range(1, STEPS + 1))
    return max(abs(one[step] - other[step]) for step in one)


def difference_of_weights(one: Path, other: Path) -> float:
    differences = []
    for path in one.glob("*.safetensors"):
        weights, others = load_file(path), load_file(other / path.name)
        assert weights.keys() == others.keys()
        differences += [(weights[name].float() - others[name].float()).abs().max().item() for name in weights]
    return max(differences)


def two_one_two(start: Callable[..., Run], setting: Setting, folder: Path, *on_one: str) -> tuple[Path, Path]:
    """Trains four steps on two processes, four on one, four on two.

    Returns:
        The run that nobody interrupted, and the last of the three.
    """
    whole, first, second, third = (folder / name for name in ("whole", "first", "second", "third"))
    finish(start(whole, setting, 2))
    until(4, start(first, setting, 2), first)
    before = {path: path.read_bytes() for path in first.rglob("*") if path.is_file()}
    assert recipes("reshard", first, "--num_processes", 1, "--output_dir", second, *on_one) == 0
    assert {path: path.read_bytes() for path in first.rglob("*") if path.is_file() and path.name != ".lock"} == {
        path: content for path, content in before.items() if path.name != ".lock"
    }
    until(8, start(second, setting, 1, *on_one), second)
    back = [word for name, word in zip(on_one, ("16", "1"), strict=False) if name.startswith("--") for word in (name, word)]
    assert recipes("reshard", second, "--num_processes", 2, "--output_dir", third, *back) == 0
    text = finish(start(third, setting, 2))
    assert f"Continuing from {third / 'checkpoint-8'}." in text
    return whole, third


@pytest.mark.parametrize(
    ("stage", "more", "on_one", "losses_within"),
    [
        pytest.param(3, (), ("--gradient_accumulation_steps", "2"), 1e-5, id="zero3"),
        pytest.param(2, (), ("--per_device_train_batch_size", "32"), 1e-5, id="zero2", marks=pytest.mark.slow),
    ],
)
def test_two_one_two(start, tmp_path: Path, stage: int, more: tuple[str, ...], on_one: tuple[str, ...], losses_within: float):
    whole, third = two_one_two(start, Setting("sft_instruct", stage, 2, more), tmp_path, *on_one)
    losses = largest_difference(values(whole, "loss"), values(third, "loss"))
    validation = values(whole, "eval_loss"), values(third, "eval_loss")
    evaluations = max(abs(validation[0][step] - validation[1][step]) for step in validation[0])
    weights = difference_of_weights(whole, third)
    print(f"\nZeRO-{stage} {' '.join(more)}  {losses:.1e}  {evaluations:.1e}  {weights:.1e}  {values(whole, 'loss')}")
    assert losses <= losses_within
