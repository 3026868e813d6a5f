"""The documentation's site: its generated pages, and how all pages look in a browser, narrow and wide, light and dark."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from browser import Page, browser, needs_browser
from conftest import ROOT
from forks import BIN

sys.path.insert(0, str(ROOT / "docs"))
import reference_pages

# What reaches beyond the window, and what a command's block hides.
SIDEWAYS = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
CUT = """[...document.querySelectorAll(':is(.language-bash, .language-shell) code')]
    .filter(e => e.scrollWidth > e.clientWidth).map(e => e.innerText)"""
# Words of a table's cell that reach into the next one.
OVER = """[...document.querySelectorAll('.md-typeset table:not([class]) :is(th, td)')].filter(cell => [cell,
    ...cell.querySelectorAll('code')].some(e => e.scrollWidth > e.clientWidth + 1 && e.clientWidth ||
    e.getBoundingClientRect().right > cell.getBoundingClientRect().right + 1)).map(e => e.innerText)"""
FIGURES = "[...document.querySelectorAll('.md-content img')].map(e => getComputedStyle(e).filter)"
SCHEME = "document.body.dataset.mdColorScheme"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    subprocess.run([sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", folder], cwd=ROOT, check=True)
    return folder


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with browser(tmp_path_factory.mktemp("browser")) as page:
        yield page


def test_every_setting_of_a_recipe_is_explained():
    rows = re.findall(r"^\| `(\w+)` \| (.*) \| (.*) \| (.*) \|$", reference_pages.configuration(ROOT), re.MULTILINE)
    assert [key for key, *_, does in rows if not does] == []
    for file in ROOT.glob("recipes/*/config.yaml"):
        assert set(yaml.safe_load(file.read_text())) <= {key for key, *_ in rows}, file


def test_every_command_has_its_section():
    text = reference_pages.commands()
    helped = subprocess.run([BIN / "recipes", "--help"], capture_output=True, text=True, check=True).stdout
    listed = re.findall(r"^  (\w+)  ", helped.partition("Commands:")[2], re.MULTILINE)
    assert len(listed) > 10
    assert re.findall(r"^## recipes (\w+)$", text, re.MULTILINE) == listed
    assert "| `--push OWNER/NAME` |" in text
    assert "| `--temperature` |" in text  # of chat, whose options stand in a parser of its own


@pytest.mark.slow
@needs_browser
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("dark", [False, True])
def test_every_page_is_readable(site: Path, page: Page, width: int, dark: bool):
    pages = list(site.rglob("index.html"))
    assert len(pages) > 20
    for file in pages:
        page.open(file, width=width, dark=dark)
        page.wait_for(f"{SCHEME} === '{'slate' if dark else 'default'}'")
        assert page.value(SIDEWAYS) <= 0, file
        assert page.value(CUT) == [], file
        assert page.value(OVER) == [], file
        assert {figure == "none" for figure in page.value(FIGURES)} <= {not dark}, file
    assert page.complaints == []


@pytest.mark.slow
@needs_browser
def test_the_button_chooses_the_palette(site: Path, page: Page):
    page.open(site / "index.html", dark=True)
    shown = "label.md-header__button[for^=__palette]:not([hidden])"
    seen = []
    for _ in range(3):
        page.wait_for(f"document.querySelector('{shown}') !== null")
        page.click(shown)
        seen.append(page.value(SCHEME))
    assert seen == ["default", "slate", "slate"]  # light, dark, as the system has it


@pytest.mark.slow
@needs_browser
def test_a_command_is_copied_as_it_was_written(site: Path, page: Page):
    page.open(site / "index.html", width=390)
    first = "document.querySelector('.language-bash code')"
    page.value(f"{first}.setAttribute('data-md-copying', '')")
    written = re.search(r"```bash\n(.*?)```", (ROOT / "docs" / "index.md").read_text(), re.DOTALL)[1]
    assert page.value(f"{first}.innerText") == written
