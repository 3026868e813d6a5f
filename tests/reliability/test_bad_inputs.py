"""Every row of the table of bad inputs: one line, exit code 2, nothing loaded and nothing written; or read whole."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from bad_inputs import LONG, RECIPES, ROOT, TABLE, Case, cases, page, write_files
from starts import LOADER_REACHED, Run, assert_one_line, run_script, run_to_the_loader, starting


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    with starting(tmp_path_factory.mktemp("starts")) as run:
        yield run


def test_every_recipe_has_rows():
    assert sorted(TABLE["rows"]) == RECIPES


@pytest.mark.parametrize(
    ("recipe", "case"),
    [pytest.param(recipe, case, id=f"{recipe} {case.name}") for _, case in cases() for recipe in case.recipes],
)
def test_bad_input(run: Run, tmp_path: Path, recipe: str, case: Case):
    folder, output_dir = tmp_path / "files", tmp_path / "run"
    folder.mkdir()
    write_files(case, recipe, folder)
    flags = shlex.split(case.flags.replace("{tmp}", str(folder)).replace("{long}", LONG))
    if case.script.startswith("train") and "--output_dir" not in flags:
        flags += ["--output_dir", str(output_dir)]
    env = {name: value.replace("{tmp}", str(folder)) for name, value in case.env.items()}
    finished = run(case.path_of_script(recipe), *flags, function=run_script if case.loads else run_to_the_loader, **env)
    if case.line is not None:
        assert_one_line(finished, case.line.replace("{tmp}", str(folder)))
    else:
        assert (finished.returncode, finished.stderr) == (1, f"{LOADER_REACHED}\n")
        parts = re.search(r"(\d+) rows to train on, (\d+) to choose by .*, (\d+) to report on", finished.stdout)
        assert sum(map(int, parts.groups()) if parts else [0]) == case.reads
    assert not output_dir.exists()


def test_the_page_is_up_to_date():
    written = (ROOT / "docs" / "bad_inputs.md").read_text()
    assert written == page(), "write it anew: python tests/reliability/bad_inputs.py > docs/bad_inputs.md"
