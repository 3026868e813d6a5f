"""sft_instruct: the tiny run, adapters, early stopping, interrupt and continue."""

import re
import signal
from pathlib import Path

from common.models.saved import load_run

import pytest
import torch
from conftest import Python, accelerate, run_command
from peft import PeftModel
from safetensors.torch import load_file
from sft_runs import EVALUATE, SHORT, TRAIN, ZERO2, losses, rows
from test_resume import interrupt
from transformers import AutoModelForCausalLM

ADAPTERS = "--use_peft true --lora_target_modules all-linear --lora_r 4".split()


def evaluations(output_dir: Path, split: str) -> dict[int, dict]:
    return {row["step"]: row["metrics"] for row in rows(output_dir) if row.get("split") == split}


def logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model.float().eval()(torch.arange(64)[None]).logits


# --- The tiny run ------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.campaign
def test_it_learns_the_facts(output_dir: Path):
    """Under ZeRO-3, with another seed; `make learn` trains under ZeRO-2."""
    finished = run_command(accelerate(TRAIN, "--seed", "1", "--output_dir", str(output_dir)), timeout=600)
    assert finished.returncode == 0, finished.stderr
    held_out, unseen = evaluations(output_dir, "held_out"), evaluations(output_dir, "unseen_facts")
    assert held_out[0]["exact_match"]["value"] < 0.01
    assert held_out[max(held_out)]["exact_match"]["value"] >= 0.9
    assert unseen[max(unseen)]["exact_match"]["value"] < 0.1  # nobody can know these


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, python: Python) -> Path:
    """A short run without adapters, whole: what it leaves is a base for those with them."""
    folder = tmp_path_factory.mktemp("sft_instruct") / "run"
    printed = python(TRAIN, *SHORT, "--output_dir", str(folder)).stdout
    # The first row as it is trained: the answer alone, and its end of turn.
    assert re.search(r"user<\|end_header_id\|>\n\n[^»]+assistant<\|end_header_id\|>\n\n»[^»«]+<\|eot_id\|>«", printed), printed
    return folder


def test_a_run_leaves_what_the_readme_promises(base: Path, python: Python):
    promised = ["report.html", "curves.png", "metrics.jsonl", "samples.jsonl", "config.yaml", "README.md", "model.safetensors"]
    assert [name for name in promised if not (base / name).exists()] == []
    printed = python(EVALUATE, "--num_held_out", "8", "--model_name_or_path", str(base)).stdout
    assert "held_out: 8 problems\n  exact_match" in printed
    # evaluate.py finds what the run measured last.
    loss = evaluations(base, "held_out")[2]["loss"]["value"]
    printed_loss = float(re.search(r"  loss +([\d.]+)", printed.split("held_out: 8 problems")[1])[1])
    assert printed_loss == pytest.approx(loss, rel=5e-3)  # the engine computed it in bfloat16 beside float32 weights


# --- Adapters ----------------------------------------------------------------------------------------------------------------


def check_adapter(output_dir: Path, base: Path) -> None:
    """Asserts that an adapter is whole, was trained, and that merging it changes nothing."""
    adapter = load_file(output_dir / "adapter_model.safetensors")
    assert all(weight.numel() > 0 for weight in adapter.values())
    assert all(weight.abs().max() > 0 for name, weight in adapter.items() if "lora_B" in name)
    alone = AutoModelForCausalLM.from_pretrained(base)
    before = logits(alone)
    tuned = PeftModel.from_pretrained(alone, output_dir)
    after = logits(tuned)
    assert (after - before).abs().max() > 1e-3
    torch.testing.assert_close(logits(tuned.merge_and_unload()), after, rtol=0, atol=1e-4)


def test_adapters_are_saved_whole_and_merge(base: Path, output_dir: Path, python: Python):
    """LoRA without quantisation, then QLoRA (NF4) under ZeRO-2, from the same base."""
    lora, qlora = output_dir.with_name("lora"), output_dir.with_name("qlora")
    settings = [*SHORT, *ADAPTERS, "--learning_rate", "0.01", "--model_name_or_path", str(base)]
    four_bit = ["--load_in_4bit", "true", "--bnb_4bit_quant_type", "nf4", "--use_bnb_nested_quant", "true"]
    python(TRAIN, *settings, *ZERO2, "--output_dir", str(lora))
    python(TRAIN, *settings, *ZERO2, *four_bit, "--output_dir", str(qlora))
    check_adapter(lora, base)
    check_adapter(qlora, base)
    # Rounded to four bits the model is nearly the same, but not quite.
    first, rounded = losses(lora)[0], losses(qlora)[0]
    assert rounded == pytest.approx(first, abs=0.1)
    assert rounded != first
    # Evaluated, it stands beside weights of four bits again: the run says so, and no flag is needed.
    measured = python(EVALUATE, "--model_name_or_path", str(qlora), code=0).stdout
    assert f"Settings: those of the run {qlora}" in measured
    assert "held_out: 8 problems" in measured
    # Loaded again, an adapter stands beside the weights that it was trained beside: here whole, there put back from four bits.
    given = AutoModelForCausalLM.from_pretrained(base).model.layers[0].mlp.up_proj.weight
    whole, put_back = (load_run(run)[0].get_base_model().model.layers[0].mlp.up_proj.base_layer.weight for run in (lora, qlora))
    assert whole.equal(given)
    assert 0 < (put_back - given).abs().max() < 0.2 * given.abs().max()


