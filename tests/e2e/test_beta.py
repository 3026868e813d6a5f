"""A KL term holds the model near its start: whatever the sharding, the reference is the model that training began with."""

import json
import shutil
from pathlib import Path

import pytest
from conftest import ROOT, Python, run_command
from safetensors.torch import load_file, save_file

SHORT = {
    "grpo_math": "--num_train 64 --num_held_out 8 --per_device_train_batch_size 16",
    "multi_agent_grpo": "--num_train 64 --num_held_out 8 --num_generations 2 --per_device_train_batch_size 8 "
    "--aggregator_steps 0 --per_device_eval_batch_size 64",
}
# So few answers may all get the same reward, and teach nothing: the decay moves the weights all the same.
STEPS = "--max_steps 2 --save_strategy no --beta 0.01 --warmup_steps 0 --learning_rate 1e-3 --weight_decay 100"
LORA = "--use_peft true --lora_target_modules all-linear"


def sharding(folder: Path, stage: int) -> list[str]:
    """Returns the flags of a ZeRO stage that shards every weight of a tiny model, too."""
    plan = json.loads((ROOT / f"accelerate_configs/ds_zero{stage}.json").read_text())
    plan["zero_optimization"] |= {"stage3_param_persistence_threshold": 0} if stage == 3 else {}
    (folder / "plan.json").write_text(json.dumps(plan))
    return ["--deepspeed", str(folder / "plan.json")]


def check_divergence(metrics: Path, moved: bool = True) -> None:
    """Asserts that the model was its own reference before the first update, and, if it was `moved` by it, then no longer."""
    rows = [json.loads(line) for line in metrics.read_text().splitlines()]
    kl = {row["step"]: row["kl"] for row in rows if "kl" in row}
    assert list(kl) == [1, 2]
    assert abs(kl[1]) < 1e-6
    assert not moved or kl[2] > 1e-5


def flags(recipe: str, folder: Path, stage: int, *more: str) -> list[str]:
    settings = f"{SHORT[recipe]} {STEPS} --output_dir {folder / 'run'}".split()
    return [f"recipes/{recipe}/train.py", *settings, *sharding(folder, stage), *more]


def metrics(recipe: str, folder: Path) -> Path:
    return folder / "run" / ("team" if recipe == "multi_agent_grpo" else "") / "metrics.jsonl"


slow = pytest.mark.slow


# The team's runs take minutes and have the same reference: once under stage 3 each.
TEAM = pytest.param("multi_agent_grpo", 3, marks=slow)


@pytest.mark.parametrize("more", ["", pytest.param(LORA, marks=slow)], ids=["full", "lora"])
@pytest.mark.parametrize(("recipe", "stage"), [pytest.param("grpo_math", 2, marks=slow), ("grpo_math", 3), TEAM])
def test_the_reference_is_the_start(python: Python, tmp_path: Path, recipe: str, stage: int, more: str):
    python(*flags(recipe, tmp_path, stage, *more.split()))
    check_divergence(metrics(recipe, tmp_path))


@slow
@pytest.mark.parametrize(
    ("recipe", "stage", "more"),
    [("grpo_math", 2, ""), ("grpo_math", 3, ""), ("grpo_math", 3, LORA), ("multi_agent_grpo", 3, "")],
)
def test_a_model_with_random_weights_has_a_reference(python: Python, tmp_path: Path, recipe: str, stage: int, more: str):
    """It is built for the run; no folder holds it, and the run leaves no path of where it was for a while."""
    long = ["--max_prompt_length", "900"]  # its tokens are single bytes
    python(*flags(recipe, tmp_path, stage, "--model_name_or_path", "tiny:qwen3", *long, *more.split()))
    # All answers are equally wrong, so adapters, which begin with zeros, stay there.
    check_divergence(metrics(recipe, tmp_path), moved=not more)
    for file in (tmp_path / "run").rglob("*"):
        if file.suffix in (".json", ".md", ".yaml"):
            assert "/tiny-" not in file.read_text(), file


@slow
@pytest.mark.parametrize(("recipe", "stage"), [("grpo_math", 2), ("grpo_math", 3), TEAM])
def test_the_reference_is_of_the_revision(tmp_path: Path, recipe: str, stage: int):
    """A hub's cache in which `main` has other weights than the revision that is asked for."""
    repository = tmp_path / "hub" / "models--someone--tiny"
    for revision, commit in (("main", "0" * 40), ("taught", "1" * 40)):
        snapshot = repository / "snapshots" / commit
        shutil.copytree(ROOT / "recipes" / recipe / "lesson" / "tiny_base", snapshot)
        (repository / "refs").mkdir(exist_ok=True)
        (repository / "refs" / revision).write_text(commit)
    weights = repository / "snapshots" / ("0" * 40) / "model.safetensors"
    save_file({name: 0.9 * weight for name, weight in load_file(weights).items()}, weights, metadata={"format": "pt"})
    model = ["--model_name_or_path", "someone/tiny", "--model_revision", "taught"]
    command = ["python", *flags(recipe, tmp_path, stage, *model)]
    finished = run_command(command, HF_HUB_CACHE=str(tmp_path / "hub"))
    assert finished.returncode == 0, finished.stderr
    check_divergence(metrics(recipe, tmp_path))
