"""What a reader of `report.html` relies on."""

import base64
import hashlib
import json
import re
import struct
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

from common.report.page import Curve, write_report
from common.report.table import Table

import pytest

CURVES = [
    Curve("Accuracy", {"held out": "held_out:accuracy", "unseen": "unseen_numbers:accuracy"}, percent=True),
    Curve("Reward", {"reward": "reward", "never logged": "no_such_key"}),
    Curve("Not in this run", {"entropy": "entropy"}),
]


def share(value: float) -> dict:
    return {"value": value, "low": value - 0.043, "high": value + 0.047}


def evaluation(step: int, split: str, accuracy: float) -> dict:
    metrics = {"accuracy": share(accuracy), "mean_completion_length": {"value": 18.44}}
    return {"step": step, "seconds": 2.0 * step, "split": split, "count": 400, "metrics": metrics}


def sample(step: int, question: str, correct: bool, completion: str = "<think>\n6*7=42\n</think>\n42") -> dict:
    row = {"step": step, "split": "held_out", "question": question, "answer": "42", "completion": completion}
    return row | {"correct": correct}


def write_rows(path: Path, rows: list[dict]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def report(folder: Path, **more) -> str:
    settings = {"title": "GRPO on maths", "summary": "Tiny.", "curves": CURVES, "facts": {"Memory": "2 GiB"}}
    path = write_report(folder, **settings, **{"state": "interrupted"} | more)  # a complete run is drawn as a picture, too
    assert path == folder / "report.html"
    assert not list(folder.glob("*.tmp"))
    return path.read_text()


def visible(page: str) -> str:
    """Returns the text a reader sees, each run of white space as one space."""
    body = re.sub(r"<[^>]*>", " ", without_script(page).split("</style>")[1])
    return " ".join(body.split())


def without_script(page: str) -> str:
    """Returns what a reader has whose browser runs no script."""
    return re.sub(r"<script.*?</script>", "", page, flags=re.S)


def data_of(page: str) -> dict:
    """Returns what the script shows."""
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)[1])


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    metrics = [{"step": step, "seconds": 2.0 * step, "reward": step / 60} for step in range(1, 61)]
    for split in ("held_out", "unseen_numbers"):
        metrics += [evaluation(0, split, 0.3), evaluation(30, split, 0.7), evaluation(60, split, 0.92)]
    write_rows(tmp_path / "metrics.jsonl", metrics)
    after = {"Q1": True, "Q2": True, "Q3": True, "Q4": True, "Q5": True, "Q6": False}
    rows = [sample(0, question, correct=False) for question in after]
    rows += [sample(60, question, correct) for question, correct in after.items()]
    write_rows(tmp_path / "samples.jsonl", rows)
    (tmp_path / "config.yaml").write_text("# trl 1.16\nlearning_rate: 1.0e-3 # <fast>\n")
    return tmp_path


def test_numbers_stand_with_their_intervals(run_folder: Path) -> None:
    text = visible(report(run_folder))
    assert "before, step 0 30.0% [25.7%, 34.7%] → after, step 60 92.0% [87.7%, 96.7%]" in text
    assert "held out · 400 problems · steps 0 and 60" in text
    assert "unseen numbers · 400 problems" in text
    assert "mean completion length 18.4 18.4" in text
    assert "Memory 2 GiB" in text
    assert "so far" not in text.lower()


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


def test_samples_show_corrected_problems_and_one_that_is_still_wrong(run_folder: Path) -> None:
    page = without_script(report(run_folder))
    assert re.findall(r'<h3 dir="auto">(.*?)</h3>', page) == ["Q1", "Q2", "Q3", "Q6"]
    assert "5 went from wrong to right, 1 still wrong." in visible(page)
    assert page.count("✓ right") == 3
    assert page.count("✗ wrong") == 5
    assert "&lt;think&gt;\n6*7=42\n" in page


