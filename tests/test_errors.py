"""A user's mistake ends in one line that says what, where and the cure, before a model loads and with nothing written.

A start of a recipe takes 20 seconds of imports, so a server process imports them once and each command runs in a fork of it:
a process with its own environment, output and exit code. Two real launches at the end show that it is the same from outside.
"""

import atexit
import json
import multiprocessing
import os
import re
import runpy
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext
from pathlib import Path
from unittest.mock import patch

import pytest
from conftest import GRPO_MATH, ROOT, accelerate, command_env, run_command

PRELOAD = [
    "common.models.load",
    "common.run.config",
    "common.run.loop",
    "common.run.record",
    "deepspeed",
    "trl.trainer.grpo_trainer",
    "trl.models",
    "math_verify",
    "pytest",
]
LOADER_REACHED = "the model loader is reached"

# One process under DeepSpeed with the optimizer on the CPU, as `accelerate launch` passes it on.
OFFLOAD = {
    "ACCELERATE_USE_DEEPSPEED": "true",
    "ACCELERATE_DEEPSPEED_ZERO_STAGE": "2",
    "ACCELERATE_DEEPSPEED_OFFLOAD_OPTIMIZER_DEVICE": "cpu",
    "MASTER_ADDR": "127.0.0.1",
    "MASTER_PORT": "0",
    **{"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1"},
}


@dataclass
class Finished:
    returncode: int
    stdout: str
    stderr: str


# --- What runs in the forks -----------------------------------------------------------------------------------------------


def stop_at_the_loader(*args, **kwargs):
    raise SystemExit(LOADER_REACHED)


def run_recipe(arguments: list[str]) -> None:
    import common.models.load

    common.models.load.load_model = stop_at_the_loader
    sys.argv = [GRPO_MATH, *arguments]
    runpy.run_path(GRPO_MATH, run_name="__main__")


def run_recipe_with_old_torch(arguments: list[str]) -> None:
    from torch.utils import cpp_extension

    cpp_extension.FileBaton = object  # a lock is a file there, and all wait until it is gone
    run_recipe(arguments)


def begin_run(arguments: list[str]) -> None:
    """Leaves what a run writes when it starts."""
    from common.run.config import parse
    from common.run.record import write_record

    from trl import GRPOConfig

    from data import MathArguments

    _, training_args, _ = parse(GRPO_MATH, MathArguments, GRPOConfig, arguments)
    write_record(GRPO_MATH, training_args)


