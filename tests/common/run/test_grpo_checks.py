"""The sizes that the batch check names are sizes that work, and there are none nearer."""

import re
from argparse import Namespace
from contextlib import suppress

from common.run.grpo import check_generation_batch

import pytest


def settings(**values: int) -> Namespace:
    defaults = {
        "per_device_train_batch_size": 8,
        "num_generations": 8,
        "gradient_accumulation_steps": 1,
        "steps_per_generation": None,
        "generation_batch_size": None,
    }
    return Namespace(**defaults | values)


def complaint(values: Namespace, world_size: int, capsys: pytest.CaptureFixture[str]) -> str:
    with suppress(SystemExit):
        check_generation_batch(values, world_size)
    return capsys.readouterr().err


@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize(("size", "generations"), [(20, 8), (1, 8), (7, 6), (64, 7), (0, 4)])
def test_nearest_sizes(size: int, generations: int, steps: int, world_size: int, capsys: pytest.CaptureFixture[str]):
    def works(size: int) -> bool:
        values = settings(per_device_train_batch_size=size, num_generations=generations, gradient_accumulation_steps=steps)
        return not complaint(values, world_size, capsys)

    values = settings(per_device_train_batch_size=size, num_generations=generations, gradient_accumulation_steps=steps)
    line = complaint(values, world_size, capsys)
    if size * steps * world_size % generations == 0 and size > 0:
        assert not line
        return
    assert line.count("\n") == 1
    named = [int(number) for number in re.findall(r"\d+", line.partition("nearest per_device_train_batch_size: ")[2])]
    assert all(works(number) for number in named)
    assert not any(works(number) for number in range(min(*named, size) + (min(named) < size), max(named)))


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_nearest_generation_batch_sizes(world_size: int, capsys: pytest.CaptureFixture[str]):
    values = settings(per_device_train_batch_size=12, generation_batch_size=100, num_generations=8)
    line = complaint(values, world_size, capsys)
    named = [int(number) for number in re.findall(r"\d+", line.partition("nearest: ")[2])]
    for number in named:
        assert number % 8 == 0
        assert number % (12 * world_size) == 0
    assert named[-1] > 100


def test_one_completion_cannot_be_compared(capsys: pytest.CaptureFixture[str]):
    line = complaint(settings(num_generations=1), 1, capsys)
    assert line == "error: num_generations is 1: GRPO compares the completions of a prompt, so it needs at least 2\n"
