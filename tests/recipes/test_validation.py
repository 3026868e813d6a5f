"""What is chosen, is chosen on the validation: early stopping and the best weights never see what is reported on."""

import json
from pathlib import Path

import pytest
from conftest import ROOT, Python
from PIL import Image

# Runs a script up to its trainer, without a model, and prints what the trainer would be given to evaluate.
UP_TO_THE_TRAINER = """
import os, runpy, sys
from types import SimpleNamespace
import common.models.load
import trl

def stop(**settings):
    tokenizer = getattr(settings["processing_class"], "tokenizer", settings["processing_class"])
    print(len(settings["train_dataset"]), "rows to train", flush=True)
    print("EVALUATED", [tokenizer.decode(tokens) for tokens in settings["eval_dataset"]["input_ids"]], flush=True)
    print("SAMPLED", settings["args"].train_sampling_strategy, flush=True)
    sys.exit(7)

MODEL = SimpleNamespace(generation_config=SimpleNamespace(eos_token_id=0), model=SimpleNamespace(get_rope_index=None))
common.models.load.load_model = lambda *_, **__: MODEL
trl.SFTTrainer = stop
sys.argv = sys.argv[1:]
sys.path[0] = os.path.dirname(sys.argv[0])
runpy.run_path(sys.argv[0], run_name="__main__")
"""
RECIPES = sorted(path.parent.name for path in (ROOT / "recipes").glob("*/train.py") if " SFTTrainer(" in path.read_text())


def write_splits(folder: Path, thinks: bool) -> str:
    """Writes a folder with three splits that every supervised recipe reads."""
    folder.mkdir()
    pictures = folder.parent / "pictures"  # in the folder itself `datasets` would take them for the rows
    pictures.mkdir()
    for split, count in {"train": 5, "validation": 2, "test": 3}.items():
        lines = []
        for number in range(count):
            name = f"{split}{number}.png"
            Image.new("RGB", (60 + number, 30)).save(pictures / name)
            user = {"role": "user", "content": f"The {split} question {number}?"}
            answer = {"role": "assistant", "content": f"The {split} answer."} | ({"thinking": "I count."} if thinks else {})
            row = {"messages": [user, answer], "image": f"../pictures/{name}", "thinking_language": "English"}
            lines.append(json.dumps(row) + "\n")
        (folder / f"{split}.jsonl").write_text("".join(lines))
    return str(folder)


def test_supervised_recipes_are_found():
    assert len(RECIPES) >= 4


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_trainer_evaluates_the_validation(recipe: str, tmp_path: Path, python: Python):
    (tmp_path / "up_to_the_trainer.py").write_text(UP_TO_THE_TRAINER)
    base = ROOT / "recipes" / recipe / "lesson" / "tiny_base"
    settings = ["--model_name_or_path", str(base)] if base.exists() else []
    thinks = "thinking" in (ROOT / "recipes" / recipe / "data.py").read_text()  # other templates show no thought
    settings += [
        "--dataset_name",
        write_splits(tmp_path / "rows", thinks),
        "--output_dir",
        str(tmp_path / "run"),
        "--num_train",
        "0",
    ]
    train = ROOT / "recipes" / recipe / "train.py"
    done = python(str(tmp_path / "up_to_the_trainer.py"), str(train), *settings, "--max_length", "512", code=7)
    assert "5 rows to train on, 2 to choose by (from `validation`), 3 to report on (from `test`)" in done.stdout
    assert "\n5 rows to train\n" in done.stdout
    evaluated = done.stdout.partition("EVALUATED")[2]
    assert evaluated.count("question") == 2
    assert "The validation question 0?" in evaluated.replace("  ", " ")
    assert "SAMPLED random" in done.stdout  # whatever the lesson's own rows are


@pytest.mark.parametrize(("curriculum", "sampled"), [("0.15", "sequential"), ("0", "random")])
def test_a_curriculum_alone_is_trained_in_order(tmp_path: Path, python: Python, curriculum: str, sampled: str):
    (tmp_path / "up_to_the_trainer.py").write_text(UP_TO_THE_TRAINER)
    settings = ["--num_train", "40", "--num_held_out", "2", "--curriculum", curriculum, "--output_dir", str(tmp_path / "run")]
    train = str(ROOT / "recipes/ocr_vision_language/train.py")
    assert f"SAMPLED {sampled}" in python(str(tmp_path / "up_to_the_trainer.py"), train, *settings, code=7).stdout
