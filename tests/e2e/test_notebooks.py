"""The notebooks are those of today's tutorials, and one of them runs from its first cell to its last."""

import re
import shlex
import sys
from pathlib import Path

import nbformat
import pytest
from conftest import ROOT, run_command
from forks import command_env
from nbclient import NotebookClient
from test_readme import RECIPES, as_small, bring_your_own

sys.path.insert(0, str(ROOT / "docs"))
from notebooks import notebook

LAUNCH = re.compile(r"^(LOCAL_SIZE=2 |)(\S.* recipes/(\w+)/\w+\.py\b.*)$", re.MULTILINE)


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_notebook_is_its_tutorial(recipe: str):
    assert (ROOT / "notebooks" / f"{recipe}.ipynb").read_text() == notebook(recipe), "python docs/notebooks.py"


@pytest.mark.parametrize(
    ("capability", "does"),
    [
        ("0", "No GPU here that torch can use: the tiny model above is what such a machine trains."),
        ("60", "The locked torch is not built for this GPU (compute capability 60, below 75)."),
        ("75", "launch --config_file accelerate_configs/zero2.yaml --mixed_precision fp16 recipes/grpo_math/train.py"),
        ("120", "launch --config_file accelerate_configs/zero2.yaml recipes/grpo_math/train.py --config lora_8gb.yaml"),
    ],
)
def test_the_last_cell_asks_which_gpu_there_is(tmp_path: Path, capability: str, does: str):
    for name, printed in {"python": capability, "accelerate": "$@"}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\necho {printed}\n")
        (tmp_path / name).chmod(0o755)
    cell = nbformat.reads(notebook("grpo_math"), as_version=4).cells[-1].source.partition("\n")[2]
    assert run_command(["bash", "-ec", cell], PATH=f"{tmp_path}:/bin:/usr/bin").stdout.startswith(does)


def shortened(cell: str, recipe: str, root: Path) -> str:
    """Returns a cell with its launches in the small form that the READMEs have in their tests; of a copy as of its recipe."""

    def small(launch: re.Match) -> str:
        folder, own = f"recipes/{launch[3]}/", f"recipes/{recipe}/"
        words = as_small(shlex.split(launch[2].replace(folder, own)), root)
        return launch[1] + shlex.join(words).replace(own, folder)

    return LAUNCH.sub(small, cell)


@pytest.mark.slow
@pytest.mark.campaign
@pytest.mark.timeout(2400)
def test_a_notebook_runs(checkout: Path):
    """One for all: tests/e2e/test_readme.py gives the commands of every tutorial."""
    recipe = "grpo_math"
    bring_your_own(checkout / "recipes" / recipe / "README.md", checkout)
    path = checkout / "notebooks" / f"{recipe}.ipynb"
    book = nbformat.read(path, as_version=4)
    cells = [cell for cell in book.cells if cell.cell_type == "code"]
    for cell in cells:
        cell.source = shortened(cell.source, recipe, checkout)
    client = NotebookClient(book, timeout=900, resources={"metadata": {"path": str(path.parent)}})
    client.execute(env=command_env())  # a cell that fails ends it
    nbformat.write(book, path)
    (shown,) = [cell for cell in cells if cell.source.startswith("show(")]
    assert "image/png" in shown.outputs[0].data
    assert "<iframe" in shown.outputs[1].data["text/html"]
    printed = [output.get("text", "") for cell in cells for output in cell.outputs]
    assert not any("of yours into" in text for text in printed)
    assert "No GPU here" in printed[-1]
