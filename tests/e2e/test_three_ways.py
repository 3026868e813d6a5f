"""Three ways into DeepSpeed agree on the same curve, on every launcher; and many rows are read once."""

import json
import string
from pathlib import Path

from common.models.load import load_model, load_tokenizer

import pytest
import torch
from conftest import Python, accelerate, run_command
from datasets import Dataset
from safetensors.torch import load_file
from sft_runs import SHORT, TRAIN, ZERO2, losses
from transformers import AutoModelForCausalLM, set_seed
from trl import ModelConfig

WAYS = ["train", "train_trainer", "train_accelerate"]
# Half the learning rate: with three warmup steps the whole one has a step at which the loss jumps, and a jump magnifies
# the last digit in which two orders of addition differ a hundredfold.
SAME = "--max_steps 20 --num_held_out 8 --warmup_steps 3 --learning_rate 2e-3 --bf16 false".split()


def check_same_curve(tmp_path: Path) -> None:
    curves = {way: losses(tmp_path / way) for way in WAYS}
    assert [len(curve) for curve in curves.values()] == [20, 20, 20]
    assert curves["train"][-1] < curves["train"][0] - 1
    for way in WAYS[1:]:
        assert curves[way] == pytest.approx(curves["train"], abs=1e-4)
    weights = [load_file(tmp_path / way / "model.safetensors") for way in WAYS]
    for other in weights[1:]:
        assert all(torch.allclose(weights[0][name], other[name], atol=1e-3) for name in weights[0])
        assert weights[0].keys() == other.keys()


def test_three_ways_give_the_same_curve(tmp_path: Path, python: Python):
    """Through `--deepspeed FILE`, as with plain python or the deepspeed launcher: ZeRO-2, float32, one process."""
    for way in WAYS:
        python(f"recipes/sft_instruct/{way}.py", *SAME, *ZERO2, "--output_dir", str(tmp_path / way))
    check_same_curve(tmp_path)


def test_zero3_gathers_an_output_head_of_its_own(tmp_path: Path, python: Python):
    """Large models have one, which the loss reads without calling it; small ones share the weights of the embedding."""
    args = ModelConfig(model_name_or_path="tiny:llama")
    tokenizer = load_tokenizer(args, string.printable)
    tokenizer.save_pretrained(tmp_path / "model")
    config = load_model(args, tokenizer).config
    config.tie_word_embeddings = False
    set_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "model")
    for stage in (2, 3):
        settings = json.loads(Path(f"accelerate_configs/ds_zero{stage}.json").read_text())
        settings["zero_optimization"] |= (
            {"stage3_param_persistence_threshold": 0} if stage == 3 else {}
        )  # shards this small one too
        (tmp_path / "ds.json").write_text(json.dumps(settings))
        files = ["--model_name_or_path", str(tmp_path / "model"), "--deepspeed", str(tmp_path / "ds.json")]
        flags = [*SHORT, "--bf16", "false", "--max_length", "600", *files]
        python(TRAIN, *flags, "--output_dir", str(tmp_path / str(stage)))
    assert losses(tmp_path / "3") == pytest.approx(losses(tmp_path / "2"), rel=1e-4)


@pytest.mark.parametrize("num_processes", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_random_weights_begin_alike_under_every_stage(tmp_path: Path, python: Python, num_processes: int):
    for stage in (2, 3):
        flags = [*SHORT, "--bf16", "false", "--output_dir", str(tmp_path / str(stage))]
        if num_processes == 1:
            python(TRAIN, *flags, "--deepspeed", f"accelerate_configs/ds_zero{stage}.json")
        else:
            command = accelerate(TRAIN, *flags, config=f"zero{stage}", num_processes=num_processes)
            finished = run_command([*command[:4], "--mixed_precision", "no", *command[4:]])
            assert finished.returncode == 0, finished.stderr
    assert losses(tmp_path / "3") == pytest.approx(losses(tmp_path / "2"), abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "num_processes", "more"),
    [
        ("zero3", 1, ""),
        ("zero2", 2, "--per_device_train_batch_size 8 --gradient_accumulation_steps 2"),
        ("zero3", 2, "--per_device_train_batch_size 8 --gradient_accumulation_steps 2"),
        ("ddp", 2, "--per_device_train_batch_size 8 --gradient_accumulation_steps 2"),
        # Packed rows, and epochs that end within an accumulation.
        ("zero2", 1, "--packing true --num_train 50 --per_device_train_batch_size 2 --gradient_accumulation_steps 4"),
    ],
)
def test_three_ways_give_the_same_curve_on_every_launcher(tmp_path: Path, config: str, num_processes: int, more: str):
    for way in WAYS:
        arguments = [*SAME, *more.split(), "--output_dir", str(tmp_path / way)]
        command = accelerate(f"recipes/sft_instruct/{way}.py", *arguments, config=config, num_processes=num_processes)
        finished = run_command([*command[:4], "--mixed_precision", "no", *command[4:]])
        assert finished.returncode == 0, finished.stderr
    check_same_curve(tmp_path)


@pytest.mark.slow
def test_many_rows_are_read_once_by_two_processes(tmp_path: Path):
    """The first one makes the tokens on all cores, and keeps them; the other takes them from there."""
    file, cache = tmp_path / "many.jsonl", tmp_path / "cache"
    pairs = ({"question": f"What is {number} and {number % 7}?", "answer": f"It is {number}."} for number in range(3000))
    file.write_text("\n".join(map(json.dumps, pairs)))
    run = ["--dataset_name", str(file), *SHORT, "--output_dir", str(tmp_path / "run")]
    finished = run_command(accelerate(TRAIN, *run, config="zero2", num_processes=2), timeout=600, HF_DATASETS_CACHE=str(cache))
    assert finished.returncode == 0, finished.stderr
    assert "tokens" not in finished.stderr  # what is said where they cannot be kept, or not be read, begins with them
    (tokens,) = (cache / "zero_recipes").iterdir()
    assert len(Dataset.from_file(str(tokens / "tokens.arrow"))) > 2000
