"""What the job scripts start, without a SLURM (with one: tests/reliability/test_slurm.py), and what the image is made of."""

import os
import re
import subprocess
from pathlib import Path

import pytest
from conftest import ROOT

# `srun` starts a task on each machine, which differs by its number alone; the launcher prints its arguments.
SRUN = """#!/bin/bash
while [[ $1 == --* ]]; do shift; done
for machine in $(seq 0 $((SLURM_NNODES - 1))); do SLURM_NODEID=$machine "$@" || code=1; done
exit ${code:-0}
"""
ACCELERATE = """#!/bin/bash
echo "accelerate cores=$SRUN_CPUS_PER_TASK $*"
[ -z "$STOPPED" ] || { mkdir -p "$RUN_FOLDER"; touch "$RUN_FOLDER/requeue"; }
exit ${STOPPED:-0}
"""
SCONTROL = """#!/bin/bash
if [ "$1" = show ]; then echo head; echo other; else echo "scontrol $*"; fi
"""


def submit(script: str, folder: Path, nodes: int, stopped: str = "") -> subprocess.CompletedProcess:
    """Runs a job script with programs in SLURM's place, whose task ends with an exit code and asks to be requeued, or not."""
    for name, text in (("srun", SRUN), ("accelerate", ACCELERATE), ("scontrol", SCONTROL)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    env = {"SLURM_JOB_ID": "12345", "SLURM_NNODES": str(nodes), "SLURM_JOB_NODELIST": "head,other", "SLURM_NODEID": "0"}
    env |= {"SLURM_GPUS_ON_NODE": "8", "SLURM_CPUS_PER_TASK": "32", "PATH": f"{folder}:{os.environ['PATH']}"}
    env |= {"STOPPED": stopped, "RUN_FOLDER": str(folder / "my run")}
    command = ["bash", str(ROOT / "cluster" / script), str(folder / "my run"), "train.py", "--system_prompt", "two words"]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=20)


def test_every_machine_gets_its_own_number_and_the_same_meeting_place(tmp_path: Path):
    ended = submit("many_nodes.sbatch", tmp_path, nodes=2)
    assert ended.returncode == 0, ended.stderr
    first, second = ended.stdout.splitlines()
    assert first.replace("--machine_rank 0", "--machine_rank 1").replace("/12345/0", "/12345/1") == second
    assert "cores=32" in first
    assert "--num_machines 2 --num_processes 16 --machine_rank 0 --main_process_ip head --main_process_port 22345" in first
    assert first.endswith(f"train.py --system_prompt two words --output_dir {tmp_path}/my run")


@pytest.mark.parametrize(("script", "nodes"), [("one_node.sbatch", 1), ("many_nodes.sbatch", 2)])
def test_a_job_is_requeued_only_if_the_run_asks_for_it(tmp_path: Path, script: str, nodes: int):
    stopped = submit(script, tmp_path, nodes, stopped="1")
    assert stopped.returncode == 1
    assert "scontrol requeue 12345" in stopped.stdout
    ended = submit(script, tmp_path, nodes)  # the file of the part before is still there
    assert ended.returncode == 0, ended.stderr
    assert "scontrol requeue" not in ended.stdout


def test_the_image_is_made_of_what_is_there():
    text = (ROOT / "Dockerfile").read_text()
    assert re.search(r"^ARG BASE=\S+:\S+@sha256:[0-9a-f]{64}$", text, re.MULTILINE)
    assert re.findall(r"^FROM (.*)", text, re.MULTILINE) == ["${BASE}"]
    for sources in re.findall(r"^COPY (.*) \S+$", text, re.MULTILINE):
        assert all((ROOT / source).exists() for source in sources.split()), sources
    for target in re.findall(r"\bmake (\S+)$", text, re.MULTILINE):
        subprocess.run(["make", "--dry-run", target], cwd=ROOT, check=True, capture_output=True)
    assert re.search(r"^USER (?!root)\w+$", text, re.MULTILINE)


def test_the_image_holds_the_listed_files_and_nothing_else():
    first, *rest = (line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#"))
    listed = [line.removeprefix("!") for line in rest if line.startswith("!")]
    assert first == "*"
    assert all((ROOT / name).exists() for name in listed)
    assert not set(listed) & {"outputs", "pretrained", "wandb", ".git", ".venv"}
    packaged = re.findall(r'^"?([\w.]+)"? = "zero_recipes/', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert set(packaged) <= set(listed)  # `make install` packs them


def test_the_commands_of_the_page_name_what_is_there():
    page = (ROOT / "docs" / "cluster.md").read_text().replace("\\\n", " ")
    jobs = re.findall(r"^sbatch (\S+) \S+ (\S+)", page, re.MULTILINE)
    assert len(jobs) == 2
    assert all((ROOT / path).exists() for job in jobs for path in job)
    folder = re.search(r"^WORKDIR (\S+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE)[1]
    cache = re.search(r"HF_HOME=(\S+)", (ROOT / "Dockerfile").read_text())[1]
    runs = [line for line in page.splitlines() if line.startswith("docker run")]
    assert len(runs) == 2
    assert f":{folder}/outputs" in runs[1]
    assert f":{cache}" in runs[1]
    for path in re.findall(r"(?<= )(?:accelerate_configs|recipes)/\S+", runs[1]):
        assert (ROOT / path).exists(), path
    for script, name in re.findall(r"`(tests/\S+\.py)`|`(test_\w+)`", page):
        assert not script or (ROOT / script).exists(), script
        assert not name or any(f"def {name}(" in file.read_text() for file in (ROOT / "tests").rglob("*.py")), name
