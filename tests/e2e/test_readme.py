"""The commands of the READMEs, read from top to bottom, work in that order in one checkout."""

import json
import re
import shlex
import shutil
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import pytest
from conftest import ROOT, Python, python_of, run_command
from forks import BIN, free_port, serving
from PIL import Image

RECIPES = sorted(script.parent.name for script in (ROOT / "recipes").glob("*/train.py"))
PORTS = {"accelerate": "--main_process_port", "torchrun": "--master_port", "deepspeed": "--master_port"}
PROCESSES = ("--num_processes", "--nproc_per_node", "--num_gpus")

# Appended to what trains, where the recipe has such a flag: the smallest run that goes through all of its parts.
SMALL = {
    "max_steps": 2,
    "num_train": 64,
    "num_held_out": 8,
    "per_device_train_batch_size": 32,
    "aggregator_steps": 1,
}
Step = Callable[[list[str]], None]


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout of the repository in which nothing has run yet, with the environment that `make install` makes."""
    made = shutil.ignore_patterns(*(line.strip("/") for line in (ROOT / ".gitignore").read_text().split()), ".git")
    root = shutil.copytree(ROOT, tmp_path / "checkout", ignore=made)
    (root / ".venv").symlink_to(BIN.parent)
    monkeypatch.setenv("PYTHONPATH", str(root))  # not the `common` that is installed
    return root


def commands(page: Path) -> list[str]:
    """Returns the commands of a page's ```bash blocks.

    A comment on a line of its own, such as `# needs GPUs` or `# needs the hub`, holds for the rest of its block: those commands
    are for other machines than this one, and left out.
    """
    found = []
    for block in re.findall(r"```bash\n(.*?)```", page.read_text(), re.DOTALL):
        here = re.split(r"^# needs (?:GPUs|the hub|files)", block, flags=re.MULTILINE)[0]
        found += [line for line in here.splitlines() if shlex.split(line, comments=True)]
    return found


def bring_your_own(page: Path, root: Path) -> None:
    """Writes the files `my_...` that a page's commands name, with rows like those that the page shows."""
    text = page.read_text()
    rows = [json.loads(row) for row in re.findall(r"```json\n(\{.*\})\n```", text)]
    for name in set(re.findall(r"--dataset_name (my_\w+\.jsonl)", text)):
        with open(root / name, "w") as file:
            for number in range(120):
                row = deepcopy(rows[0])
                asked = next((message for message in row.get("messages", []) if message["role"] == "user"), row)
                column = "question" if asked is row else "content"
                asked[column] = f"{number}. {asked[column]}"
                file.write(json.dumps(row) + "\n")
    if "--dataset_name my_receipts" in text:
        (root / "my_receipts").mkdir()
        with open(root / "my_receipts" / "metadata.jsonl", "w") as file:
            for number in range(120):
                Image.new("L", (112, 28), number).save(root / "my_receipts" / f"{number}.png")
                file.write(json.dumps({"file_name": f"{number}.png", "text": f"TOTAL {number}"}) + "\n")
    if "my_agents.yaml" in text:
        shutil.copy(root / "recipes" / page.parent.name / "agents.yaml", root / "my_agents.yaml")
    if "line.png" in text:
        Image.new("L", (112, 28), 255).save(root / "line.png")


def small(words: list[str], root: Path) -> tuple[list[str], list[str]]:
    """Returns a launch's words up to the script, and from there on, in a form that takes seconds."""
    position = next(i for i, word in enumerate(words) if word.endswith(".py"))
    launcher, script = words[:position], words[position:]
    for option in set(PROCESSES) & set(launcher):
        place = launcher.index(option) + 1
        launcher[place] = str(min(2, int(launcher[place])))
    arguments = (root / script[0]).with_name("arguments.py").read_text()
    if "(DataArguments)" in arguments:
        arguments += (root / "common" / "data" / "arguments.py").read_text()
    kind = Path(script[0]).stem.partition("_")[0]
    for name, value in SMALL.items():
        of_the_recipe = re.search(rf"^    {name}:", arguments, re.MULTILINE)
        if of_the_recipe or (kind == "train" and name in ("max_steps", "per_device_train_batch_size")):
            script += [f"--{name}", str(value)] if kind == "train" or name == "num_held_out" else []
    return launcher, script


def read_on(page: Path, root: Path, run: Step) -> int:
    """Gives the commands of a page, in order; returns how many were run."""
    count = 0
    for command in commands(page):
        words = shlex.split(command, comments=True)
        if words[0] == "make":  # installs and downloads; what it then starts is the next command of the page
            assert run_command(["make", "--dry-run", *words[1:]], cwd=root).returncode == 0, command
        elif words[0] == "source":
            assert (root / words[1]).is_file(), command
        elif words[:2] == ["recipes", "serve"]:  # until it is interrupted: tests/e2e/test_serve.py
            assert Path(root / words[2]).is_dir(), command
        elif words[0] == "cp":
            assert run_command(words, cwd=root).returncode == 0, command
        else:
            run(words)
            count += 1
    return count


def without_launcher(root: Path, python: Python) -> Step:
    """Returns a step that runs a command in one process that has imported the libraries already: seconds, not half a minute."""

    def run(words: list[str]) -> None:
        python(*([BIN / "recipes", *words[1:]] if words[0] == "recipes" else small(words, root)[1]))

    return run


def as_given(root: Path) -> Step:
    """Returns a step that runs a command as it stands, smaller."""

    def run(words: list[str]) -> None:
        if words[0] != "recipes":
            launcher, script = small(words, root)
            start = 2 if words[0] == "accelerate" else 1  # after `accelerate launch`
            port = [PORTS[words[0]], str(free_port())] if words[0] in PORTS else []
            words = [*launcher[:start], *port, *launcher[start:], *script]
        # LOCAL_SIZE: without a GPU DeepSpeed counts NUMA nodes, and starts no more processes than it counted.
        env = {"LOCAL_SIZE": "2"} if words[0] == "deepspeed" else {}
        ended = run_command(words, cwd=root, **env)
        assert ended.returncode == 0, f"{shlex.join(words)}\n{ended.stdout}{ended.stderr}"

    return run


def test_the_first_path(checkout: Path, tmp_path: Path):
    """README.md, then that of the recipe which it begins with."""
    with serving(tmp_path, checkout) as server:
        for page, least in ((checkout / "README.md", 5), (checkout / "recipes" / "grpo_math" / "README.md", 5)):
            bring_your_own(page, checkout)
            assert read_on(page, checkout, without_launcher(checkout, python_of(server))) >= least


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipes_readme(checkout: Path, tmp_path: Path, recipe: str):
    page = checkout / "recipes" / recipe / "README.md"
    bring_your_own(page, checkout)
    with serving(tmp_path, checkout) as server:
        assert read_on(page, checkout, without_launcher(checkout, python_of(server))) >= 4


@pytest.mark.slow
@pytest.mark.parametrize("page", ["README.md", "docs/index.md", "recipes/grpo_math/README.md"])
def test_as_given(checkout: Path, page: str):
    bring_your_own(checkout / page, checkout)
    assert read_on(checkout / page, checkout, as_given(checkout)) >= 5
