"""By what a run's inputs are known again."""

from pathlib import Path

from common.data.digest import WHOLE, digest
from common.run.fingerprint import fingerprints

import pytest


@pytest.mark.parametrize("changed", ["data.jsonl", "roles.yaml", "base/model.safetensors", "base/chat_template.jinja"])
def test_data_roles_and_base_model_are_told_from_others(tmp_path: Path, changed: str):
    (tmp_path / "base").mkdir()
    for name in ("data.jsonl", "roles.yaml", "base/model.safetensors", "base/chat_template.jinja"):
        (tmp_path / name).write_text("what it was")
    values = {"dataset_name": str(tmp_path / "data.jsonl"), "roles_file": "roles.yaml"}
    values |= {"model_name_or_path": str(tmp_path / "base"), "learning_rate": 0.1}
    before = fingerprints(values, tmp_path)
    assert fingerprints(values, tmp_path) == before
    (tmp_path / changed).write_text("what it is!")  # as many bytes
    after = fingerprints(values, tmp_path)
    assert after.keys() == before.keys()
    assert [name for name in after if after[name] != before[name] and name.endswith(changed.rpartition("/")[2])] != []
    assert sum(after[name] != before[name] for name in after) == 1


def test_a_large_file_is_known_by_its_size_and_by_samples(tmp_path: Path):
    """A change between the samples is not seen, as docs/reliability.md says."""
    path = tmp_path / "large"
    with open(path, "wb") as file:
        file.truncate(WHOLE + 2**24)  # a hole: no room on the disk
    sums = [digest(path)]
    for position in (0, WHOLE + 2**24 - 1, 2**20 + 1):
        with open(path, "r+b") as file:
            file.seek(position)
            file.write(b"\1")
        sums.append(digest(path))
    assert sums[0] != sums[1] != sums[2] == sums[3]
