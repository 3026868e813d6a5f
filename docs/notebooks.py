"""Writes a notebook for each recipe, made from its tutorial: its prose, its commands as cells, and cells that show a run.

    python docs/notebooks.py

A test compares notebooks/ with the tutorials of today.
"""

import re
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

ROOT = Path(__file__).resolve().parent.parent
OF_THE_SITE = ("Measured", "What goes wrong")  # sections to look things up in, with nothing to run

INTRODUCTION = """
This notebook is made from [the recipe's tutorial](../recipes/{recipe}/README.md), which also says what was measured and what
goes wrong. It needs Linux and about 8 GB of disk: your own machine, or Colab and Kaggle, where it has not been tried. Its
commands train a tiny model, in minutes, on the CPU, also where there is a GPU: that is how they are tested. What fits on a GPU
of 16 GB by the plan is at its end.

**Get the project first:** clone the repository, or upload an archive of it and unpack it, so that this notebook lies in it or
beside it. The next cell looks for it there and goes to its root. Where the command `recipes` is missing, it installs the locked
versions with [uv](https://docs.astral.sh/uv/) into `.venv` in the project (about 5 GB, once); of the notebook's own Python
only uv is asked for. Colab and Kaggle do not follow links to the project's files: open these from its folder.
"""

SETUP = """
import html
import os
import shutil
import sys
from pathlib import Path

from IPython.display import Image, display

here = Path.cwd()
places = [here, *here.parents, *here.glob("*/")]
root = next((place for place in places if (place / "accelerate_configs").is_dir()), None)
if root is None:
    raise SystemExit("The project is not here: clone or unpack it beside this notebook, then run this cell again.")
os.chdir(root)
os.environ["PATH"] = f"{root}/.venv/bin:{os.environ['PATH']}"
os.environ["CUDA_VISIBLE_DEVICES"] = ""  # the tiny model trains on the CPU
if not shutil.which("recipes"):
    for name in ("UV_CONSTRAINT", "UV_BUILD_CONSTRAINT", "UV_PRERELEASE"):
        os.environ.pop(name, None)  # Colab sets them, for its own Python
    for command in (
        f"{sys.executable} -m pip install --quiet uv",
        f"{sys.executable} -m uv venv --allow-existing",  # of an installation that was broken off
        f"{sys.executable} -m uv pip install --python .venv -r requirements.lock -e .",
    ):
        if os.system(command):
            raise SystemExit(f"This has failed: {command}")


def show(run):
    \"\"\"Shows a run's curves, and its report with the answers before and after.\"\"\"
    display(Image(f"{run}/curves.png"))
    report = html.escape(Path(run, "report.html").read_text())
    frame = f'<iframe srcdoc="{report}" width="100%" height="600" style="background: white"></iframe>'
    display({"text/html": frame}, raw=True)
"""

ON_A_GPU = """## On a GPU of 16 GB

By the tables in [Which GPUs suffice](../docs/hardware.md), `{config}` under `{stage}` fits on one. The first cell says what it
takes of the 15 GiB that such a card shows, and of the host's memory. The second trains where there is a GPU, with a model from
the Hugging Face hub; it has been executed without a GPU only. A gated model needs a token ([which, and how](../docs/hub.md));
`import getpass; os.environ["HF_TOKEN"] = getpass.getpass()` in a cell before it asks for yours without keeping it in the
notebook. The T4 has no bfloat16: there it computes in float16, which may overflow, so watch the loss. The P100 and the V100 are
older than what the locked torch is built for.{host}
"""

OFFLOADED = """ The weights lie in the host's memory: where there is less
of it than the first cell says, as on the free machines of Colab and Kaggle, do not start the second."""

LAUNCH = """unset CUDA_VISIBLE_DEVICES
capability=$(python -c "from torch import cuda; print(*cuda.get_device_capability() if cuda.is_available() else '0', sep='')")
case $capability in
  0) echo "No GPU here that torch can use: the tiny model above is what such a machine trains."; exit ;;
  [56]?|7[0-4]) echo "The locked torch is not built for this GPU (compute capability $capability, below 75)."; exit ;;
  75) launcher="--mixed_precision fp16"; older="--bf16 false --fp16 true --dtype float16" ;;
esac
accelerate launch --config_file accelerate_configs/{stage}.yaml $launcher recipes/{recipe}/train.py{option} $older"""

OWN_FILE = re.compile(r"(?:--dataset_name|--agents_file|recipes chat \S+) (\w[\w.]*)")
CHAT = re.compile(r"^(recipes chat \S+(?: --.*)?)$", re.MULTILINE)


def bash(script: str):
    """Returns a cell that gives commands to a shell, which stops at the first that fails."""
    return new_code_cell(f"%%bash -e\n{script}")


