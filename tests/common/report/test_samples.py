"""The kept samples in `report.html`: problems with their answers, pictures and marked errors."""

import re
from pathlib import Path

import pytest
from report_page import data_of, make_run, report, sample, visible, without_script, write_rows


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    return make_run(tmp_path)


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


def test_white_space_alone_is_said(run_folder: Path) -> None:
    write_rows(run_folder / "samples.jsonl", [sample(0, "Q", False, "\n" * 40), sample(60, "Q", False, "")])
    page = without_script(report(run_folder))
    assert "(nothing but white space)" in page
    assert ">(nothing)<" in page


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
