"""Every command in a README or on the site is one that works."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest
from conftest import ROOT, command_env

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "recipes").glob("*/README.md"))]
LAUNCHERS = ("accelerate launch", "torchrun", "deepspeed", "python")


def commands() -> list[tuple[str, str]]:
    """Returns each line of each ```bash block, with the page it is on."""
    found = []
    for page in PAGES:
        for block in re.findall(r"```bash\n(.*?)```", page.read_text(), re.DOTALL):
            for line in block.splitlines():
                command = line.split("#")[0].strip()
                if command:
                    found.append((str(page.relative_to(ROOT)), command))
    return found


def flags(script: Path) -> set[str]:
    """Returns the flags that a script knows, by its own help."""
    shown = subprocess.run(["python", str(script), "--help"], cwd=ROOT, env=command_env(), capture_output=True, text=True)
    assert shown.returncode == 0, shown.stderr
    return set(re.findall(r"--\w+", shown.stdout))


def test_commands_name_what_exists():
    known: dict[Path, set[str]] = {}
    launches = 0
    for page, command in commands():
        words = shlex.split(command)
        where = f"{page}: {command}"
        if words[0] == "make":
            subprocess.run(["make", "--dry-run", *words[1:]], cwd=ROOT, check=True, capture_output=True)
        elif command.startswith(LAUNCHERS):
            launches += 1
            # recipes/mine is the copy that a README has just made.
            position = next(i for i, word in enumerate(words) if word.endswith(".py"))
            script = ROOT / words[position].replace("recipes/mine", "recipes/grpo_math")
            assert script.exists(), where
            for word in words:
                if word.startswith("accelerate_configs/"):
                    assert (ROOT / word).exists(), where
            arguments = words[position + 1 :]
            if script not in known:
                known[script] = flags(script)
            for word in arguments:
                if word.startswith("--") and word != "--config":
                    assert word in known[script], where
            if "--config" in arguments:
                name = arguments[arguments.index("--config") + 1]
                assert (script.parent / name).exists() or (ROOT / name).exists(), where
        else:
            assert words[0] == "cp", where
    assert launches > 10


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_pictures_exist(page: Path):
    for target in re.findall(r"\]\(([^)#\s]+)", page.read_text()):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), f"{page}: {target}"


def test_every_accelerate_configuration_is_explained():
    table = (ROOT / "docs" / "zero_stages.md").read_text()
    for config in (ROOT / "accelerate_configs").glob("*.yaml"):
        assert f"`{config.name}`" in table
        assert config.read_text().startswith("# ")
