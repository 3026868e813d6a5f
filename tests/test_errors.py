"""A mistake about the output folder or the machine ends in one line that says what, where and the cure; nothing is written.

Mistakes in settings, data and models are in reliability/bad_inputs.yaml. Two real launches at the end show that it is the same
from outside.
"""

import json
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from conftest import GRPO_MATH, accelerate, run_command
from starts import LOADER_REACHED, Finished, assert_one_line, run_to_the_loader, start

# One process under DeepSpeed with the optimizer on the CPU, as `accelerate launch` passes it on.
OFFLOAD = {
    "ACCELERATE_USE_DEEPSPEED": "true",
    "ACCELERATE_DEEPSPEED_ZERO_STAGE": "2",
    "ACCELERATE_DEEPSPEED_OFFLOAD_OPTIMIZER_DEVICE": "cpu",
    "MASTER_ADDR": "127.0.0.1",
    "MASTER_PORT": "0",
    **{"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1"},
}


def run_with_old_torch(script: str, arguments: list[str]) -> None:
    from torch.utils import cpp_extension

    cpp_extension.FileBaton = object  # a lock is a file there, and all wait until it is gone
    run_to_the_loader(script, arguments)


def begin_run(script: str, arguments: list[str]) -> None:
    """Leaves what a run writes when it starts."""
    from common.run.config import parse
    from common.run.record import write_record

    from trl import GRPOConfig

    from data import MathArguments

    _, training_args, _ = parse(script, MathArguments, GRPOConfig, arguments)
    write_record(script, training_args)


@pytest.fixture
def run(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Finished]:
    """Returns a function that runs the recipe as a command would, up to where it loads the model."""
    return partial(start, tmp_path_factory.mktemp("output"), GRPO_MATH)


def test_no_mistake(run, tmp_path: Path):
    """The other tests mean something: without a mistake the same command loads the model."""
    finished = run("--output_dir", str(tmp_path / "run"))
    assert (finished.returncode, finished.stderr) == (1, f"{LOADER_REACHED}\n")


# --- The output folder ----------------------------------------------------------------------------------------------------

ELSEWHERE = "choose another --output_dir"


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


@pytest.fixture
def begun(run, tmp_path: Path) -> Path:
    """A run that was started and interrupted."""
    finished = run("--output_dir", str(tmp_path / "run"), function=begin_run)
    assert finished.returncode == 0, finished.stderr
    return tmp_path / "run"


@pytest.mark.parametrize(
    ("arguments", "record", "line"),
    [
        pytest.param(
            "--learning_rate 1",
            {},
            "holds a run with learning_rate 0.0001, this one has 1.0; continue it with its own settings, or " + ELSEWHERE,
            id="other settings",
        ),
        pytest.param(
            "--learning_rate 1 --seed 1 --beta 1",
            {},
            "holds a run with beta 0.0, this one has 1.0 (and 2 more); continue it with its own settings, or " + ELSEWHERE,
            id="several other settings",
        ),
        pytest.param(
            "",
            {"recipe": "sft_instruct"},
            f"holds a run of the recipe sft_instruct, not grpo_math; {ELSEWHERE}",
            id="other recipe",
        ),
        pytest.param(
            "",
            {"world_size": 2},
            "holds a run on 2 processes, this launch has 1 and checkpoints are split by process; "
            f"launch with --num_processes 2, convert a copy (`recipes reshard RUN --num_processes 1`), or {ELSEWHERE}",
            id="other number of processes",
        ),
    ],
)
def test_output_dir_of_another_run(run, begun: Path, arguments: str, record: dict, line: str):
    written = json.loads((begun / "run.json").read_text())
    (begun / "run.json").write_text(json.dumps(written | record))
    before = contents(begun)
    line = line.replace("RUN", str(begun))
    assert_one_line(run("--output_dir", str(begun), *arguments.split()), f"output_dir {begun} {line}")
    assert contents(begun) == before


def test_output_dir_of_a_complete_run(run, begun: Path):
    (begun / "complete").touch()
    before = contents(begun)
    finished = run("--output_dir", str(begun))
    assert (finished.returncode, finished.stderr) == (0, "")
    assert finished.stdout.splitlines()[-1] == f"This run is complete: see {begun}/report.html. For a new one {ELSEWHERE}."
    assert contents(begun) == before


def test_output_dir_of_the_same_run(run, begun: Path):
    assert run("--output_dir", str(begun)).stderr == f"{LOADER_REACHED}\n"
    assert run("--output_dir", str(begun), "--config", str(begun / "config.yaml")).stderr == f"{LOADER_REACHED}\n"


