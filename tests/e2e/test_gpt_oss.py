"""gpt_oss_multilingual: the tiny run learns, an adapter teaches it one more language, MXFP4, ZeRO-3, interrupt and continue."""

import json
import subprocess
from pathlib import Path

import pytest
from conftest import ROOT, Python, accelerate, command_env, run_command
from mxfp4_checkpoint import write_mxfp4
from safetensors.torch import load_file
from test_resume import check_interrupted
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, set_seed

TRAIN, EVALUATE = "recipes/gpt_oss_multilingual/train.py", "recipes/gpt_oss_multilingual/evaluate.py"
MGSM = Path(__file__).parents[3] / "shared" / "data" / "mgsm"

# The smallest run that goes through every part of the tiny recipe.
SHORT = "--max_steps 2 --num_train 32 --num_held_out 12 --per_device_train_batch_size 8 --eval_steps 1 --save_steps 1".split()
SHORT += "--warmup_steps 1 --logging_steps 1 --max_new_tokens 48".split()
TEXTS = ["reasoning language: Korean", "In the box there are 3 apples."]  # what the tokenizer of a stored model knows
ADAPTERS = ["--config", "tiny_lora.yaml", *SHORT, "--max_length", "512", "--learning_rate", "0.01"]


def rows_of(output_dir: Path) -> list[dict]:
    return [json.loads(line) for line in (output_dir / "metrics.jsonl").read_text().splitlines()]


def evaluations(output_dir: Path) -> dict[tuple[str, int], dict[str, float]]:
    return {
        (row["split"], row["step"]): {name: metric["value"] for name, metric in row["metrics"].items()}
        for row in rows_of(output_dir)
        if "split" in row
    }


def losses(output_dir: Path) -> list[float]:
    return [row["loss"] for row in rows_of(output_dir) if "loss" in row]


# --- Short runs -------------------------------------------------------------------------------------------------------------


