"""A copy of a recipe may do without the folder lesson/: it trains and measures on data of one's own as before."""

import json
import re
import shutil
from pathlib import Path

import pytest
from conftest import ROOT, Python
from PIL import Image

# Runs a script up to where it loads its model.
UP_TO_THE_LOADER = """
import os, runpy, sys
import common.models.load

def stop(*arguments, **settings):
    print("the model loader is reached", flush=True)
    sys.exit(7)

common.models.load.load_model = stop
sys.argv = sys.argv[1:]
sys.path[0] = os.path.dirname(sys.argv[0])
runpy.run_path(sys.argv[0], run_name="__main__")
"""
RECIPES = sorted(path.parent.name for path in (ROOT / "recipes").glob("*/lesson"))


@pytest.fixture(params=RECIPES)
def copy(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    ignored = shutil.ignore_patterns("lesson", "__pycache__")
    return Path(shutil.copytree(ROOT / "recipes" / request.param, tmp_path / request.param, ignore=ignored))


def write_rows(folder: Path, thinks: bool) -> str:
    """Writes rows that every recipe reads."""
    lines = []
    for number in range(60):
        Image.new("RGB", (60 + number, 30)).save(folder / f"{number}.png")
        user = {"role": "user", "content": f"What is {number} + 1?"}
        answer = {"role": "assistant", "content": f"It is {number + 1}."} | ({"thinking": "I count."} if thinks else {})
        row = {
            "question": user["content"],
            "answer": f"#### {number + 1}",
            "image": f"{number}.png",
            "messages": [user, answer],
        }
        lines.append(json.dumps(row | {"thinking_language": "English"}) + "\n")
    (folder / "rows.jsonl").write_text("".join(lines))
    return str(folder / "rows.jsonl")


def test_its_own_data_comes_to_the_model(copy: Path, tmp_path: Path, python: Python):
    (tmp_path / "up_to_the_loader.py").write_text(UP_TO_THE_LOADER)
    base = ROOT / "recipes" / copy.name / "lesson" / "tiny_base"
    model = ["--model_name_or_path", str(base)] if base.exists() else []
    thinks = "thinking" in (copy / "data.py").read_text()  # other templates do not show a thought, and refuse the row
    settings = ["--dataset_name", write_rows(tmp_path, thinks), *model, "--output_dir", str(tmp_path / "run")]
    for script in ("train.py", "evaluate.py"):
        done = python(str(tmp_path / "up_to_the_loader.py"), str(copy / script), *settings, code=7)
        assert re.search(r"rows.jsonl: \d\d rows to train on, \d+ to choose by", done.stdout)
        assert done.stdout.endswith("the model loader is reached\n")
    if (copy / "chat.py").exists():
        assert "usage: recipes chat" in python(str(copy / "chat.py"), "--help").stdout


def test_generated_data_ends_in_one_line(copy: Path, tmp_path: Path, python: Python):
    base = ROOT / "recipes" / copy.name / "lesson" / "tiny_base"
    model = ["--model_name_or_path", str(base)] if base.exists() else []
    done = python(str(copy / "train.py"), *model, "--output_dir", str(tmp_path / "run"), code=2)
    assert done.stderr == (
        "error: dataset_name synthetic: the folder lesson/, which generates these rows, is not in this copy of the recipe; "
        "pass a file, a folder or a hub id, or copy lesson/ from the recipe that this one was made of\n"
    )
    assert not (tmp_path / "run").exists()