def links_from_here(text: str, recipe: str) -> str:
    """Returns a README's text with its links as seen from notebooks/."""
    text = re.sub(r"\]\((?!\w+:|#|\.\./)", f"](../recipes/{recipe}/", text)
    return text.replace("](../../", "](../")


def commands(block: str, asked: list[str]) -> list:
    """Returns the cells of a ```bash block: what runs here, and as text what is for other machines.

    Args:
        block: The commands.
        asked: Lines for a chat, from the transcript that follows it in the tutorial.
    """
    here = re.split(r"^# needs ", block, maxsplit=1, flags=re.MULTILINE)[0]
    elsewhere = block[len(here) :]
    here = re.sub(r"^source .*\n", "", here, flags=re.MULTILINE)
    here = re.sub(r"^deepspeed ", "LOCAL_SIZE=2 deepspeed ", here, flags=re.MULTILINE)  # without a GPU it counts NUMA nodes
    own = OWN_FILE.search(here)
    cells = []
    if here.strip():
        lines = "\n".join(asked)
        here = CHAT.sub(lambda chat: f"{chat[1]} <<'END'\n{lines}\nEND", here)
        guard = (
            f'[ -e {own[1]} ] || {{ echo "Put {own[1]} of yours into $PWD, then run this cell again."; exit 0; }}\n'
            if own
            else ""
        )
        cells.append(bash(guard + here.strip()))
    if elsewhere:
        cells.append(new_markdown_cell(f"```bash\n{elsewhere}```"))
    return cells


def picture(link: str, recipe: str):
    """Returns a cell that shows what a link to a picture shows: of a run's curves those of one's own run.

    It is not left to the text, because Colab and Kaggle show no picture there that lies in a file.
    """
    said, path = re.fullmatch(r"!\[(.*)\]\(../../(.*)\)\n", link).groups()
    if path.endswith("_curves.png"):
        return new_code_cell(f'show("outputs/{recipe}/tiny")')
    return new_code_cell(f'display(Image("{path}"))  # {said}')


def gpu_cells(recipe: str) -> list:
    """Returns the cells on a GPU of 16 GB, with the first configuration that docs/hardware.md says fits.

    One that offloads is taken only where no other fits.
    """
    table = (ROOT / "docs" / "hardware.md").read_text().partition(f"\n| {recipe} |")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| (\S+\.yaml), (\w+) \| \**(\d+)\** \|", table, re.MULTILINE)
    fits = [(config, stage) for config, stage, size in rows if int(size) <= 16]
    config, stage = min(fits, key=lambda found: "offload" in found[1])
    return [
        new_markdown_cell(ON_A_GPU.format(config=config, stage=stage, host=OFFLOADED if "offload" in stage else "")),
        bash(f"recipes plan {recipe} --gpus 1 --gpu-memory 15"),
        bash(LAUNCH.format(option="" if config == "config.yaml" else f" --config {config}", stage=stage, recipe=recipe)),
    ]


def notebook(recipe: str) -> str:
    """Returns a recipe's notebook.

    Args:
        recipe: The name of its folder.

    Returns:
        The .ipynb file's text.
    """
    text = re.sub(r"^As a notebook.*\n\n", "", (ROOT / "recipes" / recipe / "README.md").read_text(), flags=re.MULTILINE)
    title, *sections = re.split(r"^## ", text, flags=re.MULTILINE)
    cells = [
        new_markdown_cell(title.strip() + "\n" + INTRODUCTION.format(recipe=recipe).rstrip()),
        new_code_cell(SETUP.strip()),
    ]
    for section in sections:
        if section.startswith(OF_THE_SITE):
            continue
        parts = re.split(r"^(```bash\n.*?^```\n|!\[.*?\]\(.*?\.png\)\n)", f"## {section}", flags=re.DOTALL | re.MULTILINE)
        for number, part in enumerate(parts):
            if part.startswith("```bash\n"):
                asked = re.findall(r"^> (.*)", "".join(parts[number + 1 :]), re.MULTILINE)
                cells += commands(part[8:-4], asked)
            elif part.startswith("!["):
                cells.append(picture(part, recipe))
            elif part.strip():
                cells.append(new_markdown_cell(links_from_here(part.strip(), recipe)))
    cells += gpu_cells(recipe)
    for number, cell in enumerate(cells):
        cell.id = f"cell-{number}"  # the same each time
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3"}, "language_info": {"name": "python"}}
    return nbformat.writes(new_notebook(cells=cells, metadata=metadata)) + "\n"


def main() -> None:
    for train in sorted((ROOT / "recipes").glob("*/train.py")):
        path = ROOT / "notebooks" / f"{train.parent.name}.ipynb"
        path.parent.mkdir(exist_ok=True)
        path.write_text(notebook(train.parent.name))


if __name__ == "__main__":
    main()
