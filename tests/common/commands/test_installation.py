"""What is installed: Python, packages and trackers, where all is well and where it is not."""

from collections.abc import Iterator
from pathlib import Path

from common.commands import installation
from common.commands.installation import Finding

import pytest
from conftest import ROOT
from packaging.requirements import Requirement

LOCK = """\
torch==2.15.0 \\
    --hash=sha256:00 \\
    --hash=sha256:01
triton==3.6.0 ; sys_platform == 'linux' \\
    --hash=sha256:02
winloop==1.0 ; sys_platform == 'win32' \\
    --hash=sha256:03
"""
NEEDED = ["torch>=2.11", "triton>=3.6; sys_platform == 'linux'", "vllm; extra == 'vllm'"]


def states(findings: Iterator[Finding]) -> dict[str, tuple[str, str]]:
    return {finding.check: (finding.state, finding.what) for finding in findings}


def test_python():
    assert installation.check_python((3, 13)) == Finding("Python", "ok", "3.13")
    old = installation.check_python((3, 9))
    assert (old.state, old.what) == ("fail", "3.9; 3.11 or newer is needed")


@pytest.mark.parametrize(
    ("installed", "packages", "versions"),
    [
        ({"torch": "2.15.0", "triton": "3.6.0"}, ("ok", "torch 2.15.0"), ("ok", "the 2 packages of requirements.lock")),
        ({"torch": "2.15.0+cu128", "triton": "3.6.0"}, ("ok", "torch 2.15.0+cu128"), ("ok", "the 2 packages")),
        (
            {"torch": "2.12.1", "triton": "3.6.0"},
            ("ok", "2.12.1"),
            ("warn", "1 of 2 are not those of requirements.lock: torch 2.12.1 (2.15.0)"),
        ),
        ({"torch": "2.10.0", "triton": "3.6.0"}, ("fail", "torch 2.10.0 (needed: >=2.11)"), ("warn", "1 of 2")),
        ({"torch": "2.15.0"}, ("fail", "triton is missing (needed: >=3.6)"), ("warn", "triton missing (3.6.0)")),
    ],
)
def test_packages(tmp_path: Path, installed: dict[str, str], packages: tuple[str, str], versions: tuple[str, str]):
    lock = tmp_path / "requirements.lock"
    lock.write_text(LOCK)
    found = states(installation.check_packages(lock, NEEDED, installed.get))
    for check, (state, what) in {"packages": packages, "versions": versions}.items():
        assert found[check][0] == state
        assert what in found[check][1]


def test_what_is_needed_is_known_without_an_installation():
    installed, checkout = installation.needed_packages(), installation.needed_packages("no-such-project")
    assert {Requirement(line).name for line in checkout} < {
        Requirement(line).name for line in installed
    }  # which has the extras
    assert "torch" in {Requirement(line).name for line in checkout}


def test_packages_without_a_lock(tmp_path: Path):
    found = states(installation.check_packages(tmp_path / "requirements.lock", ["torch"], {"torch": "2.15.0"}.get))
    assert found["packages"][0] == "ok"
    assert found["versions"] == ("warn", "there is no requirements.lock to compare with")


def test_who_has_no_checkout_is_not_asked_for_what_develops_the_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(installation, "IS_INSTALLED", True)
    lock = tmp_path / "requirements.lock"
    lock.write_text(LOCK)
    found = states(installation.check_packages(lock, ["torch"], {"torch": "2.15.0"}.get))
    assert found["versions"] == ("ok", "the 1 packages of requirements.lock")


def test_the_lock_of_the_project_is_read_whole():
    lock = ROOT / "requirements.lock"
    (_, what) = states(installation.check_packages(lock, [], lambda name: None))["versions"]
    names = [line for line in lock.read_text().splitlines() if "==" in line and not line.startswith(" ")]
    count = int(what.partition(" of ")[2].partition(" ")[0])
    assert 0.9 * len(names) < count <= len(names)  # some are for other systems


def test_trackers():
    some = installation.check_trackers(lambda name: name if name == "wandb" else None)
    assert (some.state, some.what, some.cure) == (
        "ok",
        "wandb installed, for --report_to",
        "`uv pip install tensorboard trackio`",
    )
    assert installation.check_trackers(str).cure == ""
    assert installation.check_trackers(lambda name: None).state == "warn"
