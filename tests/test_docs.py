"""Every command in a README or on the site is one that works."""

import json
import re
import shlex
import subprocess
from functools import cache
from pathlib import Path

import pytest
from conftest import ROOT, Python
from forks import BIN

PAGES = [
    ROOT / "README.md",
    ROOT / "SECURITY.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "recipes").glob("*/README.md")),
]
LAUNCHERS = ("accelerate launch", "torchrun", "deepspeed", "python")


def commands() -> list[tuple[str, str]]:
    """Returns each line of each ```bash block, with the page it is on."""
    found = []
    for page in PAGES:
        for block in re.findall(r"```bash\n(.*?)```", page.read_text(), re.DOTALL):
            for line in block.replace("\\\n", " ").splitlines():
                command = line.split("#")[0].strip()
                if command:
                    found.append((str(page.relative_to(ROOT)), command))
    return found


@cache
def flags(python: Python, script: Path, *arguments: str) -> set[str]:
    """Returns the flags that a script knows, by its own help."""
    return set(re.findall(r"--\w[\w-]*", python(str(script), *arguments, "--help").stdout))


def check_recipes_command(python: Python, words: list[str], copies: dict[str, str], where: str) -> None:
    """Checks a call of the command `recipes`: the subcommand and its options, and the sources under recipes/."""
    subcommand, arguments = words[1], words[2:]
    command: tuple[Path | str, ...] = (BIN / "recipes", subcommand)
    if subcommand == "prepare":  # takes the flags of a run, `--config` too, and two of its own
        command = (ROOT / "recipes" / copies.get(arguments[0], arguments[0]) / "train.py",)
        assert (command[0].parent / "prepare.py").exists(), where
        arguments = [word for word in arguments if word not in ("--config", "--json", "--show")]
    if subcommand == "chat":
        # What follows the run is for the chat itself: the recipe's own, by its name in outputs/NAME/..., or the common one.
        own = ROOT / "recipes" / Path(arguments[0]).parts[1] / "chat.py"
        command = (own if own.exists() else ROOT / "common" / "commands" / "chat.py",)
    unknown = {word for word in arguments if word.startswith("--")} - flags(python, *command)
    assert not unknown, where
    if subcommand == "copy":
        assert (ROOT / "recipes" / arguments[0]).exists() or (ROOT / arguments[0]).exists(), where
    for word in arguments:
        assert not word.startswith("recipes/") or (ROOT / word).exists() or Path(word).name in copies, where


def test_commands_name_what_exists(python: Python):
    launches, copies = 0, {}  # the name of what a page has copied: of which recipe
    for page, command in commands():
        where = f"{page}: {command}"
        command = command.removeprefix("uv run --no-sync ")
        words = shlex.split(command)
        if words[:2] == ["recipes", "copy"] or words[0] == "cp":
            copies[Path(words[-1]).name] = Path(words[-2]).name
        if words[0] == "make":
            subprocess.run(["make", "--dry-run", *words[1:]], cwd=ROOT, check=True, capture_output=True)
        elif command.startswith(LAUNCHERS):
            launches += 1
            position = next(i for i, word in enumerate(words) if word.endswith(".py"))
            folder, name = Path(words[position]).parts[-2:]
            script = (ROOT / words[position]).parent.parent / copies.get(folder, folder) / name
            assert script.exists(), where
            for word in words:
                if word.startswith("accelerate_configs/"):
                    assert (ROOT / word).exists(), where
            arguments = words[position + 1 :]
            for word in arguments:
                if word.startswith("--") and word != "--config":
                    assert word in flags(python, script), where
            if "--config" in arguments:
                name = arguments[arguments.index("--config") + 1]
                assert (script.parent / name).exists() or (ROOT / name).exists(), where
        elif words[0] == "recipes":
            check_recipes_command(python, words, copies, where)
        elif words[0] == "uv":  # with other flags than these it would make, or take, another environment
            assert words[1:] in (["venv"], ["pip", "install", "-r", "requirements.lock", "-e", "."]), where
        elif words[0] == "source":
            assert words[1:] == [".venv/bin/activate"], where
        else:
            assert words[0] == "cp", where
    assert launches > 10


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_pictures_exist(page: Path):
    for target in re.findall(r"\]\(([^)#\s]+)", page.read_text()):
        # The page of a recipe on the site is its README.
        target = re.sub(r"^recipes/(\w+)\.md$", r"../recipes/\1/README.md", target)
        if not target.startswith("http"):
            assert (page.parent / target).exists(), f"{page}: {target}"


def test_every_row_of_the_table_of_forms_is_read():
    from common.data.conversations import check_conversation
    from common.data.formats import recognise

    rows = re.findall(r"^\|[^|]+\| `(\{.*?\})`", (ROOT / "docs" / "data.md").read_text(), re.MULTILINE)
    assert len(rows) > 12
    for row in rows:
        check_conversation(recognise(json.loads(row)).conversation)


def test_every_accelerate_configuration_is_explained():
    table = (ROOT / "docs" / "zero_stages.md").read_text()
    for config in (ROOT / "accelerate_configs").glob("*.yaml"):
        assert f"`{config.name}`" in table
        assert config.read_text().startswith("# ")


def test_every_model_that_a_recipe_names_is_on_the_page_of_models():
    page = (ROOT / "docs" / "models.md").read_text()
    for config in (ROOT / "recipes").glob("*/config.yaml"):
        named = re.search(r"^model_name_or_path: (\S+)", config.read_text(), re.MULTILINE)[1]
        assert f"| {named} |" in page, config
