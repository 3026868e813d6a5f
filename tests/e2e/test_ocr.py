"""ocr_vision_language: it learns to read, adapters for new fonts, its own pictures, interrupt and continue."""

import json
from pathlib import Path

import pytest
import torch
from conftest import ROOT, Python, accelerate, run_command
from forks import BIN, Server
from PIL import Image
from safetensors.torch import load_file
from test_resume import check_interrupted
from transformers import AutoModelForImageTextToText
from vision_families import save_vision_model

TRAIN, EVALUATE = "recipes/ocr_vision_language/train.py", "recipes/ocr_vision_language/evaluate.py"
SROIE = ROOT.parent / "shared" / "data" / "sroie"

# The smallest run that goes through every part of the tiny recipe.
SHORT = "--max_steps 2 --num_train 32 --num_held_out 4 --per_device_train_batch_size 8 --eval_steps 1 --save_steps 1".split()
SHORT += "--warmup_steps 1 --logging_steps 1 --dataloader_num_workers 0".split()
ZERO2 = ["--deepspeed", "accelerate_configs/ds_zero2.json"]
ADAPTERS = "--use_peft true --lora_r 4 --learning_rate 0.01".split()


def rows(output_dir: Path) -> list[dict]:
    return [json.loads(line) for line in (output_dir / "metrics.jsonl").read_text().splitlines()]


def losses(output_dir: Path) -> list[float]:
    return [row["loss"] for row in rows(output_dir) if "loss" in row]


def error_rates(output_dir: Path, split: str) -> dict[int, float]:
    found = [row for row in rows(output_dir) if row.get("split") == split]
    return {row["step"]: row["metrics"]["character_error_rate"]["value"] for row in found}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, python: Python) -> Path:
    """A short run without adapters: what it leaves is a base for those with them."""
    folder = tmp_path_factory.mktemp("ocr") / "run"
    printed = python(TRAIN, *SHORT, *ZERO2, "--output_dir", str(folder)).stdout
    # The first row as it is trained: the transcription alone, and its end of turn.
    question = "<|vision_start|><|image_pad|><|vision_end|>Read the text in the image.<|im_end|>\n<|im_start|>assistant\n»"
    assert question in printed
    assert printed.partition(question)[2].splitlines()[0].endswith("<|im_end|>«")
    return folder


def test_a_run_leaves_what_the_readme_promises(base: Path, python: Python):
    promised = ["report.html", "curves.png", "metrics.jsonl", "samples.jsonl", "config.yaml", "README.md", "model.safetensors"]
    assert [name for name in promised if not (base / name).exists()] == []
    page = (base / "report.html").read_text()
    assert page.count('src="data:image/') >= 4  # the pictures, beside what was read in them
    printed = python(EVALUATE, "--num_held_out", "4", "--model_name_or_path", str(base)).stdout
    # The model and its processor, read back, find what the run measured last.
    assert f"{error_rates(base, 'held_out')[2]:.1%}" in printed


def test_adapters_in_16_and_in_4_bits(base: Path, tmp_path: Path, python: Python):
    settings = [*SHORT, *ADAPTERS, *ZERO2, "--model_name_or_path", str(base)]
    python(TRAIN, *settings, "--output_dir", str(tmp_path / "lora"))
    python(TRAIN, *settings, "--freeze_vision_tower", "true", "--output_dir", str(tmp_path / "frozen"))
    four_bits = ["--load_in_4bit", "true", "--bnb_4bit_quant_type", "nf4"]
    python(TRAIN, *settings, *four_bits, "--output_dir", str(tmp_path / "qlora"))
    lora, frozen, qlora = (load_file(tmp_path / name / "adapter_model.safetensors") for name in ("lora", "frozen", "qlora"))
    for adapter in (lora, frozen, qlora):
        assert all(weight.abs().max() > 0 for name, weight in adapter.items() if "lora_B" in name)
    assert any(".visual." in name for name in lora)
    assert not any(".visual." in name for name in frozen)
    # Rounded to four bits the model is nearly the same, but not quite.
    first, rounded = losses(tmp_path / "lora")[0], losses(tmp_path / "qlora")[0]
    assert rounded == pytest.approx(first, abs=0.2)
    assert rounded != first


