"""The model card: what comes from data is text in it, and no path of the machine."""

from html.parser import HTMLParser
from pathlib import Path

from common.report.card import write_card

import pytest
import yaml
from markdown_it import MarkdownIt

HOSTILE = [
    "# heading",
    "- item",
    "1. item",
    "> quote",
    "---",
    "=== ",
    "| a | b |",
    "`code` ``more`` ```` fence",
    "**bold** __bold__ _it_ a_b_ __c",
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "![image](https://example.com/a.png)",
    "[link](javascript:alert(1)) <https://example.com> https://example.com www.example.com",
    "a\n\n# heading\n\n---\n\n| a |\n|---|\n<b>",
    "back\\slash &amp; &lt;b&gt; ~~x~~ $y$",
    "[x]: https://example.com",
]
OWN = {"h1", "h2", "p", "code", "table", "thead", "tbody", "tr", "th", "td", "ul", "li"}  # what a card consists of


class Page(HTMLParser):
    """The elements of a page in order, and the text in each."""

    def __init__(self, text: str):
        super().__init__()
        self.found: list[tuple[str, str]] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, ""))

    def handle_data(self, data):
        if self.found:
            tag, text = self.found[-1]
            self.found[-1] = (tag, text + data)


def card(folder: Path, text: str = "plain", **settings: str) -> str:
    metrics = {text: {"value": 0.5, "low": 0.4, "high": 0.6}}
    rows = [{"step": step, "split": text, "count": 4, "metrics": metrics} for step in (0, 2)]
    settings = {"model_name_or_path": text, "dataset_name": text, "use_peft": False} | settings
    write_card(folder, title="A title", summary="A summary.", settings=settings, rows=rows, facts={text: text}, model_name=text)
    return (folder / "README.md").read_text(encoding="utf-8")


def parts(text: str) -> tuple[dict, list[tuple[str, str]]]:
    """Returns a card's header, and its elements as GitHub and the hub show them."""
    _, header, body = text.split("---\n", 2)
    return yaml.safe_load(header), Page(MarkdownIt("gfm-like", {"linkify": False}).render(body)).found


@pytest.mark.parametrize("text", HOSTILE)
def test_what_comes_from_data_is_text_in_the_card(tmp_path: Path, text: str):
    header, found = parts(card(tmp_path, text))
    _, plain = parts(card(tmp_path))
    assert {"base_model": header.get("base_model"), "tags": header["tags"]} == {
        "base_model": " ".join(text.split()) if header.get("base_model") else None,
        "tags": ["zero-recipes", "trl"],
    }
    assert [tag for tag, _ in found] == [tag for tag, _ in plain], "no element more and none less"
    shown = " ".join(text.split())
    named = shown.rpartition("/")[2] if shown.count("/") > 1 else shown  # of a path the last part
    assert found == [(tag, words.replace("plain", named if tag == "code" else shown)) for tag, words in plain]


@pytest.mark.parametrize(
    ("name", "shown", "in_header"),
    [
        ("Qwen/Qwen2.5-0.5B", "Qwen/Qwen2.5-0.5B", True),
        ("/home/ada/models/mine", "mine", False),
        ("./models/mine", "mine", False),
        ("{there}", "model", False),
        ("tiny:llama", "tiny:llama", False),
    ],
)
def test_a_card_names_no_path_of_the_machine(tmp_path: Path, name: str, shown: str, in_header: bool):
    (tmp_path / "model").mkdir()
    name = name.format(there=tmp_path / "model")
    text = card(tmp_path, model_name_or_path=name)
    assert f"Trained from `{shown}` on `plain`." in text
    assert (parts(text)[0].get("base_model") == name) == in_header
    assert str(tmp_path) not in text
    assert "/home/ada" not in text
