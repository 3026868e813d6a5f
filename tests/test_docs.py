"""Every command in a README or on the site is one that works."""

import ast
import doctest
import json
import re
import shlex
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import yaml
from conftest import ROOT, Python, recipe_modules
from forks import BIN

PAGES = [
    ROOT / "README.md",
    ROOT / "SECURITY.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "recipes").glob("*/README.md")),
]
LAUNCHERS = ("accelerate launch", "torchrun", "deepspeed", "python")
# Pages that are run to their end as they stand, tools of the shell and files of their own included: tests/e2e/test_pages.py.
FOLLOWED = ("docs/own_data.md", "docs/swap_the_trainer.md")


def commands() -> list[tuple[str, str]]:
    """Returns each line of each ```bash block, with the page it is on."""
    found = []
    for page in PAGES:
        if str(page.relative_to(ROOT)) in FOLLOWED:
            continue
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
        elif words[0] in ("export", "hf"):
            assert words[1].startswith(("HF_", "download")), where
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


@cache
def slow_tests() -> dict[str, bool]:
    """Returns the names of all tests, and whether each is in `make test-all` alone."""
    found = {}
    for file in (ROOT / "tests").rglob("test_*.py"):
        tree = ast.parse(file.read_text())
        marks = [ast.unparse(node) for node in tree.body if isinstance(node, ast.Assign) and "pytestmark" in ast.unparse(node)]
        for node in tree.body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                # A mark of all its cases; one of some of them is within `parametrize`.
                decorators = [ast.unparse(decorator) for decorator in node.decorator_list]
                found[node.name] = "pytest.mark.slow" in decorators or any("pytest.mark.slow" in mark for mark in marks)
    return found


@pytest.mark.parametrize("page", [ROOT / "CONTRIBUTING.md", *PAGES], ids=lambda page: str(page.relative_to(ROOT)))
def test_the_tests_and_files_that_a_page_names_exist(page: Path):
    text = page.read_text()
    for file in re.findall(r"`((?:tests|common|cluster|benchmarks)/[\w/]+\.\w+)", text):
        assert (ROOT / file).exists() or page.name == "compared.md", file  # which names files of other projects
    for file in re.findall(r"`(test_\w+\.py)", text):
        assert list((ROOT / "tests").rglob(file)), file
    settings = {"test_dataset_name", "test_sft", "test_split"}  # of data: of the recipes and of other projects
    for name, star in re.findall(r"`(test_\w+)`(\*?)", text):
        assert name in settings or name in slow_tests(), name
        if page.name == "reliability.md":
            assert bool(star) == slow_tests()[name], f"{name}: a star says that it is slow"


@pytest.mark.parametrize("page", ["grpo_by_hand.md", "evaluation.md"])
def test_what_a_page_computes(page: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "path", [*sys.path])
    with recipe_modules("grpo_math", ["rewards"]):
        failed, tried = doctest.testfile(str(ROOT / "docs" / page), module_relative=False, encoding="utf-8")
    assert tried > 1
    assert failed == 0


def test_the_changes_of_the_page_on_trainers_apply(tmp_path: Path):
    """As the page applies them; tests/e2e/test_pages.py also trains with them."""
    shutil.copytree(ROOT / "recipes" / "sft_instruct", tmp_path / "recipes" / "preferences")
    shutil.copytree(ROOT / "docs", tmp_path / "docs", ignore=shutil.ignore_patterns("images"))
    page = (ROOT / "docs" / "swap_the_trainer.md").read_text()
    script = next(block for block in re.findall(r"^```bash\n(.*?)^```", page, re.DOTALL | re.MULTILINE) if "git apply" in block)
    subprocess.run(["bash", "-ec", script], cwd=tmp_path, check=True)
    for changed in (tmp_path / "recipes" / "preferences").glob("*.py"):
        ast.parse(changed.read_text())
    assert "DPOTrainer(" in (tmp_path / "recipes" / "preferences" / "train.py").read_text()


def test_every_metric_that_is_expected_is_on_the_page_of_evaluation():
    page = (ROOT / "docs" / "evaluation.md").read_text()
    for expected in (ROOT / "recipes").glob("*/lesson/expected.yaml"):
        limits = yaml.safe_load(expected.read_text())
        for limit in limits["before"] | limits["after"]:
            assert f"`{limit.rpartition('.')[2]}`" in page, f"{expected}: {limit}"


def test_the_limits_that_pages_name_are_those_of_the_code():
    from common.data import digest, pieces, processes, token_cache
    from common.measure import statistics
    from common.run import divergence, live

    words = {10: "ten"}
    said = {
        "data.md": [
            f"A file of {pieces.LARGE // 2**20} MB and more (packed {pieces.PACKED // 2**20} MB)",
            f"Of {token_cache.FEWEST} conversations and more it leaves the tokens in the cache",
            f"Of {processes.FEWEST:,} and more the first process of each machine makes them",
            f"every {words[processes.TELL_AFTER]} seconds that it is at work",
        ],
        "evaluation.md": [f"{statistics.RESAMPLES:,} times as many problems are drawn"],
        "reliability.md": [
            f"above {digest.WHOLE // 2**20} MiB: of those the size and {digest.SAMPLES} samples are looked at",
            f"to {words[divergence.SPIKE]} times the median of the last {divergence.WINDOW}",
        ],
        "trackers.md": [
            f"every {live.EVERY:.0f} s in between (seldom enough to take at\nmost {live.SHARE:.0%}".replace("%", " %")
        ],
    }
    for page, texts in said.items():
        text = (ROOT / "docs" / page).read_text()
        assert [phrase for phrase in texts if phrase not in text] == []


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
        assert "\n# Pick it when " in config.read_text()


def test_every_model_that_a_recipe_names_is_on_the_page_of_models():
    page = (ROOT / "docs" / "models.md").read_text()
    for config in (ROOT / "recipes").glob("*/config.yaml"):
        named = re.search(r"^model_name_or_path: (\S+)", config.read_text(), re.MULTILINE)[1]
        assert f"| {named} |" in page, config
