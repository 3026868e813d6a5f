"""What a library says, on one line of ours."""

from common.errors import brief

import pytest


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("It broke.", "It broke"),
        ("It broke...", "It broke"),
        ("It broke:\n", "It broke"),
        ("It\n  broke. Why?", "It broke. Why?"),
        (f"It broke.. {'word ' * 60}", "It broke"),
        (f"It broke. {'word ' * 60}", "It broke"),
        ("word " * 60, "word " * 39 + "..."),
        (f"{'word ' * 39}end, and {'word ' * 60}", "word " * 39 + "..."),
        ("", ""),
    ],
)
def test_a_line_can_go_on_behind_what_a_library_says(text: str, line: str):
    assert brief(ValueError(text)) == line
