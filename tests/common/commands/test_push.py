"""`recipes export --push`: a new private repository, or nothing, and the export is kept."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import ROOT
from recorded_runs import Recipes, command_of, make_record


@pytest.fixture
def recipes(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Recipes:
    """Returns a function that runs the command in the repository's root: exit code, output, errors."""
    monkeypatch.chdir(ROOT)
    return command_of(capsys)


class Hub:
    """Stands in for `huggingface_hub.HfApi` and writes down what it is asked for."""

    def __init__(self, existing: str = ""):
        self.existing, self.asked = existing, []

    def __call__(self) -> "Hub":
        return self

    def whoami(self) -> dict:
        return {"name": "me", "orgs": [], "auth": {"accessToken": {"role": "fineGrained"}}}

    def repo_exists(self, name: str) -> bool:
        return name == self.existing

    def create_repo(self, name: str, **options) -> None:
        self.asked.append(("create_repo", name, options))

    def upload_folder(self, *, repo_id: str, folder_path: Path, commit_message: str) -> None:
        self.asked.append(("upload_folder", repo_id, sorted(path.name for path in Path(folder_path).iterdir())))


@pytest.fixture
def export(recipes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Returns a function that exports a run whose making is replaced by one file, to a hub that is replaced as well."""
    from common.commands import export as module

    run = make_record(tmp_path / "run")

    def export(push: str, hub: Hub, token: str | None = "secret") -> SimpleNamespace:
        monkeypatch.setattr("huggingface_hub.HfApi", hub)
        monkeypatch.setattr("huggingface_hub.get_token", lambda: token)
        monkeypatch.setattr(module, "_check_room", lambda *_: None)
        monkeypatch.setattr(module, "_make", lambda folder, working: (working / "model.safetensors").touch())
        code, out, error = recipes("export", str(run), "--push", push)
        return SimpleNamespace(code=code, out=out, error=error, run=run)

    return export


def test_push_makes_a_private_repository(export):
    hub = Hub()
    finished = export("me/model", hub)
    assert finished.code == 0
    assert hub.asked == [("create_repo", "me/model", {"private": True}), ("upload_folder", "me/model", ["model.safetensors"])]
    assert "secret" not in finished.out + finished.error


@pytest.mark.parametrize(
    ("push", "token", "line"),
    [
        ("me/model", None, "--push needs a token of the Hugging Face hub with write access; `hf auth login` stores one"),
        ("me/there", "secret", "--push me/there: that repository exists already, and nothing is overwritten"),
        ("model", "secret", "--push model: name the owner too, for example --push my_name/model"),
        ("me/mo del", "secret", "--push me/mo del: Repo id must use alphanumeric chars"),
    ],
)
def test_push_fails_before_any_work(export, push: str, token: str | None, line: str):
    hub = Hub(existing="me/there")
    finished = export(push, hub, token)
    assert finished.code == 2
    assert finished.error.startswith(f"error: {line}")
    assert finished.error.count("\n") == 1
    assert hub.asked == []
    assert [path.name for path in finished.run.iterdir()] == ["run.json"]


def test_an_upload_that_breaks_keeps_the_export(export, monkeypatch: pytest.MonkeyPatch):
    def upload_folder(self, **options) -> None:
        raise ConnectionError("the connection was cut.\nSecond line.")

    monkeypatch.setattr(Hub, "upload_folder", upload_folder)
    finished = export("me/model", Hub())
    assert finished.code == 2
    folder = finished.run / "export"
    assert finished.error == (
        "error: --push me/model: the connection was cut. Second line; the export is kept: "
        f"`hf upload me/model {folder} . --private` uploads it\n"
    )
    assert (folder / "model.safetensors").exists()