def test_a_folder_of_ones_own_pictures(tmp_path: Path, python: Python):
    """Of several sizes and kinds, two in a row, and one row without any."""
    folder = tmp_path / "receipts"
    folder.mkdir()
    for number, (mode, size) in enumerate([("RGB", (60, 30)), ("L", (200, 40)), ("RGBA", (90, 90)), ("CMYK", (50, 28))]):
        image = Image.linear_gradient("L").resize(size).convert("RGB")
        image = image.convert(mode) if mode != "RGBA" else image.convert("RGB").convert("RGBA")
        image.save(folder / f"{number}.{'jpg' if mode == 'CMYK' else 'png'}")
    asked = {"role": "user", "content": "Which differs?"}
    table = [
        *({"file_name": f"{number}.{'jpg' if number == 3 else 'png'}", "text": f"TEXT {number}"} for number in range(4)),
        {"images": ["0.png", "1.png"], "messages": [asked, {"role": "assistant", "content": "THE SECOND"}]},
        {"images": [], "messages": [{"role": "user", "content": "6 * 7?"}, {"role": "assistant", "content": "42"}]},
        {"file_name": "2.png", "text": "HELD OUT"},
    ]
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in table))
    settings = "--num_held_out 1 --per_device_train_batch_size 3 --max_steps 2 --num_train 0 --max_length 128".split()
    output_dir = tmp_path / "run"
    printed = python(TRAIN, *SHORT, "--dataset_name", str(folder), *settings, "--output_dir", str(output_dir)).stdout
    assert "held_out character_error_rate" in printed
    assert all(torch.isfinite(torch.tensor(losses(output_dir))))

    (folder / "1.png").write_bytes(b"no picture")
    refused = python(TRAIN, *SHORT, "--dataset_name", str(folder), *settings, "--output_dir", str(tmp_path / "new"), code=2)
    assert refused.stderr.strip().startswith(f"error: {folder / 'metadata.jsonl'}, line 2: ")
    assert not (tmp_path / "new").exists()
    # Of the rows with a bad picture two are left out: its own, and the one with two.
    flags = [*settings, "--skip_bad_rows", "true", "--output_dir", str(tmp_path / "new")]
    assert "Left out 2 of 7 rows" in python(TRAIN, *SHORT, "--dataset_name", str(folder), *flags).stdout


@pytest.mark.parametrize("family", [pytest.param("qwen2_5_vl", marks=pytest.mark.slow), "qwen3_vl"])
def test_other_families_train_and_are_read_back(family: str, tmp_path: Path, python: Python):
    save_vision_model(family, tmp_path / "model")
    run, more = tmp_path / "run", ["--max_length", "256", *ADAPTERS, *ZERO2]
    python(TRAIN, *SHORT, *more, "--model_name_or_path", str(tmp_path / "model"), "--output_dir", str(run))
    first, second = losses(run)
    assert 4 < first < 8  # of 320 tokens, with random weights
    assert second != first
    python(str(BIN / "recipes"), "export", str(run))  # puts the adapters into the weights, reads them back and compares
    exported = ["--use_peft", "false", "--model_name_or_path", str(run / "export"), "--num_held_out", "4"]
    assert f"{error_rates(run, 'held_out')[2]:.1%}" in python(EVALUATE, *exported, "--max_length", "256").stdout


@pytest.mark.skipif(not SROIE.exists(), reason=f"needs receipts of SROIE in {SROIE}")
def test_evaluate_reads_real_receipts(base: Path, python: Python):
    limits = "--num_held_out 8 --max_length 1024 --max_pixels 50176".split()
    printed = python(EVALUATE, "--model_name_or_path", str(base), "--dataset_name", str(SROIE), *limits).stdout
    assert "held_out: 8 problems\n  character_error_rate" in printed


