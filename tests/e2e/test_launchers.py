"""Every accelerate configuration and every launcher trains with the processes and the sharding that it was asked for."""

import json
import math
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import CPU_PRECISION, GRPO_MATH, ROOT, SHORT, accelerate, command_env, run_command
from forks import free_port
from safetensors.torch import load_file

NO_COMPILER = [tool for tool in ("c++", "ninja") if shutil.which(tool, path=command_env()["PATH"]) is None]
offload = pytest.mark.skipif(bool(NO_COMPILER), reason=f"DeepSpeed's CPU Adam is compiled, without {' and '.join(NO_COMPILER)}")


def check_run(output_dir: Path, ran_on: str) -> None:
    """Asserts that a run of two steps left what a user relies on: what it ran on, a loss for each step, a whole model."""
    header = (output_dir / "config.yaml").read_text().splitlines()[0]
    assert header == f"# grpo_math: {ran_on}"
    rows = [json.loads(line) for line in (output_dir / "metrics.jsonl").read_text().splitlines()]
    losses = {row["step"]: row["loss"] for row in rows if "loss" in row}
    assert list(losses) == [1, 2]
    assert all(math.isfinite(loss) for loss in losses.values())
    weights = load_file(output_dir / "model.safetensors")
    assert weights
    assert all(weight.numel() > 0 and weight.isfinite().all() for weight in weights.values())


@pytest.mark.parametrize(
    ("config", "sharding"),
    [
        pytest.param("ddp", "DDP", marks=pytest.mark.slow),
        pytest.param("zero1", "DeepSpeed ZeRO-1", marks=pytest.mark.slow),
        # `make learn` starts with zero2 and zero3.
        pytest.param("zero2", "DeepSpeed ZeRO-2", marks=pytest.mark.slow),
        # zero3 with two processes is in test_resume.py, plain python without DeepSpeed in test_grpo_math.py.
        pytest.param("zero2_offload", "DeepSpeed ZeRO-2", marks=[offload, pytest.mark.slow]),
        pytest.param("zero3_offload", "DeepSpeed ZeRO-3", marks=[offload, pytest.mark.slow]),
    ],
)
def test_accelerate_configuration(output_dir: Path, tmp_path: Path, config: str, sharding: str):
    command = accelerate(GRPO_MATH, *SHORT, "--output_dir", str(output_dir), config=config, num_processes=2)
    # Only offloading compiles anything: a first start must neither take a minute for it nor need a compiler.
    compiled = {} if "offload" in config else {"TORCH_EXTENSIONS_DIR": str(tmp_path / "compiled")}
    finished = run_command(command, timeout=600, **compiled)
    assert finished.returncode == 0, finished.stderr
    check_run(output_dir, f"2 x cpu, {sharding}, {CPU_PRECISION}")
    assert not list((tmp_path / "compiled").rglob("*.so"))


@pytest.mark.slow
def test_two_machines(output_dir: Path):
    port = free_port()

    def machine(rank: int) -> list[str]:
        command = accelerate(
            GRPO_MATH, *SHORT, "--output_dir", str(output_dir), config="zero3_multinode", num_processes=2, port=port
        )
        return [*command[:2], "--main_process_ip", "127.0.0.1", "--machine_rank", str(rank), *command[2:]]

    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(machine(1), cwd=ROOT, env=command_env(), **quiet) as other:
        try:
            finished = run_command(machine(0))
            assert finished.returncode == 0, finished.stderr
            assert other.wait(timeout=60) == 0
        finally:
            other.terminate()
    check_run(output_dir, f"2 x cpu, DeepSpeed ZeRO-3, {CPU_PRECISION}")


@pytest.mark.parametrize(
    ("launcher", "arguments", "ran_on"),
    [
        # LOCAL_SIZE: without a GPU DeepSpeed counts NUMA nodes, and starts no more processes than it counted.
        pytest.param(
            "env LOCAL_SIZE=2 deepspeed --num_gpus 2 --master_port {port}",
            "--deepspeed accelerate_configs/ds_zero2.json",
            f"2 x cpu, DeepSpeed ZeRO-2, {CPU_PRECISION}",
            id="deepspeed",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "torchrun --nproc_per_node 2 --master_port {port}",
            "--deepspeed accelerate_configs/ds_zero3.json",
            f"2 x cpu, DeepSpeed ZeRO-3, {CPU_PRECISION}",
            id="torchrun",
            marks=pytest.mark.slow,  # what `accelerate launch` starts is torchrun's, too
        ),
        pytest.param(
            "python",
            "--deepspeed accelerate_configs/ds_zero1.json",
            f"1 x cpu, DeepSpeed ZeRO-1, {CPU_PRECISION}",
            id="python",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_launcher(output_dir: Path, launcher: str, arguments: str, ran_on: str):
    command = [*launcher.format(port=free_port()).split(), GRPO_MATH, *SHORT, *arguments.split()]
    finished = run_command([*command, "--output_dir", str(output_dir)])
    assert finished.returncode == 0, finished.stderr
    check_run(output_dir, ran_on)
