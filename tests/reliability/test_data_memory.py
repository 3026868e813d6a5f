"""The memory that a run's data take does not grow with their file: twice the rows take a tenth more at most."""

import sys
from pathlib import Path

import pytest
from conftest import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))
import data_scale


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="only Linux tells what a process holds of its own")
def test_twice_the_file_takes_a_tenth_more_at_most(tmp_path: Path):
    """`recipes prepare` of files of 40 and 80 MB, which are read in pieces as larger ones are."""
    sizes = {}
    for megabytes in (40, 80):
        folder = tmp_path / str(megabytes)
        folder.mkdir()
        rows = data_scale.write(folder / "rows.jsonl", 4, megabytes=megabytes)
        assert rows > 400 * megabytes
        model = data_scale.model_in(folder / "model")
        _, _, sizes[megabytes] = data_scale.prepare(folder / "rows.jsonl", model, folder / "cache")
    assert sizes[80] < 1.1 * sizes[40], sizes