def test_a_run_leaves_what_the_readme_promises(output_dir: Path, python: Python):
    finished = python(TRAIN, *SHORT, "--deepspeed", "accelerate_configs/ds_zero2.json", "--output_dir", str(output_dir))
    assert "warn" not in (finished.stdout + finished.stderr).lower()
    measured = evaluations(output_dir)
    assert {split for split, _ in measured} == {"held_out", "other_languages"}
    assert {"thinking_language", "answer", "harmony_format", "thinks_in_Greek"} <= set(measured["held_out", 2])
    assert 0 <= measured["held_out", 2]["idlest_expert_share"] < 0.25 < measured["held_out", 2]["busiest_expert_share"] <= 1
    matrices = next(row["matrices"] for row in rows_of(output_dir) if row.get("split") == "held_out")
    assert [matrix["title"] for matrix in matrices] == ["Thoughts in the language asked for", "Work of the experts"]
    report = (output_dir / "report.html").read_text()
    assert "<h3>Thoughts in the language asked for, held out</h3>" in report
    assert "<h3>Work of the experts, held out</h3>" in report
    # What is read and what is trained, of the first row, with the date of the settings.
    read, trained = finished.stdout.split("» «:", 1)[1].split("»", 1)
    assert "Current date: 2025-08-05" in read
    assert "reasoning language: " in read
    assert trained.split("«")[0].startswith("<|channel|>analysis<|message|>")
    assert trained.split("«")[0].endswith("<|return|>")
    # Saved as a model that generates: with the router's logits on, it could not.
    assert json.loads((output_dir / "config.json").read_text()).get("output_router_logits") in (None, False)
    weights = load_file(output_dir / "model.safetensors")
    assert all(weight.numel() > 0 and weight.isfinite().all() for weight in weights.values())

    evaluated = python(EVALUATE, "--model_name_or_path", str(output_dir), "--num_held_out", "12", "--max_new_tokens", "48")
    assert "held_out: 12 problems" in evaluated.stdout
    share = next(line.split()[1] for line in evaluated.stdout.splitlines() if line.split()[:1] == ["busiest_expert_share"])
    assert float(share) == pytest.approx(measured["held_out", 2]["busiest_expert_share"], abs=0.01)

    chat = ["recipes", "chat", str(output_dir), "--reasoning_language", "Greek", "--max_new_tokens", "4"]
    said = subprocess.run(chat, input="1?\n/think Klingon\n", cwd=ROOT, env=command_env(), capture_output=True, text=True)
    assert said.returncode == 0, said.stderr
    assert said.stdout.splitlines()[0].startswith("thinks:  ")
    assert "unknown language `Klingon`" in said.stdout
    refused = run_command(["recipes", "chat", str(output_dir), "--reasoning_language", "Frnech"])
    assert refused.returncode == 2
    assert refused.stderr == "error: --reasoning_language: unknown language `Frnech`; did you mean `French`?\n"


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model as gpt-oss is stored, in MXFP4, with a tokenizer that knows the alphabets."""
    folder = tmp_path_factory.mktemp("mxfp4") / "model"
    write_mxfp4(folder, TEXTS)
    return folder


@pytest.mark.slow
def test_mxfp4_trains_with_adapters_and_is_exported_with_what_the_experts_learned(
    stored: Path, output_dir: Path, python: Python
):
    settings = [*ADAPTERS, "--model_name_or_path", str(stored), "--dtype", "bfloat16"]
    python(TRAIN, *settings, "--deepspeed", "accelerate_configs/ds_zero2.json", "--output_dir", str(output_dir))
    adapter = load_file(output_dir / "adapter_model.safetensors")
    experts = {name: weight for name, weight in adapter.items() if "experts" in name and "lora_B" in name}
    assert len(experts) == 6  # two parameters in each of three layers
    assert all(weight.abs().max() > 0 for weight in experts.values())

    # The export compares itself with the trained model, and would fail if an adapter were lost.
    exported = run_command(["recipes", "export", str(output_dir)])
    assert exported.returncode == 0, exported.stdout + exported.stderr
    weights = load_file(output_dir / "export" / "model.safetensors")
    assert not [name for name in weights if name.endswith(("_blocks", "_scales"))]
    assert "quantization_config" not in json.loads((output_dir / "export" / "config.json").read_text())


def test_a_model_is_written_in_16_bits_once(stored: Path, tmp_path: Path, python: Python):
    script, folder = "recipes/gpt_oss_multilingual/dequantize.py", tmp_path / "bf16"
    python(script, str(stored), str(folder))
    found, meant = load_file(folder / "model.safetensors"), write_mxfp4(tmp_path / "again", TEXTS)
    assert all(found[name].float().equal(weight) for name, weight in meant.items())
    assert "quantization_config" not in json.loads((folder / "config.json").read_text())
    files = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    refused = python(script, str(stored), str(folder), code=2)
    assert refused.stderr == f"error: {folder} is there already; choose another folder, or remove it\n"
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == files


# What a large model is to DeepSpeed's defaults: nothing stays gathered, and nothing large is gathered ahead.
LARGE = {"stage3_param_persistence_threshold": 0, "stage3_prefetch_bucket_size": 100}
LARGE |= {"stage3_max_live_parameters": 1000, "stage3_max_reuse_distance": 1000}


@pytest.mark.slow
def test_zero3_gathers_experts_with_adapters(stored: Path, tmp_path: Path, python: Python):
    config = AutoConfig.from_pretrained(stored)
    config.tie_word_embeddings = False  # as in gpt-oss-20b: the head has weights of its own
    del config.quantization_config
    set_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "model")
    AutoTokenizer.from_pretrained(stored).save_pretrained(tmp_path / "model")
    found = []
    for stage in (2, 3):
        settings = json.loads(Path(f"accelerate_configs/ds_zero{stage}.json").read_text())
        settings["zero_optimization"] |= LARGE if stage == 3 else {}
        (tmp_path / "ds.json").write_text(json.dumps(settings))
        batch = "--gradient_accumulation_steps 2 --per_device_train_batch_size 4 --bf16 false --max_length 512".split()
        files = ["--model_name_or_path", str(tmp_path / "model"), "--deepspeed", str(tmp_path / "ds.json")]
        python(TRAIN, *ADAPTERS, *batch, *files, "--output_dir", str(tmp_path / str(stage)))
        found.append(losses(tmp_path / str(stage)))
    assert found[0] == pytest.approx(found[1], rel=1e-4)


@pytest.mark.slow
def test_mxfp4_trains_alike_under_zero2_and_zero3(stored: Path, tmp_path: Path):
    found = []
    for stage, num_processes in (("zero2", 1), ("zero3", 2)):
        folder = tmp_path / stage
        batch = ["--per_device_train_batch_size", str(8 // num_processes)]
        settings = [*ADAPTERS, *batch, "--model_name_or_path", str(stored), "--output_dir", str(folder)]
        finished = run_command(accelerate(TRAIN, *settings, config=stage, num_processes=num_processes), timeout=600)
        assert finished.returncode == 0, finished.stderr
        found.append(losses(folder))
    assert found[0] == pytest.approx(found[1], rel=1e-4)


@pytest.mark.slow
def test_an_adapter_saved_under_zero3_is_the_trained_one(stored: Path, output_dir: Path):
    command = accelerate("tests/e2e/adapter_under_zero3.py", str(stored), str(output_dir), num_processes=2)
    command[2:2] = ["--mixed_precision", "no"]
    finished = run_command(command)
    assert finished.returncode == 0, finished.stderr
    found = json.loads(finished.stdout.split("FOUND ")[1].splitlines()[0])
    assert found["same names"]
    assert found["experts"] == 12  # two halves of the adapter of each of two parameters, in three layers
    assert found["equal"]
    assert found["moved experts"]
    assert found["training changed logits by"] > 0.1
    assert found["logits differ"] < 1e-4 * found["training changed logits by"]


@pytest.mark.slow
def test_an_interrupted_run_ends_with_the_same_weights(tmp_path: Path):
    settings = "--max_steps 6 --num_train 96 --num_held_out 6 --per_device_train_batch_size 8 --eval_steps 3 --save_steps 2"
    settings += " --warmup_steps 1 --max_new_tokens 8"
    check_interrupted(TRAIN, settings, tmp_path)


# --- The tiny run, and the lesson after it ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny run under ZeRO-3; `make learn` has it under ZeRO-2."""
    folder = tmp_path_factory.mktemp("gpt_oss") / "run"
    finished = run_command(accelerate(TRAIN, "--output_dir", str(folder), config="zero3"), timeout=900)
    assert finished.returncode == 0, finished.stderr
    return folder


