"""The profile of a step tells its parts, which are the whole step."""

import re
import sys
from pathlib import Path

import pytest
from conftest import ROOT, run_command
from torch.autograd import DeviceType
from torch.autograd.profiler_util import FunctionEvent

sys.path.insert(0, str(ROOT / "benchmarks"))
from profile_step import kernels_of, parts_of

COMMON = "--num_held_out 2 --num_train 100".split()
SUPERVISED = "--eval_strategy no --load_best_model_at_end false --early_stopping_patience 0".split()
PARTS = {"sft_instruct": "attention", "grpo_math": "rollout"}


@pytest.mark.slow
@pytest.mark.parametrize("recipe", sorted(PARTS))
def test_the_parts_of_a_step(recipe: str, tmp_path: Path):
    command = [sys.executable, "benchmarks/profile_step.py", "--kernels", "3", "--results", str(tmp_path / "step.json")]
    command += [f"recipes/{recipe}/train.py", *COMMON, *(SUPERVISED if recipe == "sft_instruct" else [])]
    finished = run_command(command, PYTHONPATH=str(ROOT))
    assert finished.returncode == 0, finished.stderr
    parts, _, kernels = finished.stdout.partition("| part of a step | ms | calls | name |\n")
    rows = dict(re.findall(r"^\| (.+?) \| ([\d.]+) \|", parts, re.MULTILINE))
    step = float(rows.pop("**a step**"))
    assert float(rows[PARTS[recipe]]) > 0
    assert float(rows["matrix work"]) > 0
    assert float(rows["optimizer step"]) > 0
    assert 0.9 * step < sum(map(float, rows.values())) < 1.1 * step
    assert (tmp_path / "step.json").exists()
    assert [line.count("|") for line in kernels.splitlines()[:4]] == [5] * 4  # below the heading a line, and three operators


def test_kernels_of_a_cuda_graph_belong_to_the_range_that_they_run_in():
    """No operator launches them: made events, as there is no GPU here."""

    def event(name: str, start: int, end: int, **more: object) -> FunctionEvent:
        return FunctionEvent(id=start, name=name, thread=1, start_us=start, end_us=end, use_device="cuda", **more)

    kernel = {"device_type": DeviceType.CUDA}
    launched = event("aten::mm", 1100, 1200)
    launched.append_kernel("gemm", 0, 100)
    events = [event("rollout", 0, 1000, is_user_annotation=True), event("rollout", 0, 1000, is_user_annotation=True, **kernel)]
    events += [launched, event("gemm", 1150, 1250, **kernel)]
    events += [event("gemm", 100, 900, **kernel), event("other", 1300, 1400, **kernel)]
    kernels = kernels_of(events, on_gpu=True)
    parts, count = parts_of(kernels), len(kernels)
    assert parts == pytest.approx({"rollout": 800e-6, "matrix work": 100e-6, "all else": 100e-6})
    assert count == 3