def in_fork(function: Callable[[list[str]], None], arguments: list[str], env: dict[str, str], output: Path) -> None:
    for descriptor, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(output / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
    os.chdir(ROOT)
    os.environ |= env
    sys.path.insert(0, str((ROOT / GRPO_MATH).parent))
    atexit._clear()  # of the server
    try:
        function(arguments)
    finally:
        atexit._run_exitfuncs()


# --- Fixtures -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def context() -> Iterator[ForkServerContext]:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    with patch.dict(os.environ, command_env() | {"PYTHONPATH": str(ROOT)}, clear=True):
        forkserver.ensure_running()
    yield context
    forkserver._forkserver._stop()


@pytest.fixture
def run(context: ForkServerContext, tmp_path: Path) -> Callable[..., Finished]:
    """Returns a function that runs the recipe as a command would, up to where it loads the model."""

    def run(*arguments: str, function: Callable[[list[str]], None] = run_recipe, **env: str) -> Finished:
        process = context.Process(target=in_fork, args=(function, list(arguments), env, tmp_path))
        process.start()
        process.join(60)
        assert process.exitcode is not None, "the command hangs"
        return Finished(process.exitcode, (tmp_path / "stdout").read_text(), (tmp_path / "stderr").read_text())

    return run


# --- The table ------------------------------------------------------------------------------------------------------------


def jsonl(*rows: dict | str) -> str:
    return "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)


def case(name: str, arguments: str, line: str, env: dict[str, str] | None = None, **files: str):
    """A row of the table: `{tmp}` is a folder with these files (`__` stands for the dot), `...` in the line for any text."""
    return pytest.param(arguments, line, env or {}, {file.replace("__", "."): text for file, text in files.items()}, id=name)


MY = "--config {tmp}/my.yaml"
SETTINGS = [
    case(
        "unknown key",
        MY,
        "{tmp}/my.yaml:1: unknown key `lerning_rate`; did you mean `learning_rate`?",
        my__yaml="lerning_rate: 0.1\n",
    ),
    case("unknown flag", "--lerning_rate 0.1", "unknown argument `--lerning_rate`; did you mean `learning_rate`?"),
    case(
        "wrong type in a yaml",
        MY,
        "{tmp}/my.yaml:1: `learning_rate`: invalid float value: 'abc'",
        my__yaml="learning_rate: abc\n",
    ),
    case(
        "list for a number",
        MY,
        "{tmp}/my.yaml:1: `learning_rate` takes one value, not a list",
        my__yaml="learning_rate: [1, 2]\n",
    ),
    case("fraction for a count", MY, "{tmp}/my.yaml:1: `max_steps`: invalid int value: '1.5'", my__yaml="max_steps: 1.5\n"),
    case(
        "no such choice",
        MY,
        "{tmp}/my.yaml:1: `lr_scheduler_type`: there is no `liner`; did you mean `linear`?",
        my__yaml="lr_scheduler_type: liner\n",
    ),
    case(
        "wrong type of a flag",
        "--learning_rate abc",
        "argument --learning_rate/--learning-rate: invalid float value: 'abc'; `--help` lists every flag",
    ),
    case(
        "not yaml",
        MY,
        "{tmp}/my.yaml:3 is not valid yaml (expected ',' or ']', but got ':'); write one `key: value` a line",
        my__yaml="seed: 1\nreward_weights: [1.0, 0.1\nbeta: 0\n",
    ),
    case("yaml without keys", MY, "{tmp}/my.yaml must hold `key: value` lines, not a list", my__yaml="- seed\n"),
    case(
        "no configuration file",
        MY,
        "cannot read the configuration {tmp}/my.yaml (No such file or directory); pass an existing file to --config",
    ),
    case("--config without a file", "--config", "--config needs a file, for example --config recipes/grpo_math/lora_8gb.yaml"),
    case(
        "nothing to train on",
        "--num_train 0",
        "num_train is 0: say how many problems to generate, for example --num_train 4000",
    ),
    case(
        "nothing to measure on",
        "--num_held_out 0",
        "num_held_out is 0: without held-out problems nothing can be measured; use at least 1",
    ),
    case(
        "weights and rewards",
        "--reward_weights 1 2",
        "reward_weights has 2 numbers; give one for each of correct, formatted, distinct_characters "
        "(0 keeps it in the log only)",
    ),
    case(
        "checkpoint inside a generation",
        "--num_iterations 3 --save_steps 10",
        "save_steps 10 falls inside a generation, which serves 3 optimizer steps: a run continued there would differ; "
        "nearest: 9 or 12",
    ),
    case(
        "batch not whole groups",
        "--per_device_train_batch_size 20",
        "20 completions (20 a device x 1 processes x 1 steps) do not divide into groups of num_generations 8; "
        "nearest per_device_train_batch_size: 16 or 24",
    ),
    case(
        "TRL's own check",
        "--generation_batch_size 72",
        "generation_batch_size (72) must be divisible by the global batch size...",
    ),
]

DATA = "--num_held_out 1 --dataset_name {tmp}/data.jsonl"
QUESTION = {"question": "What is 6 * 7?", "answer": "6*7=42\n#### 42"}
DATA_SETS = [
    case(
        "no data file",
        DATA,
        "dataset_name {tmp}/data.jsonl: there is no such file; pass an existing file, a hub id, or `synthetic`",
    ),
    case(
        "unknown file type",
        "--dataset_name {tmp}/data.txt",
        "{tmp}/data.txt: unknown file type; use one of .jsonl, .json, .csv, .parquet",
        data__txt="6 * 7",
    ),
    case("empty file", DATA, "{tmp}/data.jsonl is empty; it needs at least one row", data__jsonl=""),
    case(
        "header without rows",
        "--dataset_name {tmp}/data.csv",
        "{tmp}/data.csv has no rows; it needs at least one",
        data__csv="question,answer\n",
    ),
    case(
        "too few rows",
        DATA,
        "{tmp}/data.jsonl has 1 distinct row to train on (those that ask the same are one) and needs at least 3, as some are "
        "kept apart to measure; add rows",
        data__jsonl=jsonl(QUESTION),
    ),
    case(
        "no such column",
        DATA,
        "{tmp}/data.jsonl, row 1: no column `question` (found: prompt, answer)",
        data__jsonl=jsonl({"prompt": "What is 6 * 7?", "answer": "#### 42"}),
    ),
    case(
        "row without the column",
        DATA,
        "{tmp}/data.jsonl, row 2: no value in column `answer`; fill it in or remove the row",
        data__jsonl=jsonl(QUESTION, {"question": "What is 6 * 8?"}, QUESTION),
    ),
    case(
        "number for a text",
        DATA,
        "{tmp}/data.jsonl, row 1: column `answer` must be str, not int",
        data__jsonl=jsonl({"question": "What is 6 * 7?", "answer": 42}),
    ),
    case(
        "row that is not JSON",
        DATA,
        "{tmp}/data.jsonl, line 2: not valid JSON (Expecting property name enclosed in double quotes); "
        "write one JSON object a line",
        data__jsonl=jsonl(QUESTION, "{'question': 'What is 6 * 8?'}"),
    ),
    case(
        "row that is not an object",
        DATA,
        "{tmp}/data.jsonl, line 2: not a JSON object; write one {...} a line",
        data__jsonl=jsonl(QUESTION, "42"),
    ),
    case(
        "ragged csv",
        "--dataset_name {tmp}/data.csv",
        "{tmp}/data.csv cannot be read as csv: Error tokenizing data. C error: Expected 2 fields in line 3, saw 3",
        data__csv="question,answer\na,b\na,b,c\n",
    ),
    case(
        "no answer in a solution",
        DATA,
        "{tmp}/data.jsonl, row 2: no final answer in column `answer`; end it with `#### ` and a number",
        data__jsonl=jsonl(QUESTION, {"question": "What is 6 * 8?", "answer": "forty-eight"}, QUESTION),
    ),
    case(
        "question too long",
        DATA,
        "{tmp}/data.jsonl, row 2: the prompt has ... tokens and max_prompt_length is 128; raise it, or shorten the question",
        data__jsonl=jsonl(
            QUESTION,
            {"question": "1 + " * 200, "answer": "#### 200"},
            *({"question": f"What is 6 * {number}?", "answer": f"#### {6 * number}"} for number in (8, 9)),
        ),
    ),
    case(
        "folder without data",
        "--dataset_name {tmp}",
        "dataset_name {tmp} cannot be loaded: ...data files...",
    ),
    case(
        "folder without train",
        "--dataset_name {tmp}",
        "dataset_name {tmp} has no split `train` (found: test)",
        test__jsonl=jsonl(QUESTION),
    ),
    case(
        "hub data set without a hub",
        "--dataset_name openai/gsm8k",
        "dataset_name openai/gsm8k cannot be loaded: Couldn't reach 'openai/gsm8k' on the Hub (OfflineModeIsEnabled); "
        "without a hub pass a local file or `synthetic`",
    ),
]

MODELS = [
    case(
        "unknown tiny model",
        "--model_name_or_path tiny:qwen33",
        "...: unknown tiny architecture `qwen33`; did you mean `qwen3`?",
    ),
    case(
        "no model folder",
        "--model_name_or_path outputs/grpo_math/none",
        "model_name_or_path outputs/grpo_math/none: there is no such folder; pass an existing folder or a hub id",
    ),
    case(
        "folder without a model",
        "--model_name_or_path {tmp}",
        "model_name_or_path {tmp} cannot be loaded: ...; pass the folder of a saved model",
    ),
    case(
        "hub model without a hub",
        "--model_name_or_path Qwen/Qwen2.5-1.5B-Instruct",
        "model_name_or_path Qwen/Qwen2.5-1.5B-Instruct cannot be loaded: We couldn't connect to 'https://huggingface.co' to "
        "load the files, and couldn't find them in the cached files; without a hub pass a local folder or --config tiny.yaml",
    ),
]


def assert_one_line(finished: Finished, line: str) -> None:
    pattern = ".*".join(re.escape(text) for text in f"error: {line}\n".split("..."))
    assert re.fullmatch(pattern, finished.stderr), finished.stderr
    assert finished.returncode == 2


@pytest.mark.parametrize(("arguments", "line", "env", "files"), [*SETTINGS, *DATA_SETS, *MODELS])
def test_mistake(run, tmp_path: Path, arguments: str, line: str, env: dict[str, str], files: dict[str, str]):
    folder, output_dir = tmp_path / "files", tmp_path / "run"
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_text(text)
    finished = run("--output_dir", str(output_dir), *arguments.replace("{tmp}", str(folder)).split(), **env)
    assert_one_line(finished, line.replace("{tmp}", str(folder)))
    assert not output_dir.exists()


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
    finished = run("--output_dir", str(output_dir), function=run_recipe_with_old_torch, **offloading(build))
    lock = build / "lock"
    line = f"an interrupted compilation left {lock}, on which every run would wait for ever; remove it: `rm {lock}`"
    assert_one_line(finished, line)
    assert lock.exists()
    assert not output_dir.exists()


def test_lock_of_a_compilation_that_goes_on(run, build: Path, output_dir: Path):
    compiler = subprocess.Popen(["sleep", "60"], cwd=build)
    try:
        finished = run("--output_dir", str(output_dir), function=run_recipe_with_old_torch, **offloading(build))
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
