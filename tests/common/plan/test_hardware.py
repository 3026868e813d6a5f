"""The tables of docs/hardware.md and docs/zero_stages.md are what the planner says today."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "benchmarks"))
import hardware  # noqa: E402

PAGES = {page.name: page.read_text(encoding="utf-8") for page in hardware.PAGES}


def test_a_recipe_and_the_stages_are_as_they_are_printed():
    for lines, page in ((hardware.stage_table(), "zero_stages.md"), (hardware.recipe_table("sft_instruct"), "hardware.md")):
        assert "\n".join(lines) in PAGES[page]


def test_every_recipe_has_its_table():
    for folder in hardware.recipe_folders():
        assert f"| {folder.name} | 1 GPU |" in PAGES["hardware.md"]
    named = {name for page in PAGES.values() for name in hardware.TABLES if f"<!-- {name} -->" in page}
    assert named == set(hardware.TABLES)


@pytest.mark.slow
@pytest.mark.parametrize("page", sorted(PAGES))
def test_the_whole_page_is_as_it_is_printed(page: str):
    assert hardware.written(PAGES[page]) == PAGES[page]
