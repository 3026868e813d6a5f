"""The figures of the pages are those of the records in benchmarks/results."""

import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from conftest import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))
import figures


@pytest.mark.parametrize("page", figures.pages())
def test_a_page_says_what_the_records_say(page: str):
    """To mend it after a new record: python benchmarks/figures.py."""
    text = (ROOT / page).read_text(encoding="utf-8")
    assert figures.written(page, text) == text


@pytest.mark.parametrize("page", figures.pages())
def test_a_figure_that_no_record_ties_says_where_it_is_from(page: str):
    """Its section names a date, a test or a script, or says `by hand`; what is not measured at all is in figures.yaml."""
    sections: dict[str, list[str]] = {}
    text = (ROOT / page).read_text(encoding="utf-8")
    for heading, block, _ in figures.blocks(text):
        sections.setdefault(heading, []).append(block)
    unsaid = [
        block
        for heading, block, _ in figures.untied(page, text)
        if not any(figures.SOURCE.search(near) for near in sections[heading])
    ]
    for begin in figures.figures()["not measured"].get(page, []):
        (known,) = [block for block in unsaid if block.startswith(begin)]
        unsaid.remove(known)
    assert not unsaid


def test_a_changed_record_is_seen(monkeypatch: pytest.MonkeyPatch):
    changed = figures.record("mark") | {"saves": [{**save, "mark": 1.0} for save in figures.record("mark")["saves"]]}
    record = figures.record
    monkeypatch.setattr(figures, "record", lambda name: changed if name == "mark" else record(name))
    figures.names.cache_clear()
    text = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    assert figures.written("docs/reliability.md", text) != text
    figures.names.cache_clear()


def test_records_say_of_which_revision_they_are():
    for file in Path(figures.RESULTS).glob("*.json"):
        found = figures.record(file.stem)
        for record in found if isinstance(found, list) else [found]:
            assert {"date", "git revision", "torch"} <= record.keys(), file.name


def test_the_version_is_the_changelog_s_and_the_citation_s():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    newest = next(line for line in (ROOT / "CHANGELOG.md").read_text().splitlines() if line.startswith("## ["))
    assert newest == f"## [{version}] - {citation['date-released']}"
    assert citation["version"] == version