def test_pictures_and_marked_errors_of_samples(run_folder: Path) -> None:
    picture = "data:image/png;base64,iVBORw0KGgo="
    read = [["equal", "TOTAL "], ["missing", "4\n<2>"], ["wrong", "<i>\n7"], ["equal", "."]]
    row = {"image": picture, "marked": read}
    write_rows(run_folder / "samples.jsonl", [sample(step, "Read.", False, "TOTAL <i>\n7.") | row for step in (0, 60)])
    page = without_script(report(run_folder))
    assert page.count(f'<img alt="42" src="{picture}">') == 1
    assert page.index(picture) < page.index('<h3 dir="auto">Read.</h3>')
    # What marks a line break is seen; there is no space that was not said.
    assert page.count(">TOTAL <del>4↵\n&lt;2&gt;</del><mark>&lt;i&gt;↵\n7</mark>.</div>") == 2
    assert "what is wrong is underlined , and what is missing is there struck through ." in visible(page)


def test_nothing_read_at_all_is_shown_as_missing(run_folder: Path) -> None:
    rows = [sample(0, "Read.", False, "") | {"marked": [["missing", "AB"]]}, sample(60, "Read.", True, "") | {"marked": []}]
    write_rows(run_folder / "samples.jsonl", rows)
    page = report(run_folder)
    assert "><del>AB</del></div>" in page
    assert ">(nothing)</div>" in page


@pytest.mark.parametrize("image", ["https://example.org/a.png", "javascript:alert(1)", "data:text/html,hello", "a.png", None])
def test_only_images_within_the_page_are_shown(run_folder: Path, image: str | None) -> None:
    write_rows(run_folder / "samples.jsonl", [sample(step, "Read.", False) | {"image": image} for step in (0, 60)])
    page = report(run_folder)
    assert '<h3 dir="auto">Read.</h3>' in page
    assert page.count("<img") == 1  # the one that is shown large, as yet without a picture
    assert "image" not in data_of(page)["problems"]["problems"][0]
    assert str(image) not in without_script(page)


def test_a_picture_cannot_leave_its_attribute(run_folder: Path) -> None:
    image = 'data:image/png,"><script>alert(1)</script>'
    answer = '" onload="alert(1)'
    rows = [sample(step, "Read.", False) | {"image": image, "answer": answer} for step in (0, 60)]
    write_rows(run_folder / "samples.jsonl", rows)
    page = report(run_folder)
    assert page.count("<script") == 2
    assert 'onload="' not in without_script(page)
    assert 'src="data:image/png,&#34;&gt;&lt;script' in page


def test_samples_of_one_question_are_told_apart_by_their_id(run_folder: Path) -> None:
    right = {"a": False, "b": True, "c": True}
    rows = [sample(0, "Read.", False, f"{name} before") | {"id": name} for name in right]
    rows += [sample(60, "Read.", right[name], f"{name} after") | {"id": name} for name in reversed(right)]
    write_rows(run_folder / "samples.jsonl", rows)
    text = visible(report(run_folder))
    assert "2 went from wrong to right, 1 still wrong." in text
    for name in right:
        assert re.search(rf"{name} before After, step 60 \S+ \w+ {name} after", text)


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


def test_white_space_alone_is_said(run_folder: Path) -> None:
    write_rows(run_folder / "samples.jsonl", [sample(0, "Q", False, "\n" * 40), sample(60, "Q", False, "")])
    page = without_script(report(run_folder))
    assert "(nothing but white space)" in page
    assert ">(nothing)<" in page


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


def test_a_question_that_is_asked_twice_has_two_samples(run_folder: Path) -> None:
    rows = [sample(step, "Q", right, f"{step} {right}") for step in (0, 60) for right in (step == 60, False)]
    write_rows(run_folder / "samples.jsonl", rows)
    text = visible(report(run_folder))
    assert "60 True" in text
    assert "60 False" in text


def test_every_evaluation_of_a_problem_is_kept_within_the_pages_size(tmp_path: Path) -> None:
    picture = "data:image/jpeg;base64," + "A" * 100_000
    rows = [
        sample(step, f"Q{number}", step > 30, "word " * 300) | {"image": picture} for step in range(60) for number in range(24)
    ]
    write_rows(tmp_path / "samples.jsonl", rows)
    page = report(tmp_path)
    assert len(page) < 2_000_000
    found = data_of(page)["problems"]
    assert (found["columns"][0], found["columns"][-1]) == ("step 0", "step 59")
    assert 5 < len(found["columns"]) < 60
    assert len(found["problems"]) == 24
    left_out = re.search(r"(\d+) evaluations between the first and the last and (\d+) pictures", visible(page))
    assert int(left_out[1]) == 60 - len(found["columns"])
    assert int(left_out[2]) == sum("image" not in problem for problem in found["problems"]) > 0


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
