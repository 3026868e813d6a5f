"""An interrupted run goes on with another number of processes: 2, then 1, then 2 again, its losses those of 2 all along.

python -m pytest tests/reliability/test_reshard.py -m "slow or not slow" -s    # prints the differences
"""

import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

from common.commands.main import main

import pytest
from campaign import Setting, write_configs
from forks import Run, Server, wait_for
from safetensors.torch import load_file

STEPS = 12
SMALL = f"--max_steps {STEPS} --save_steps 4 --eval_steps 4 --logging_steps 1 --num_held_out 4".split()
SMALL += "--save_total_limit 3 --dataloader_num_workers 0".split()
# Weights that decay and weights that do not; of three evaluations the first is the best, so that the weights that are saved at
# the end are those of a checkpoint from before both conversions.
SFT = "--per_device_train_batch_size 16 --num_train 160 --weight_decay 0.1 --metric_for_best_model eval_loss".split()
SFT += "--greater_is_better true --warmup_steps 2 --bf16 false".split()
# Dropout draws other numbers on another number of processes.
LORA = ("--use_peft", "true", "--lora_target_modules", "all-linear", "--lora_dropout", "0")
BF16 = ("--bf16", "true")
UNEVEN = ("--num_train", "150")


@pytest.fixture(scope="session")
def configs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("configs")
    write_configs(folder)
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


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != ".lock"}


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
    """Trains four steps on two processes, four on one, until it is killed, and four on two.

    Returns:
        The run that nobody interrupted, and the last of the three.
    """
    whole, first, second, third = (folder / name for name in ("whole", "first", "second", "third"))
    finish(start(whole, setting, 2))
    left = ("run.json", "config.yaml", "metrics.jsonl", "samples.jsonl")  # what a kill after step 4 leaves
    shutil.copytree(whole / "checkpoint-4", first / "checkpoint-4")
    for name in left:
        shutil.copy(whole / name, first)
    before = contents(first)
    assert recipes("reshard", first, "--num_processes", 1, "--output_dir", second, *on_one) == 0
    assert contents(first) == before
    assert all(path.stat().st_mode & 0o044 == 0o044 for path in second.rglob("*")), "others may read it, as the umask says"
    until(8, start(second, setting, 1, *on_one), second)
    back = {"--gradient_accumulation_steps": "1", "--per_device_train_batch_size": "16"}
    assert recipes("reshard", second, "--num_processes", 2, "--output_dir", third, on_one[0], back[on_one[0]]) == 0
    text = finish(start(third, setting, 2))
    assert f"Continuing from {third / 'checkpoint-8'}." in text
    return whole, third


def report(what: str, whole: Path, third: Path) -> tuple[float, float]:
    """Prints and returns the largest differences of the losses in training, and of the weights that were saved."""
    losses = largest_difference(values(whole, "loss"), values(third, "loss"))
    one, other = values(whole, "eval_loss"), values(third, "eval_loss")
    validation = max(abs(one[step] - other[step]) for step in one)
    weights = difference_of_weights(whole, third)
    print(f"\n{what:<40} losses {losses:.1e}  validation {validation:.1e}  saved weights {weights:.1e}")
    return losses, weights


SLOW, REST = pytest.mark.slow, (pytest.mark.slow, pytest.mark.campaign)
ACCUMULATED, LARGER = ("--gradient_accumulation_steps", "2"), ("--per_device_train_batch_size", "32")


@pytest.mark.parametrize(
    ("stage", "more", "on_one", "within"),
    [
        pytest.param(3, (), ACCUMULATED, 1e-5, id="zero3", marks=SLOW),
        pytest.param(3, (), LARGER, 1e-5, id="zero3, a larger batch", marks=REST),
        pytest.param(2, (), ACCUMULATED, 1e-5, id="zero2", marks=SLOW),
        pytest.param(1, (), ACCUMULATED, 1e-5, id="zero1", marks=REST),
        pytest.param(0, (), ACCUMULATED, 1e-5, id="ddp", marks=SLOW),
        pytest.param(3, LORA, ACCUMULATED, 1e-5, id="zero3, adapters", marks=REST),
        pytest.param(2, LORA, ACCUMULATED, 1e-5, id="zero2, adapters", marks=SLOW),
        pytest.param(3, BF16, ACCUMULATED, 5e-4, id="zero3, bfloat16", marks=REST),
        pytest.param(2, BF16, ACCUMULATED, 5e-4, id="zero2, bfloat16", marks=SLOW),
    ],
)
def test_two_one_two(start, request, tmp_path: Path, stage: int, more: tuple, on_one: tuple, within: float):
    whole, third = two_one_two(start, Setting("sft_instruct", stage, 2, more), tmp_path, *on_one)
    losses, weights = report(request.node.callspec.id, whole, third)
    assert losses <= within
    assert weights <= 1e-6  # those of step 4, the best, which was saved before both conversions