@pytest.mark.parametrize("stage", [pytest.param(2, marks=pytest.mark.slow), 3])
def test_rows_with_and_without_pictures_on_two_processes(tmp_path: Path, server: Server, stage: int):
    """At each step one process has a picture and the other has none; what is learned and read is as with a single process."""
    (tmp_path / "data").mkdir()
    Image.linear_gradient("L").resize((60, 30)).save(tmp_path / "data" / "0.png")
    for part, count, with_picture in (("train", 8, (0, 2, 4, 6)), ("validation", 4, (0, 2)), ("test", 4, (0,))):
        table = [
            {"messages": [{"role": "user", "content": f"{part} {n}?"}, {"role": "assistant", "content": str(n)}]}
            | ({"image": "0.png"} if n in with_picture else {})
            for n in range(count)
        ]
        (tmp_path / "data" / f"{part}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in table))
    config = json.loads((ROOT / f"accelerate_configs/ds_zero{stage}.json").read_text())
    if stage == 3:
        config["zero_optimization"] |= {"stage3_param_persistence_threshold": 0, "stage3_prefetch_bucket_size": 100}
    (tmp_path / "zero.json").write_text(json.dumps(config))
    # As where the whole model does not fit: it is gathered layer by layer while it generates.
    (tmp_path / "first.py").write_text(
        "from common.generate import completions\ncompletions._whole_model_fits = lambda model: False"
    )
    settings = [*SHORT, "--dataset_name", str(tmp_path / "data"), "--train_sampling_strategy", "sequential", "--num_train", "0"]
    settings += ["--max_steps", "3", "--save_strategy", "no", "--eval_strategy", "steps", "--max_new_tokens", "4"]
    settings += ["--deepspeed", str(tmp_path / "zero.json"), "--per_device_eval_batch_size", "1"]
    found = []
    for num_processes in (1, 2):
        more = ["--per_device_train_batch_size", str(2 // num_processes), "--output_dir", str(tmp_path / f"{num_processes}")]
        run = server.start(TRAIN, *settings, *more, num_processes=num_processes, FIRST=str(tmp_path / "first.py"))
        assert run.wait(timeout=200) == [0] * num_processes, run.text()
        found.append((losses(tmp_path / f"{num_processes}"), error_rates(tmp_path / f"{num_processes}", "held_out")))
    (alone, read_alone), (together, read_together) = found
    assert len(alone) == 3
    assert together == pytest.approx(alone, abs=1e-3)
    assert read_together == pytest.approx(read_alone, abs=1e-3)


# --- Where sharding matters --------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("frozen", ["true", "false"])
@pytest.mark.parametrize("adapters", [[], ADAPTERS])
def test_recomputation_under_zero3(base: Path, output_dir: Path, frozen: str, adapters: list[str]):
    """With the vision tower frozen and not, on two processes: pairs that used to fail in the libraries."""
    settings = [*SHORT, *adapters, "--activation_checkpointing", "true", "--freeze_vision_tower", frozen]
    settings += ["--model_name_or_path", str(base), "--learning_rate", "0.01", "--output_dir", str(output_dir)]
    finished = run_command(accelerate(TRAIN, *settings, num_processes=2))
    assert finished.returncode == 0, finished.stderr
    if adapters:
        adapter = load_file(output_dir / "adapter_model.safetensors")
        assert all(weight.abs().max() > 0 for name, weight in adapter.items() if "lora_B" in name)
        return
    # By the names in memory: what ZeRO-3 leaves has those of the hub, which load as well.
    before, after = (AutoModelForImageTextToText.from_pretrained(folder).state_dict() for folder in (base, output_dir))
    assert before.keys() == after.keys()
    moved = {name: not before[name].equal(after[name]) for name in after}
    assert any(moved[name] for name in moved if "visual" in name) == (frozen == "false")
    assert any(moved[name] for name in moved if "visual" not in name)


@pytest.mark.slow
@pytest.mark.campaign
def test_an_interrupted_run_ends_with_the_same_weights(tmp_path: Path):
    settings = "--max_steps 6 --save_steps 2 --eval_steps 3 --num_train 48 --num_held_out 4"
    settings += " --per_device_train_batch_size 4 --logging_steps 1"
    check_interrupted(TRAIN, settings, tmp_path)


# --- The tiny run, and the lesson after it ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ocr") / "trained"
    finished = run_command(accelerate(TRAIN, "--output_dir", str(folder), config="zero2"), timeout=900)
    assert finished.returncode == 0, finished.stderr
    return folder


@pytest.mark.slow
@pytest.mark.campaign
def test_it_learns_to_read(trained: Path):
    held_out, unseen_font = error_rates(trained, "held_out"), error_rates(trained, "unseen_font")
    assert held_out[0] > 0.9
    assert held_out[max(held_out)] <= 0.1
    assert unseen_font[max(unseen_font)] <= 0.15


@pytest.mark.slow
@pytest.mark.campaign
@pytest.mark.parametrize("four_bits", [[], ["--load_in_4bit", "true", "--bnb_4bit_quant_type", "nf4"]])
def test_adapters_learn_new_fonts_and_merge(trained: Path, output_dir: Path, four_bits: list[str]):
    settings = ["--config", "tiny_lora.yaml", "--model_name_or_path", str(trained), "--output_dir", str(output_dir)]
    finished = run_command(accelerate(TRAIN, *settings, *four_bits, config="zero2"), timeout=600)
    assert finished.returncode == 0, finished.stderr
    italics = error_rates(output_dir, "held_out")
    assert italics[max(italics)] <= italics[0] / 2

    exported = run_command(["recipes", "export", str(output_dir)])
    assert exported.returncode == 0, exported.stderr
    arguments = ["--config", "tiny_lora.yaml", "--use_peft", "false", "--model_name_or_path", str(output_dir / "export")]
    evaluated = run_command(["python", EVALUATE, *arguments])
    found = float(evaluated.stdout.split("character_error_rate")[1].split("%")[0]) / 100
    assert found == pytest.approx(italics[max(italics)], abs=0.002)
