"""The model card: what comes from data is text in it, no path of the machine, and what the hub and a reader look for."""

import ast
import re
from html.parser import HTMLParser
from pathlib import Path

from common.report.card import card_of_export, write_card

import pytest
import yaml
from huggingface_hub import ModelCard
from markdown_it import MarkdownIt

HOSTILE = [
    "# heading",
    "- item",
    "1. item",
    "1)",
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
    "[x] [ ] [^1] x [y][x] [y] [x] !",
    "a [link](https://example.com) [",
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
    metrics = {text: {"value": 0.5, "low": 0.4, "high": 0.6, "count": 3}, "none": {"value": None}}
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
    assert "\n| plain | 3 | plain | 50.0% [40.0%, 60.0%] | 50.0% [40.0%, 60.0%] |\n" in text
    assert (parts(text)[0].get("base_model") == name) == in_header
    assert str(tmp_path) not in text
    assert "/home/ada" not in text


def test_a_card_names_no_path_among_several_data_sets(tmp_path: Path):
    (tmp_path / "own.jsonl").touch()
    text = card(tmp_path, dataset_name=f"openai/gsm8k:1 {tmp_path / 'own.jsonl'}:2")
    assert "on `openai/gsm8k own.jsonl`." in text
    assert parts(text)[0]["datasets"] == ["openai/gsm8k"]
    assert str(tmp_path) not in text


def test_the_hub_reads_what_was_measured(tmp_path: Path):
    data = ModelCard(card(tmp_path, "accuracy", dataset_name="openai/gsm8k")).data
    assert (data.pipeline_tag, data.model_name) == ("text-generation", "accuracy")
    [result] = data.eval_results
    assert (result.dataset_type, result.dataset_name) == ("openai/gsm8k", "openai/gsm8k (accuracy)")
    assert (result.metric_type, result.metric_value, result.task_type) == ("accuracy", 0.5, "text-generation")


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("license: apache-2.0", {"license": "apache-2.0"}),
        (
            "license: other\nlicense_name: own\nlicense_link: https://example.com/license",
            {"license": "other", "license_name": "own", "license_link": "https://example.com/license"},
        ),
        ("license: other\nlicense_name: own\nlicense_link: LICENSE", {"license": "other", "license_name": "own"}),
        ("license: [mit]", {}),
        ("license: ][", {}),
        (None, {}),
    ],
)
def test_the_license_is_the_base_models(tmp_path: Path, said: str | None, expected: dict[str, str]):
    base = tmp_path / "base"
    base.mkdir()
    if said is not None:
        (base / "README.md").write_text(f"---\n{said}\n---\n# Base\n", encoding="utf-8")
    header, _ = parts(card(tmp_path, model_name_or_path=str(base)))
    assert {name: value for name, value in header.items() if name.startswith("license")} == expected


def test_a_card_says_with_what_was_measured(tmp_path: Path):
    greedy = "Decoding: greedy (the likeliest token, no penalty)"
    assert f"{greedy}.\n" in card(tmp_path)
    assert f"{greedy}, cut after 40 tokens.\n" in card(tmp_path, max_completion_length=40)
    settings = {"max_new_tokens": 40, "system_prompt": "Be\n`brief`."}
    assert f"{greedy}, cut after 40 tokens; the system prompt was `` Be `brief`. ``.\n" in card(tmp_path, **settings)


def test_numbers_and_versions_stand_in_a_card_as_they_are(tmp_path: Path):
    for text in ("1.15.0", "2.11.0+cu128", "271.5 s", "0.5) and (1.5", "by +60.5 points [+55.2, +65.5] on 8"):
        assert f"\n- {text}: {text}\n" in card(tmp_path, text)
    assert ": -15.6 points\n" in card(tmp_path, "-15.6 points")


def code_of(text: str) -> str:
    [code] = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    ast.parse(code)
    return code


def test_a_card_says_how_the_model_is_used(tmp_path: Path):
    assert "## Use" not in card(tmp_path), "no weights"
    (tmp_path / "model.safetensors").touch()
    prompt = 'Be brief.\n```\n"""'
    code = code_of(card(tmp_path, system_prompt=prompt, max_new_tokens=40))
    assert "AutoModelForCausalLM.from_pretrained(folder" in code
    assert "max_new_tokens=40, do_sample=False" in code
    [messages] = re.findall(r"^messages = (.*)$", code, re.MULTILINE)
    assert ast.literal_eval(messages)[0] == {"role": "system", "content": prompt}
    (tmp_path / "processor_config.json").touch()
    text = card(tmp_path)
    assert parts(text)[0]["pipeline_tag"] == "image-text-to-text"
    assert "AutoModelForImageTextToText" in code_of(text)


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("Qwen/Qwen2.5-0.5B", 'base = "Qwen/Qwen2.5-0.5B"\n'),
        ("/home/ada/models/mine", 'base = "mine"  # its base model: pass the folder in which you have it\n'),
    ],
)
def test_an_adapters_card_names_its_base_and_that_of_its_export_does_not(tmp_path: Path, name: str, line: str):
    run, export = tmp_path / "run", tmp_path / "export"
    for folder, weights in ((run, "adapter_model"), (export, "model")):
        folder.mkdir()
        (folder / f"{weights}.safetensors").touch()
    (run / "adapter_config.json").touch()
    settings = {"model_name_or_path": name, "dataset_name": "synthetic", "use_peft": True, "dtype": "float32"}
    text = card(run, **settings)
    assert line in code_of(text)
    assert 'from_pretrained(base, dtype="float32"), folder)' in code_of(text)
    exported = card_of_export(text, export, settings, "Merged.")
    assert "peft" not in code_of(exported)
    assert "library_name: transformers\n" in exported
    assert exported.endswith("\n## Export\n\nMerged.\n")
    assert "/home/ada" not in text + exported