@pytest.mark.slow
def test_rows_that_do_not_fill_the_last_step_of_an_epoch(start, tmp_path: Path):
    # 2 processes read the first rows of the epoch once more to fill it, 1 process ends it with a smaller step.
    whole, third = two_one_two(start, Setting("sft_instruct", 2, 2, UNEVEN), tmp_path, *ACCUMULATED)
    report("zero2, 150 rows in steps of 32", whole, third)
    one, other = values(whole, "loss"), values(third, "loss")
    assert max(abs(one[step] - other[step]) for step in range(1, 5)) <= 1e-5


@pytest.mark.slow
def test_grpo_goes_on(start, tmp_path: Path):
    whole, third = two_one_two(start, Setting("grpo_math", 3, 2), tmp_path, *("--gradient_accumulation_steps", "2"))
    one, other = values(whole, "reward"), values(third, "reward")
    print("\n" + "\n".join(f"step {step:>2}  reward {one[step]:.3f}  {other[step]:.3f}" for step in one))
    assert one.keys() == other.keys() == set(range(1, STEPS + 1))
    # On 8 problems x 8 completions a step a mean of 0 or 1 is off by 0.06; eight steps by a third of that.
    assert abs(sum(one[step] - other[step] for step in range(5, STEPS + 1)) / 8) < 0.1


# --- What is refused ----------------------------------------------------------------------------------------------------


@pytest.fixture
def begun(tmp_path: Path) -> Path:
    """An interrupted run as far as its record tells."""
    settings = {"per_device_train_batch_size": 16, "gradient_accumulation_steps": 1}
    record = {"recipe": "sft_instruct", "world_size": 2, "sharding": "DeepSpeed ZeRO-2", "settings": settings}
    (tmp_path / "run").mkdir()
    (tmp_path / "run/run.json").write_text(json.dumps(record))
    return tmp_path / "run"


def change(begun: Path, **settings: int | None) -> None:
    record = json.loads((begun / "run.json").read_text())
    record["settings"] |= settings
    (begun / "run.json").write_text(json.dumps(record))


def line_of(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    assert recipes("reshard", *words) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    return lines[0]


@pytest.mark.parametrize(
    ("words", "settings", "line"),
    [
        ("--num_processes 0", {}, "--num_processes 0: give the number of processes"),
        ("--num_processes 2", {}, "is on 2 processes already; the command that started it continues it"),
        (
            "--num_processes 1",
            {},
            "16 a device x 1 processes, accumulated 1 times, are 16 rows a step, and the run has 32: it would be another run; "
            "pass --per_device_train_batch_size 32 or --gradient_accumulation_steps 2 or ",
        ),
        (
            "--num_processes 3",
            {},
            "--num_processes 3: the 32 rows of a step cannot be split so over 3 processes; numbers that do: 1, 4",
        ),
        (
            "--num_processes 1 --gradient_accumulation_steps 2",
            {"num_generations": 4, "steps_per_generation": 1},
            "are 16 completions at once, and the run has 32: it would be another run; pass --per_device_train_batch_size 32",
        ),
        ("--num_processes 1 --gradient_accumulation_steps 2", {}, "has no complete checkpoint; start it anew on 1 processes"),
    ],
)
def test_what_cannot_be_converted_is_refused(begun: Path, capsys, words: str, settings: dict, line: str):
    change(begun, **settings)
    before = {path.name for path in begun.parent.iterdir()}
    assert line in line_of(capsys, begun, *words.split())
    assert {path.name for path in begun.parent.iterdir()} == before


def test_an_optimizer_on_nvme_is_refused(begun: Path, capsys):
    (begun / "checkpoint-4/global_step4/offloaded_tensors").mkdir(parents=True)
    (begun / "checkpoint-4/complete").touch()
    line = line_of(capsys, begun, "--num_processes", 1, "--gradient_accumulation_steps", 2)
    assert f"{begun / 'checkpoint-4'} has its optimizer on NVMe, which DeepSpeed cannot convert" in line
    assert list(begun.parent.iterdir()) == [begun]


def test_other_folders_are_refused(begun: Path, capsys):
    there = ["--num_processes", 1, "--gradient_accumulation_steps", 2]
    assert "is not a run of these recipes" in line_of(capsys, begun.parent, *there)
    (begun / "checkpoint-4").mkdir()
    assert f"is a checkpoint of a run; pass the run itself, {begun}" in line_of(capsys, begun / "checkpoint-4", *there)
    (begun.parent / "there").mkdir()
    assert "is there already" in line_of(capsys, begun, *there, "--output_dir", begun.parent / "there")
    (begun / "team").mkdir()
    shutil.copy(begun / "run.json", begun / "team")
    assert f"is a part of a run; pass the whole one, {begun}" in line_of(capsys, begun / "team", *there)
    (begun / "complete").touch()
    assert "is finished: nothing is left to be continued" in line_of(capsys, begun, *there)