@pytest.mark.slow
@pytest.mark.campaign
def test_it_learns_to_think_in_the_language_asked_for(trained: Path):
    measured = evaluations(trained)
    assert measured["held_out", 0]["thinking_language"] == 0
    assert measured["held_out", 520]["thinking_language"] >= 0.98
    assert measured["held_out", 520]["answer"] >= 0.8
    assert measured["held_out", 520]["harmony_format"] >= 0.98
    # The language that is not trained is read and answered in, and not thought in.
    assert measured["other_languages", 520]["thinking_language"] <= 0.05


@pytest.mark.slow
@pytest.mark.campaign
def test_an_adapter_teaches_the_held_out_language(trained: Path, output_dir: Path):
    settings = ["--config", "tiny_lora.yaml", "--model_name_or_path", str(trained), "--output_dir", str(output_dir)]
    finished = run_command(accelerate(TRAIN, *settings, config="zero3"), timeout=600)
    assert finished.returncode == 0, finished.stderr
    measured = evaluations(output_dir)
    assert measured["held_out", 0]["thinking_language"] <= 0.05
    assert measured["held_out", 200]["thinking_language"] >= 0.95
    for metric in ("thinking_language", "answer"):
        assert measured["other_languages", 200][metric] >= measured["other_languages", 0][metric] - 0.02

    exported = run_command(["recipes", "export", str(output_dir)])
    assert exported.returncode == 0, exported.stderr
    arguments = ["--config", "tiny_lora.yaml", "--use_peft", "false", "--model_name_or_path", str(output_dir / "export")]
    evaluated = run_command(["python", EVALUATE, *arguments])
    share = float(evaluated.stdout.split("thinking_language")[1].split("%")[0]) / 100
    assert share == pytest.approx(measured["held_out", 200]["thinking_language"], abs=0.01)

    chat = ["recipes", "chat", str(output_dir), "--reasoning_language", "Korean"]
    question = "In the box there are 3 eggs. We add 4. We take away 2. How many are there now?\n"
    said = subprocess.run(chat, input=question, cwd=ROOT, env=command_env(), capture_output=True, text=True, check=True)
    thought, answer = said.stdout.splitlines()
    assert "더하면" in thought
    assert answer.startswith("answers: In the ")


@pytest.mark.slow
@pytest.mark.skipif(not MGSM.exists(), reason=f"needs the files of MGSM in {MGSM}")
def test_mgsm_runs_through_the_same_evaluation(stored: Path):
    settings = ["--dataset_name", str(MGSM), "--num_held_out", "24", "--max_length", "2048"]
    finished = run_command(["python", EVALUATE, "--model_name_or_path", str(stored), *settings])
    assert finished.returncode == 0, finished.stderr
    assert "mgsm: 24 problems" in finished.stdout
    assert "thinks_in_Hindi" in finished.stdout
