"""Llama, Qwen, Gemma, Mistral, Phi and SmolLM do what docs/models.md says of them."""

import re
from pathlib import Path

import families
import pytest
from families import FAMILIES, HEADS, TRIED, Family, build, cheap
from forks import Server
from pages import read_part
from templates import PAGE


def written() -> list[dict[str, str]]:
    """Returns the rows of the table by column, with the lines that its letters stand for."""
    table = read_part(PAGE, families.PROGRAM)
    lines = dict(re.findall(r"^- (\w): (.*)$", table, re.MULTILINE))
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table.splitlines() if line.startswith("| ")]
    return [dict(zip(HEADS, (lines.get(cell, cell) for cell in row[3:]), strict=True)) for row in rows[1:]]


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_what_needs_no_training(family: Family, tmp_path: Path):
    build(family, tmp_path)
    found = cheap(family, tmp_path)
    lines = {name: re.sub(r"message \d+", "message N", found[name].partition("; ")[0]) for name in TRIED}
    row = written()[FAMILIES.index(family)]
    assert found | lines == {name: row[name] for name in found}


@pytest.mark.slow
def test_the_table_is_what_the_families_do(server: Server, tmp_path: Path):
    table = families.whole_table(tmp_path, server)
    assert table == read_part(PAGE, families.PROGRAM), f"write it anew: python {families.PROGRAM}"