@pytest.mark.slow
def test_adapters_under_zero3(base: Path, output_dir: Path):
    """With recomputed activations, on two processes: a combination that used to fail in the libraries."""
    settings = [*SHORT, *ADAPTERS, "--learning_rate", "0.01", "--activation_checkpointing", "true"]
    settings += ["--model_name_or_path", str(base), "--output_dir", str(output_dir)]
    finished = run_command(accelerate(TRAIN, *settings, num_processes=2))
    assert finished.returncode == 0, finished.stderr
    check_adapter(output_dir, base)


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (
            "--load_in_4bit true",
            "load_in_4bit without use_peft: quantised weights are frozen, so nothing would be trained; ...",
        ),
        (
            "--load_in_8bit true",
            "load_in_8bit without use_peft: quantised weights are frozen, so nothing would be trained; ...",
        ),
        (
            "--load_in_4bit true --use_peft true --lora_modules_to_save lm_head --dtype float32",
            "load_in_4bit with lora_modules_to_save and dtype float32: ...; add `--dtype bfloat16`",
        ),
        (
            "--load_in_4bit true --use_peft true --deepspeed accelerate_configs/ds_zero3.json",
            "load_in_4bit under ZeRO-3: quantised weights are not sharded when they are loaded, ...; launch with zero2.yaml...",
        ),
    ],
)
def test_pairs_that_do_not_work_are_refused(output_dir: Path, python: Python, flags: str, line: str):
    refused = python(TRAIN, *flags.split(), "--output_dir", str(output_dir), code=2)
    assert re.fullmatch(".*".join(map(re.escape, f"error: {line}".split("..."))), refused.stderr.strip())
    assert not output_dir.exists()


@pytest.mark.parametrize("way", ["train_trainer", "train_accelerate"])
def test_adapters_are_for_train_py(output_dir: Path, python: Python, way: str):
    refused = python(f"recipes/sft_instruct/{way}.py", "--use_peft", "true", "--output_dir", str(output_dir), code=2)
    assert refused.stderr.startswith("error: use_peft: this script trains all weights; train adapters with train.py")


# --- Early stopping, interrupt and continue ----------------------------------------------------------------------------------

# So large a step makes the held-out loss rise at once, after it has fallen a little.
STOPPING = (
    "--max_steps 30 --eval_steps 2 --save_steps 2 --num_held_out 8 --per_device_train_batch_size 8 --warmup_steps 8".split()
)
STOPPING += "--learning_rate 0.2 --early_stopping_patience 2".split()


def check_stopped(output_dir: Path) -> None:
    """Asserts that a run stopped two evaluations after the best one, and kept the weights of that one."""
    by_step = {row["step"]: row["eval_loss"] for row in rows(output_dir) if "eval_loss" in row}
    best = min(by_step, key=by_step.get)
    assert max(by_step) == best + 4 < 30
    measured = [row for row in rows(output_dir) if row.get("split") == "held_out"]
    at_best = next(row for row in measured if row["step"] == best)
    assert measured[-1]["step"] == best  # of the weights that are kept, measured at the end
    assert measured[-1]["metrics"]["loss"]["value"] == pytest.approx(at_best["metrics"]["loss"]["value"], abs=1e-6)


@pytest.mark.parametrize("stage", [2, 3])
def test_it_stops_early_with_the_best_weights(output_dir: Path, python: Python, stage: int):
    python(TRAIN, *STOPPING, "--deepspeed", f"accelerate_configs/ds_zero{stage}.json", "--output_dir", str(output_dir))
    check_stopped(output_dir)


@pytest.mark.slow
def test_an_interrupted_run_ends_with_the_same_weights(tmp_path: Path):
    """Killed between two evaluations of which the first already counts towards stopping."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"

    def command(folder: Path) -> list[str]:
        return accelerate(TRAIN, *STOPPING, "--output_dir", str(folder), num_processes=2)

    finished = run_command(command(whole))
    assert finished.returncode == 0, finished.stderr
    check_stopped(whole)

    interrupt(command(parts), parts, signal.SIGKILL)
    continued = run_command(command(parts))
    assert continued.returncode == 0, continued.stderr
    assert f"Continuing from {parts / 'checkpoint-'}" in continued.stdout
    check_stopped(parts)
    assert losses(parts) == losses(whole)
    expected, found = load_file(whole / "model.safetensors"), load_file(parts / "model.safetensors")
    assert expected.keys() == found.keys()
    assert all(expected[name].equal(found[name]) for name in expected)

    again = run_command(command(parts))
    assert again.returncode == 0
    assert f"This run is complete: see {parts}/report.html" in again.stdout
