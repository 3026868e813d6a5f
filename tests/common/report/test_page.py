"""What a reader of `report.html` relies on."""

import base64
import hashlib
import json
import re
import struct
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

from common.report.page import write_report
from common.report.table import Table

import pytest
from report_page import data_of, evaluation, make_run, report, sample, share, visible, write_rows


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    return make_run(tmp_path)


def test_numbers_stand_with_their_intervals(run_folder: Path) -> None:
    text = visible(report(run_folder))
    assert "before, step 0 30.0% [25.7%, 34.7%] → after, step 60 92.0% [87.7%, 96.7%]" in text
    assert "held out · 400 problems · steps 0 and 60" in text
    assert "unseen numbers · 400 problems" in text
    assert "mean completion length 18.4 18.4" in text
    assert "Memory 2 GiB" in text
    assert "so far" not in text.lower()


def test_a_metric_of_a_part_says_so(tmp_path: Path) -> None:
    metrics = {"exact_call_DE": share(0.3) | {"count": 341}, "loss": {"value": None}}
    write_rows(tmp_path / "metrics.jsonl", [{"step": 0, "seconds": 1, "split": "held_out", "count": 600, "metrics": metrics}])
    text = visible(report(tmp_path))
    assert "Exact call DE, held out so far, step 0 30.0% [25.7%, 34.7%] Measured on 341 problems. In brackets: the 95" in text
    assert "held out · 600 problems · step 0 exact call DE · 341 problems 30.0% [25.7%, 34.7%] loss - " in text


def test_a_repeated_step_of_a_resumed_run_counts_once_and_half_a_line_is_skipped(run_folder: Path) -> None:
    with open(run_folder / "metrics.jsonl", "a") as file:
        file.write(json.dumps(evaluation(60, "held_out", 0.8)) + '\n{"step": 61, "rew')
    assert "after, step 60 80.0%" in visible(report(run_folder))


def test_what_a_model_or_a_file_says_is_text_not_markup(run_folder: Path) -> None:
    attack = "<script>alert(1)</script>\n<img src=http://example.org onerror=alert(1)>"
    write_rows(run_folder / "samples.jsonl", [sample(0, attack, False, attack), sample(60, attack, False, attack)])
    page = report(run_folder)
    assert page.count("<script") == 2
    assert "&lt;script&gt;alert(1)&lt;/script&gt;\n&lt;img" in page
    assert "# &lt;fast&gt;" in page
    assert data_of(page)["problems"]["problems"][0]["question"] == attack


def test_whatever_a_text_holds_a_page_has_the_same_elements(tmp_path: Path) -> None:
    class Tags(HTMLParser):
        def __init__(self, page: str):
            super().__init__()
            self.found: list[str] = []
            self.text = ""
            self.feed(page)

        def handle_starttag(self, tag, attrs):
            self.found.append(f"{tag} {' '.join(name for name, _ in attrs)}")

        def handle_data(self, data):
            self.text += data

    def page(text: str) -> Tags:
        metrics = [evaluation(step, text, 0.5) | {"metrics": {text: share(0.5)}} for step in (0, 1)]
        write_rows(tmp_path / "metrics.jsonl", metrics)
        rows = [sample(step, text, False, text) | {"split": text, "answer": text} for step in (0, 1)]
        write_rows(tmp_path / "samples.jsonl", rows)
        (tmp_path / "config.yaml").write_text(f"# {text}\n", encoding="utf-8")
        tables = [Table(text, [text, text], [[text, text]], text)]
        write_report(tmp_path, title=text, summary=text, curves=[], facts={text: text}, tables=tables)
        return Tags((tmp_path / "report.html").read_text(encoding="utf-8"))

    text = """</div></pre></title></style><script>alert(1)</script><img src=x onerror="alert(1)" '> {{ 7 * 7 }} {% raw %}
# heading --- | a | `b` ``` ![x](https://example.com/a.png) <!-- &lt;b&gt; ]]> <svg/onload=alert(1)>"""
    hostile, plain = page(text), page("plain")
    assert hostile.found == plain.found
    assert hostile.text.count(text) > 10


def test_page_needs_no_network(run_folder: Path) -> None:
    page = report(run_folder)
    assert not re.search(r"""(src|href)\s*=\s*["']?\s*(https?:|//)|@import|url\((?!#)|<link|<script src""", page)


def test_an_error_rate_that_falls_is_no_loss(tmp_path: Path) -> None:
    rows = [evaluation(0, "held_out", 0.98), evaluation(60, "held_out", 0.05)]
    for row in rows:
        row["metrics"] = {"character_error_rate": row["metrics"]["accuracy"]}
    write_rows(tmp_path / "metrics.jsonl", rows)
    text = visible(report(tmp_path))
    assert "Character error rate, held out before, step 0 98.0% [93.7%, 102.7%] → after, step 60 5.0% [0.7%, 9.7%]" in text
    assert not re.search(r"better|worse|improve|higher|gain|loss", text)


