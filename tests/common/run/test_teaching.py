"""What keeps GRPO from learning is said in a line."""

import math
from argparse import Namespace

from common.run.teaching import (
    PATIENCE,
    WatchRewards,
    check_num_prompts,
    check_positions,
    checked,
    counted_rewards,
)

import numpy as np
import pytest
import torch

PROMPTS = [[{"role": "user", "content": f"Problem {number}?"}] for number in range(3)]
COMPLETIONS = [[{"role": "assistant", "content": "1"}]] * 3


def giving(*values: object):
    def given(completions, **columns) -> list:
        return list(values)

    return given


# --- Rewards ------------------------------------------------------------------------------------------------------------


def test_truth_values_and_scalars_of_numpy_and_torch_are_numbers():
    found = checked(giving(True, np.float32(0.5), torch.tensor(2)))(prompts=PROMPTS, completions=COMPLETIONS)
    assert found == [1.0, 0.5, 2.0]
    assert {type(value) for value in found} == {float}
    tensor = checked(lambda completions, **columns: torch.tensor([0.0, 1.0, 2.0]))(prompts=PROMPTS, completions=COMPLETIONS)
    assert tensor == [0.0, 1.0, 2.0]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "None"),
        (math.nan, "nan"),
        (-math.inf, "-inf"),
        (np.float64("nan"), "np.float64(nan)"),
        (torch.tensor(math.inf), "tensor(inf)"),
        ("1.0", "'1.0'"),
        ([1.0], "[1.0]"),
    ],
)
def test_a_reward_that_is_no_number_ends_in_a_line(value: object, shown: str, capsys: pytest.CaptureFixture[str]):
    reward = checked(giving(1.0, 0.0, value))
    with pytest.raises(SystemExit) as ended:
        reward(prompts=PROMPTS, completions=COMPLETIONS)
    assert ended.value.code == 2
    line = f"error: the reward given gave {shown} for a completion of the prompt 'Problem 2?'; return a finite number"
    error = capsys.readouterr().err
    assert error.startswith(line), error
    assert error.count("\n") == 1
    with pytest.raises(SystemExit):
        reward(prompts=["a"] * 3, completions=COMPLETIONS, where=["x.jsonl, row 1", "x.jsonl, row 2", "x.jsonl, row 3"])
    assert f"gave {shown} for a completion of x.jsonl, row 3; " in capsys.readouterr().err


def test_a_reward_for_each_completion(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        checked(giving(1.0))(prompts=PROMPTS, completions=COMPLETIONS)
    assert capsys.readouterr().err == "error: the reward given gave 1 values for 3 completions; return one for each\n"


def test_a_function_of_weight_0_is_left_out():
    def one(completions, **columns):
        return [1.0] * len(completions)

    def never(completions, **columns):
        raise AssertionError

    args = Namespace(reward_weights=[0.0, 0.5])
    (left,) = counted_rewards(args, [never, one])
    assert (left.__name__, args.reward_weights) == ("one", [0.5])
    assert left(prompts=PROMPTS, completions=COMPLETIONS) == [1.0] * 3
    args = Namespace(reward_weights=None)
    assert [function.__name__ for function in counted_rewards(args, [never, one])] == ["never", "one"]
    assert args.reward_weights == [1.0, 1.0]


# --- Before training ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("num_prompts", "printed", "error"),
    [
        (4, "", "error: 4 prompts, a generation takes 8 (64 completions, 8 of each prompt); use more rows, or lower "),
        (8, "", ""),
        (21, "An epoch leaves over 5 of 21 prompts: a generation takes 8.\n", ""),
        (24, "", ""),
    ],
)
def test_a_generation_has_its_prompts(num_prompts: int, printed: str, error: str, capsys: pytest.CaptureFixture[str]):
    args = Namespace(generation_batch_size=64, num_generations=8)
    if error:
        with pytest.raises(SystemExit):
            check_num_prompts(num_prompts, args)
    else:
        check_num_prompts(num_prompts, args)
    out, found = capsys.readouterr()
    assert out == printed
    assert found.startswith(error)
    assert found.count("\n") == bool(error)


def test_a_prompt_and_its_completion_have_room(capsys: pytest.CaptureFixture[str]):
    def config(positions: int | None) -> Namespace:
        config = Namespace(max_position_embeddings=positions) if positions else Namespace()
        return Namespace(get_text_config=lambda: config)

    check_positions(3, config(10), 7)
    check_positions(3, config(None), 10**9)
    with pytest.raises(SystemExit):
        check_positions(3, config(10), 8)
    line = (
        "error: the longest prompt has 3 tokens, which with max_completion_length 8 is more than the 10 positions of the model"
    )
    assert capsys.readouterr().err.startswith(f"{line}; use at most --max_completion_length 7, or ")


# --- While it trains ----------------------------------------------------------------------------------------------------


def train(mask: bool, logs: list[dict[str, float]]) -> list[bool]:
    """Logs steps to a watch, and returns in which of them it asked for a log."""
    args, watch, asked = Namespace(mask_truncated_completions=mask, max_completion_length=4), WatchRewards(), []
    for step, values in enumerate(logs, start=1):
        control = Namespace(should_log=False)
        watch.on_step_end(args, Namespace(global_step=step), control)
        asked.append(control.should_log)
        watch.on_log(args, Namespace(global_step=step), control, logs=values)
    return asked


WHOLE, CUT = {"completions/clipped_ratio": 0.5}, {"completions/clipped_ratio": 1.0}


def test_a_run_that_masks_what_is_cut_ends_where_all_are(capsys: pytest.CaptureFixture[str]):
    assert train(True, [CUT] * (PATIENCE - 1)) == [True] * (PATIENCE - 1)
    with pytest.raises(SystemExit):
        train(True, [CUT] * PATIENCE)
    line = "error: mask_truncated_completions: all completions of the first 5 steps were cut at max_completion_length 4, so"
    assert capsys.readouterr().err.startswith(line)


@pytest.mark.parametrize(
    ("steps", "warnings"),
    [
        ([CUT] * PATIENCE, ["all completions of the first 5 steps were cut at max_completion_length 4"]),
        ([WHOLE | {"frac_reward_zero_std": 1.0}] * PATIENCE, ["all advantages are zero"]),
        ([CUT | {"frac_reward_zero_std": 1.0}] * PATIENCE, ["were cut at", "all advantages are zero"]),
        ([CUT | {"frac_reward_zero_std": 1.0}, {}, {}, {}, CUT | {"frac_reward_zero_std": 1.0}], ["cut", "zero"]),
        ([WHOLE | {"frac_reward_zero_std": 0.9}] * PATIENCE, []),
        ([*[CUT] * (PATIENCE - 1), WHOLE], []),
        ([WHOLE, *[CUT | {"frac_reward_zero_std": 1.0}] * 3 * PATIENCE], []),
    ],
)
def test_what_teaches_nothing_is_said_once(steps: list[dict], warnings: list[str], capsys: pytest.CaptureFixture[str]):
    asked = train(False, steps)
    assert asked == [True] * PATIENCE + [False] * (len(steps) - PATIENCE)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(warnings)
    for line, words in zip(lines, warnings, strict=True):
        assert line.startswith("Warning: ")
        assert words in line
