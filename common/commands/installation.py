"""What is installed: Python, the packages that are needed and those that were tested, the trackers."""

import sys
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from pathlib import Path

from common.commands.places import IS_INSTALLED, ROOT

from packaging.requirements import Requirement

PROJECT = "zero-recipes"
TRACKERS = ("wandb", "tensorboard", "trackio")
INSTALL = f"`pip install -r {ROOT / 'requirements.lock'}`" if IS_INSTALLED else "`make install`"


@dataclass(frozen=True)
class Finding:
    """What a check has found.

    Attributes:
        check: What was looked at.
        state: `ok`, `warn` (something will be slower, or cannot be used) or `fail` (runs will fail).
        what: What was found.
        cure: What to do about it; empty if there is nothing to do.
    """

    check: str
    state: str
    what: str
    cure: str = ""


def _installed_version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def needed_packages(project: str = PROJECT) -> list[str]:
    """Returns the requirements of the project, of its checkout where it is not installed itself but stands on the path.

    Args:
        project: The name under which it is installed.
    """
    try:
        return requires(project) or []
    except PackageNotFoundError:
        return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]


def check_python(found: tuple[int, int] = sys.version_info[:2]) -> Finding:
    """Looks whether this Python is new enough."""
    what = ".".join(map(str, found))
    if found < (3, 11):
        return Finding("Python", "fail", f"{what}; 3.11 or newer is needed", "`make install PYTHON=python3.12` in a new .venv")
    return Finding("Python", "ok", what)


def check_packages(
    lock: Path, needed: list[str], installed: Callable[[str], str | None] = _installed_version
) -> Iterator[Finding]:
    """Compares what is installed with what the project needs, and with what was tested.

    Args:
        lock: A file of pinned versions, such as requirements.lock.
        needed: The project's own requirements.
        installed: Gives the version of a package that is installed, or None.
    """
    wrong = []
    for requirement in map(Requirement, needed):
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            found = installed(requirement.name)
            if found is None or not requirement.specifier.contains(found, prereleases=True):
                wrong.append(f"{requirement.name} {found or 'is missing'} (needed: {requirement.specifier})")
    if wrong:
        yield Finding("packages", "fail", ", ".join(wrong), INSTALL)
    else:
        yield Finding("packages", "ok", f"all that is needed is installed, torch {installed('torch')}")

    if not lock.is_file():
        yield Finding("versions", "warn", f"there is no {lock.name} to compare with", f"run in a checkout of {PROJECT}")
        return
    lines = lock.read_text(encoding="utf-8").splitlines()
    pinned = [Requirement(line.rstrip("\\ ")) for line in lines if line and line[0] not in " #"]
    pinned = [pin for pin in pinned if pin.marker is None or pin.marker.evaluate()]
    if IS_INSTALLED:  # without what only those who work on the project need, which is pinned too
        pinned = [pin for pin in pinned if installed(pin.name)]
    different = [
        f"{pin.name} {installed(pin.name) or 'missing'} ({str(pin.specifier).removeprefix('==')})"
        for pin in pinned
        if not pin.specifier.contains(installed(pin.name) or "0", prereleases=True)
    ]
    if different:
        shown = ", ".join(different[:5]) + (f" and {len(different) - 5} more" if len(different) > 5 else "")
        yield Finding("versions", "warn", f"{len(different)} of {len(pinned)} are not those of {lock.name}: {shown}", INSTALL)
    else:
        yield Finding("versions", "ok", f"the {len(pinned)} packages of {lock.name}")


def check_trackers(find: Callable[[str], object] = find_spec) -> Finding:
    """Says which trackers --report_to can name."""
    missing = [name for name in TRACKERS if find(name) is None]
    there = ", ".join(name for name in TRACKERS if name not in missing) or "none"
    cure = f"`uv pip install {' '.join(missing)}`" if missing else ""
    return Finding("trackers", "warn" if there == "none" else "ok", f"{there} installed, for --report_to", cure)