def test_curves_are_an_image_and_missing_series_are_left_out(run_folder: Path) -> None:
    page = report(run_folder, state="complete")
    png = (run_folder / "curves.png").read_bytes()
    width, height = struct.unpack(">II", png[16:24])
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    assert len(png) > 20_000
    assert width > height > 400
    curves = data_of(page)["curves"]
    assert [curve["title"] for curve in curves] == ["Accuracy", "Reward"]
    assert [series["label"] for series in curves[1]["series"]] == ["reward"]
    assert curves[0]["series"][0]["points"][1] == [30, 0.7, 0.657, 0.747]


def test_what_else_was_logged_is_drawn_where_it_changes(tmp_path: Path) -> None:
    rows = [
        {"step": step, "seconds": step, "reward": 0.5, "tokens_per_second": 1000 + step, "rewards/correct/mean": step / 9}
        | {"rewards/formatted/mean": 1 / step, "constant": 7, "learning_rate": 1e-4, "seconds_of_something": step**2}
        for step in range(1, 9)
    ]
    write_rows(tmp_path / "metrics.jsonl", [*rows, {"step": 8, "seconds": 9, "peak_memory_gib": 1.5}])
    more = data_of(report(tmp_path))["more"]
    found = {curve["title"]: [series["label"] for series in curve["series"]] for curve in more}
    assert found == {
        "Learning rate": ["learning rate"],
        "Tokens a second": ["training"],
        "Rewards, mean": ["correct", "formatted"],
        "Seconds of something": ["seconds of something"],
    }


def test_one_evaluation_is_a_report_so_far(tmp_path: Path) -> None:
    write_rows(tmp_path / "metrics.jsonl", [evaluation(0, "held_out", 0.3)])
    write_rows(tmp_path / "samples.jsonl", [sample(0, "Q1", correct=False)])
    text = visible(report(tmp_path))
    assert "so far, step 0 30.0% [25.7%, 34.7%]" in text
    assert "Answers so far" in text
    assert "After" not in text
    assert data_of(report(tmp_path))["problems"]["columns"] == ["step 0"]


def test_an_empty_run_still_gets_a_page(tmp_path: Path) -> None:
    assert "Nothing has been evaluated so far." in visible(report(tmp_path))
    assert not (tmp_path / "curves.png").exists()


def test_the_weights_that_are_kept_stand_under_their_own_step(run_folder: Path) -> None:
    # With `load_best_model_at_end` the last measure is of step 30, whose weights are saved.
    with open(run_folder / "metrics.jsonl", "a") as file:
        file.writelines(json.dumps(evaluation(30, split, 0.7)) + "\n" for split in ("held_out", "unseen_numbers"))
    with open(run_folder / "samples.jsonl", "a") as file:
        file.writelines(
            json.dumps(sample(30, f"Q{number}", number < 3, f"of step 30: {number}")) + "\n" for number in range(1, 7)
        )
    text = visible(report(run_folder))
    assert "before, step 0 30.0% [25.7%, 34.7%] → after, step 30 70.0% [65.7%, 74.7%]" in text
    assert "held out · 400 problems · steps 0 and 30" in text
    assert "of step 30: 1" in text


def test_the_policy_names_the_one_script_and_the_one_style(run_folder: Path) -> None:
    page = report(run_folder)
    policy = unescape(re.search(r'Content-Security-Policy" content="(.*?)"', page)[1])
    script = re.findall(r"<script>(.*?)</script>", page, re.S)
    style = re.findall(r"<style>(.*?)</style>", page, re.S)
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (*style, *script)]
    assert len(hashes) == 2
    assert re.findall(r"'sha256-(.*?)'", policy) == hashes
    assert "unsafe" not in policy


def test_numbers_that_are_none_are_left_out(run_folder: Path) -> None:
    with open(run_folder / "metrics.jsonl", "a") as file:
        row = evaluation(70, "held_out", float("nan")) | {"metrics": {"accuracy": {"value": float("nan")}}}
        file.write(json.dumps(row) + "\n" + json.dumps({"step": 71, "seconds": 1.0, "reward": None}) + "\n")
    points = [series["points"][-1][0] for curve in data_of(report(run_folder))["curves"] for series in curve["series"]]
    assert points == [60, 60, 60]


def test_what_was_found_in_the_data_is_said(run_folder: Path) -> None:
    left_out = {f"a.jsonl, row {number}": "no <answer>" for number in range(300)}
    text = visible(report(run_folder, notes=["train: 3 training rows ask what is also measured"], left_out=left_out))
    assert "train: 3 training rows ask what is also measured" in text
    assert "300 rows were left out" in text
    assert "a.jsonl, row 7 : no &lt;answer&gt;" in text
    assert "And 100 more." in text
