"""A mistake in the settings is answered after what parsing needs, and before trainers, DeepSpeed and data sets are imported."""

import json
import subprocess
import sys

import pytest
from conftest import ROOT, command_env

SCRIPTS = sorted(
    str(path.relative_to(ROOT))
    for path in (ROOT / "recipes").glob("*/*.py")
    if "parse(__file__" in path.read_text() and '__name__ == "__main__"' in path.read_text()
)
LATER = ["trl.trainer.sft_trainer", "trl.trainer.grpo_trainer", "deepspeed", "datasets"]

# Imports what every script needs, and runs each in a fork of itself up to its refusal.
SERVER = f"""
import json, os, runpy, sys
import common.run.config
for script in sys.argv[1:]:
    sys.stdout.flush()
    if (pid := os.fork()) == 0:
        sys.argv, sys.path[0] = [script, "--max_steps", "0"], os.path.dirname(script)
        try:
            runpy.run_path(script, run_name="__main__")
        except SystemExit as ended:
            print(json.dumps([script, ended.code, [name for name in {LATER} if name in sys.modules]]))
        sys.stdout.flush()
        os._exit(0)
    os.waitpid(pid, 0)
"""


@pytest.fixture(scope="module")
def refusals() -> dict[str, list]:
    """For each script the exit code of a mistake, and what was imported by then that could wait."""
    env = command_env(PYTHONPATH=str(ROOT), ACCELERATE_USE_DEEPSPEED="true", ACCELERATE_DEEPSPEED_ZERO_STAGE="3")
    command = [sys.executable, "-c", SERVER, *SCRIPTS]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=True, timeout=300)
    assert done.stderr.count("error: max_steps is 0") == len(SCRIPTS), done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
    return {script: rest for script, *rest in rows}


def test_there_is_a_script_in_every_recipe():
    recipes = {path.parent.name for path in (ROOT / "recipes").glob("*/arguments.py")}
    assert {script.split("/")[1] for script in SCRIPTS} == recipes
    assert sum(script.endswith("/evaluate.py") for script in SCRIPTS) == len(recipes)


@pytest.mark.parametrize("script", SCRIPTS)
def test_nothing_that_can_wait_is_imported(refusals: dict[str, list], script: str):
    assert refusals[script] == [2, []]
