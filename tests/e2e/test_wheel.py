"""The package without a checkout: what it carries, and a recipe copied from it into an empty folder."""

import re
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from conftest import ROOT, SHORT, run_command
from forks import BIN


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like site-packages, with the package that `uv build --wheel` makes."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [
        str(BIN / "uv"),
        "build",
        "--quiet",
        "--wheel",
        "--no-build-isolation",
        "--python",
        sys.executable,
        "--out-dir",
        str(folder),
    ]
    subprocess.run(build, cwd=ROOT, check=True)
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        wheel.extractall(folder / "site")
    return folder / "site"


def copied(site: Path, folder: Path, name: str) -> list[str]:
    """Copies grpo_math under a name, as a user without a checkout does in a folder, and returns the command that is shown."""
    copy = f"import common.commands.main as m; assert {str(site)!r} in m.__file__; m.main()"
    shown = run_command([sys.executable, "-c", copy, "copy", "grpo_math", name], cwd=folder, PYTHONPATH=str(site))
    assert shown.returncode == 0, shown.stderr
    said, command = shown.stdout.splitlines()
    assert said == f"Copied grpo_math to {name}. Run it with"
    return shlex.split(command)


def test_a_recipe_is_copied_into_an_empty_folder(site: Path, tmp_path: Path):
    command = copied(site, tmp_path, "mine")
    assert command == "accelerate launch --config_file accelerate_configs/zero3.yaml mine/train.py".split()
    for ours, own in {"recipes/grpo_math": "mine", "accelerate_configs": "accelerate_configs"}.items():
        tracked = run_command(["git", "ls-files", ours]).stdout.split()
        assert {str(file.relative_to(tmp_path / own)) for file in (tmp_path / own).rglob("*") if file.is_file()} == {
            str(Path(file).relative_to(ours)) for file in tracked
        }
    own = tmp_path / "accelerate_configs" / "zero3.yaml"
    own.write_text("# mine")
    copied(site, tmp_path, "second")
    assert own.read_text() == "# mine"


def printed(site: Path, folder: Path, *script: str) -> str:
    """Returns what a line of Python prints, with arguments, in a folder that holds no checkout."""
    return run_command([sys.executable, "-c", *script], cwd=folder, PYTHONPATH=str(site)).stdout


def test_it_carries_every_recipe(site: Path, tmp_path: Path):
    listed = printed(site, tmp_path, "from common.commands.main import main; main()", "list")
    assert re.findall(r"^(\w+)  ", listed, re.MULTILINE) == sorted(
        script.parent.name for script in (ROOT / "recipes").glob("*/train.py")
    )


def test_it_names_the_lock_that_it_carries(site: Path, tmp_path: Path):
    cure = printed(site, tmp_path, "from common.commands.installation import INSTALL; print(INSTALL)")
    lock = Path(cure.strip().strip("`").removeprefix("pip install -r "))
    assert lock.is_relative_to(site)
    assert lock.read_text() == (ROOT / "requirements.lock").read_text()


@pytest.mark.slow
def test_the_copy_trains(site: Path, tmp_path: Path):
    command = copied(site, tmp_path, "mine")
    launch = [*command[:2], "--main_process_port", "0", *command[2:], *SHORT]
    trained = run_command(launch, cwd=tmp_path, PYTHONPATH=str(site))
    assert trained.returncode == 0, trained.stderr
    assert (tmp_path / "outputs" / "mine" / "tiny" / "report.html").exists()
