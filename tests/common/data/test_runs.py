"""The rows that a run has written are read whole, also those of a run that was killed while it wrote."""

from pathlib import Path

from common.data.runs import read_rows

import pytest

WHOLE = '{"step": 1, "loss": 2.5}\n{"step": 2, "loss": 2.25}\n'


@pytest.mark.parametrize("end", ["", '{"step": 3, "lo', '{"st', "{", "\0\0\0", "\n"])
def test_half_a_last_line_is_left_out(tmp_path: Path, end: str):
    path = tmp_path / "metrics.jsonl"
    path.write_text(WHOLE + end)
    assert read_rows(path) == [{"step": 1, "loss": 2.5}, {"step": 2, "loss": 2.25}]


def test_a_last_line_that_lacks_only_its_end_is_a_row(tmp_path: Path):
    path = tmp_path / "metrics.jsonl"
    path.write_text(WHOLE.rstrip())
    assert len(read_rows(path)) == 2


@pytest.mark.parametrize("content", ["", None])
def test_nothing_written_yet(tmp_path: Path, content: str | None):
    path = tmp_path / "metrics.jsonl"
    if content is not None:
        path.write_text(content)
    assert read_rows(path) == []


@pytest.mark.parametrize("damaged", ['{"step": 1, "lo', "", "\xff"])
def test_damage_before_the_last_line_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str], damaged: str):
    path = tmp_path / "metrics.jsonl"
    path.write_text(f'{{"step": 0}}\n{damaged}\n{WHOLE}', encoding="latin-1")
    with pytest.raises(SystemExit) as ended:
        read_rows(path)
    assert ended.value.code == 2
    assert capsys.readouterr().err == (
        f"error: {path}, line 2 is damaged; remove the line, or put back the file that the run has written\n"
    )
