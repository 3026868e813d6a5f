"""Every row of the table of bad inputs: one line, exit code 2, nothing loaded and nothing written; or read whole."""

import re
import shlex
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from bad_inputs import LONG, RECIPES, ROOT, TABLE, Case, cases, page, write_files
from starts import LOADER_REACHED, Start, assert_one_line, run_script, run_to_the_loader, start_all

CASES = [(recipe, case) for _, case in cases() for recipe in case.recipes]


def prepare(recipe: str, case: Case, folder: Path) -> Start:
    """Writes the files of a case, and returns the command that they are given to."""
    files = folder / "files"
    files.mkdir(parents=True)
    write_files(case, recipe, files)
    flags = shlex.split(case.flags.replace("{tmp}", str(files)).replace("{long}", LONG))
    if case.script.startswith("train"):
        flags = ["--output_dir", str(folder / "run"), *flags]
        flags += SMALL_GENERATION.get(recipe, []) if case.reads else []
    env = {name: value.replace("{tmp}", str(files)) for name, value in case.env.items()}
    return Start(folder, case.path_of_script(recipe), flags, env)


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Case], Start]:
    """Returns a function that gives what has come of a case; those of a recipe are run together, one after the other."""
    folder = tmp_path_factory.mktemp("cases")

    @cache
    def run(recipe: str, loads: bool) -> dict[str, Start]:
        those = [case for other, case in CASES if (other, case.loads) == (recipe, loads)]
        starts = {id(case): prepare(recipe, case, folder / f"{recipe}-{loads}-{number}") for number, case in enumerate(those)}
        start_all(list(starts.values()), run_script if loads else run_to_the_loader)
        return starts

    return lambda recipe, case: run(recipe, case.loads)[id(case)]


# A generation takes as many prompts as its batch has groups; these files have few rows.
SMALL_GENERATION = {
    "grpo_math": "--per_device_train_batch_size 8".split(),
    "multi_agent_grpo": "--num_generations 2 --per_device_train_batch_size 8".split(),
}


def test_every_recipe_has_rows():
    assert sorted(TABLE["rows"]) == RECIPES


@pytest.mark.parametrize(("recipe", "case"), CASES, ids=[f"{recipe} {case.name}" for recipe, case in CASES])
def test_bad_input(started: Callable[[str, Case], Start], recipe: str, case: Case):
    start = started(recipe, case)
    finished = start.finished()
    if case.line is not None:
        assert_one_line(finished, case.line.replace("{tmp}", str(start.folder / "files")))
    else:
        assert (finished.returncode, finished.stderr) == (1, f"{LOADER_REACHED}\n")
        parts = re.search(r"(\d+) rows to train on, (\d+) to choose by .*, (\d+) to report on", finished.stdout)
        apart = re.search(r", (\d+) kept apart for other recipes", finished.stdout)
        assert sum(map(int, [*(parts.groups() if parts else [0]), *(apart.groups() if apart else [])])) == case.reads
        assert case.says in finished.stdout
    assert not (start.folder / "run").exists()


def test_the_page_is_up_to_date():
    written = (ROOT / "docs" / "bad_inputs.md").read_text()
    assert written == page(), "write it anew: python tests/reliability/bad_inputs.py > docs/bad_inputs.md"