def test_output_dir_with_other_files(run, tmp_path: Path):
    (tmp_path / "thesis.tex").write_text("Chapter 1")
    for folder in (tmp_path, tmp_path / "thesis.tex"):
        line = f"output_dir {folder} is there already and is not of a run of these recipes; {ELSEWHERE}"
        assert_one_line(run("--output_dir", str(folder)), line)
    line = (
        f"output_dir {tmp_path}/thesis.tex/run cannot be made: {tmp_path}/thesis.tex is not a folder that you may write in; ..."
    )
    assert_one_line(run("--output_dir", f"{tmp_path}/thesis.tex/run"), line)
    assert (tmp_path / "thesis.tex").read_text() == "Chapter 1"


# --- Compilation ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def build(tmp_path: Path) -> Path:
    """The folder in which torch compiles DeepSpeed's CPU Adam, with the lock of a compilation."""
    build = tmp_path / "extensions" / "cpu_adam"
    build.mkdir(parents=True)
    (build / "lock").touch()
    return build


def offloading(build: Path, **env: str) -> dict[str, str]:
    return OFFLOAD | {"TORCH_EXTENSIONS_DIR": str(build.parent)} | env


def test_offload_without_a_compiler(run, build: Path, output_dir: Path):
    finished = run("--output_dir", str(output_dir), **offloading(build, PATH="/nowhere"))
    assert_one_line(finished, "offloading the optimizer needs c++ and ninja on the PATH, to compile DeepSpeed's CPU Adam; ...")
    assert not output_dir.exists()


def test_offload_without_a_compiler_when_it_is_compiled(run, build: Path, output_dir: Path, tmp_path: Path):
    (build / "cpu_adam.so").touch()
    (tmp_path / "ninja").touch(mode=0o755)
    assert run("--output_dir", str(output_dir), **offloading(build, PATH=str(tmp_path))).stderr == f"{LOADER_REACHED}\n"


def test_lock_of_an_interrupted_compilation(run, build: Path, output_dir: Path):
    finished = run("--output_dir", str(output_dir), function=run_with_old_torch, **offloading(build))
    lock = build / "lock"
    line = f"an interrupted compilation left {lock}, on which every run would wait for ever; remove it: `rm {lock}`"
    assert_one_line(finished, line)
    assert lock.exists()
    assert not output_dir.exists()


def test_lock_of_a_compilation_that_goes_on(run, build: Path, output_dir: Path):
    compiler = subprocess.Popen(["sleep", "60"], cwd=build)
    try:
        finished = run("--output_dir", str(output_dir), function=run_with_old_torch, **offloading(build))
    finally:
        compiler.kill()
        compiler.wait()
    assert finished.stderr == f"{LOADER_REACHED}\n"


def test_lock_that_is_only_a_file(run, build: Path, output_dir: Path):
    """torch 2.15 leaves the file behind after every compilation, and the kernel knows whether it is locked."""
    assert run("--output_dir", str(output_dir), **offloading(build)).stderr == f"{LOADER_REACHED}\n"


# --- From outside ---------------------------------------------------------------------------------------------------------


def test_command_with_a_hub_that_does_not_answer(output_dir: Path):
    """Not by HF_HUB_OFFLINE: the libraries would retry for a minute, two lines a time."""
    hub = {"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": "http://127.0.0.1:9", "NO_PROXY": "*"}
    arguments = ["--model_name_or_path", "Qwen/Qwen2.5-1.5B-Instruct", "--output_dir", str(output_dir)]
    finished = run_command(["python", GRPO_MATH, *arguments], **hub)
    assert_one_line(
        finished, "model_name_or_path ... cannot be loaded: We couldn't connect to 'http://127.0.0.1:9' to load ..."
    )
    assert not output_dir.exists()


def test_launch_with_two_processes(output_dir: Path):
    """The launcher adds its own lines, its report ends with ours, and nobody waits for the process that only keeps silent."""
    arguments = ["--per_device_train_batch_size", "18", "--output_dir", str(output_dir)]
    finished = run_command(accelerate(GRPO_MATH, *arguments, num_processes=2), timeout=180)
    line = (
        "error: 36 completions (18 a device x 2 processes x 1 steps) do not divide into groups of num_generations 8; "
        "nearest per_device_train_batch_size: 16 or 20"
    )
    before, _, after = finished.stderr.partition("Traceback (most recent call last)")
    assert [text for text in before.splitlines() if text.startswith("error:")] == [line]
    assert "train.py" not in before.partition("error:")[0]
    assert after.rstrip("=\n ").endswith(line)
    assert finished.returncode == 1
    assert not output_dir.exists()
