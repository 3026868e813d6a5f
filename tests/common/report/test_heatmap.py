"""Matrices in a report: drawn before and after, with what is not measured left open."""

import json
import re
from pathlib import Path
from xml.etree import ElementTree

from common.report.heatmap import draw_matrices
from common.report.page import write_report

import pytest

MATRIX = {
    "title": "Thoughts in the language asked for",
    "rows": ["English", "Hindi"],
    "columns": ["Greek", "Russian", "Korean"],
    "row_title": "asked in",
    "column_title": "asked to think in",
    "values": [[1.0, 0.25, 0.0], [0.5, None, 0.75]],
}


def words(picture: bytes) -> str:
    """The words of a picture; matplotlib writes each as a comment beside its outlines."""
    return " ".join(comment.strip() for comment in picture.decode().split("<!--")[1:] for comment in [comment.split("-->")[0]])


def test_a_cell_says_its_share():
    picture = draw_matrices([("step 0", MATRIX)])
    ElementTree.fromstring(picture)
    said = words(picture).split()
    assert {"English", "Hindi", "Greek", "Russian", "Korean", "100%", "25%", "0%", "50%", "75%", "-"} <= set(said)


def test_many_columns_are_drawn_without_numbers():
    experts = MATRIX | {"columns": [str(number) for number in range(32)], "values": [[1 / 32] * 32] * 2}
    said = words(draw_matrices([("step 0", experts)])).split()
    assert "31" in said
    assert not [word for word in said if word.endswith("%")]


def test_a_matrix_of_nothing_is_drawn():
    picture = ElementTree.fromstring(draw_matrices([("step 0", MATRIX | {"values": [[None] * 3, [0.0] * 3]})]))
    assert picture.tag.endswith("svg")


@pytest.mark.parametrize("steps", [[0], [0, 20, 40]])
def test_a_report_shows_the_first_and_the_last(tmp_path: Path, steps: list[int]):
    rows = [
        {
            "step": step,
            "seconds": 1.0,
            "split": "held_out",
            "count": 6,
            "metrics": {"thinking_language": {"value": 0.5, "low": 0.4, "high": 0.6}},
            "matrices": [MATRIX],
        }
        for step in steps
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    page = write_report(tmp_path, title="A run", summary="It ran.", curves=[], facts={}).read_text()
    assert page.count("<h3>Thoughts in the language asked for, held out</h3>") == 1
    assert re.findall("<caption>(.*?)</caption>", page) == [f"step {step}" for step in dict.fromkeys((steps[0], steps[-1]))]
    assert (
        '<th scope="row">Hindi</th><td class="shade-4">50%</td><td class="shade-0">-</td><td class="shade-6">75%</td>' in page
    )
