"""A real SLURM with two virtual nodes runs the files of cluster/: to the end, requeued, over its time, with a node lost.

python -m pytest tests/reliability/test_slurm.py -m slow -s
"""

import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from campaign import trained_steps, weights
from conftest import GRPO_MATH, ROOT
from slurm import Job, Slurm, cluster, why_not

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(why_not()), reason=why_not())]

STEPS = 6
SETTINGS = f"--max_steps {STEPS} --save_steps 2 --eval_steps {STEPS} --logging_steps 1 --num_held_out 8 --num_train 200".split()
SETTINGS += "--per_device_train_batch_size 16 --ddp_timeout 60".split()
MANY, ONE = "cluster/many_nodes.sbatch", "cluster/one_node.sbatch"


@pytest.fixture(scope="module")
def slurm() -> Iterator[Slurm]:
    folder = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))  # short: the name of a socket has 107 letters at most
    folder.chmod(0o755)
    try:
        with cluster(folder) as slurm:
            yield slurm
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def submit(slurm: Slurm, script: str, run: Path, *options: str, settings: list[str] = SETTINGS) -> Job:
    return slurm.submit("--gpus-per-node=1", *options, script, str(run), GRPO_MATH, *settings, cwd=ROOT)


def tell(slurm: Slurm, job: Job) -> None:
    """Notes what a job's log says of where it went on and stopped."""
    for line in job.log().splitlines():
        if re.search(
            r"^\[default0\]:(step +\d+/|saved step|Continuing|The model)|has not gone on|^slurmstepd|^srun: error", line
        ):
            slurm.say(f"    {line[:140]}")


def steps(run: Path) -> list[int]:
    return [json.loads(line)["step"] for line in (run / "metrics.jsonl").read_text().splitlines() if '"loss"' in line]


def saved(run: Path, step: int) -> bool:
    return (run / f"checkpoint-{step}/complete").exists()


@pytest.fixture(scope="module")
def whole(slurm: Slurm, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on two nodes that nobody interrupts."""
    run = tmp_path_factory.mktemp("whole") / "run"
    job = submit(slurm, MANY, run, "--time=20")
    assert job.end() == "COMPLETED", job.log()
    tell(slurm, job)
    return run


def check_equal(job: Job, run: Path, whole: Path) -> None:
    tell(job.slurm, job)
    assert (run / "complete").exists(), job.log()
    assert trained_steps(run) == list(range(1, STEPS + 1))
    assert weights(run) == weights(whole)
    job.slurm.say(f"job {job.number}: {STEPS} steps, the same weights")


def test_two_nodes_train_to_the_end(slurm: Slurm, whole: Path):
    assert (whole / "complete").exists()
    assert "2 x cpu, DeepSpeed ZeRO-3" in (whole / "README.md").read_text()
    logs = [path for path in ROOT.glob("outputs/logs/*/*/*/*/0/stdout.log") if str(whole) in path.read_text()]
    assert logs, "no log by process"


def test_a_requeued_job_continues(slurm: Slurm, whole: Path, tmp_path: Path):
    run = tmp_path / "run"
    job = submit(slurm, MANY, run, "--time=20")
    job.wait(lambda: saved(run, 2), 240)
    slurm.run("scontrol", "requeue", job.number)
    slurm.say(f"scontrol requeue {job.number}")
    assert job.end() == "COMPLETED", job.log()
    assert job.show()["Restarts"] == "1"
    assert "Continuing from" in job.log()
    check_equal(job, run, whole)


def test_a_preempted_job_continues(slurm: Slurm, whole: Path, tmp_path: Path):
    run = tmp_path / "run"
    job = submit(slurm, MANY, run, "--time=20")
    job.wait(lambda: saved(run, 2), 240)
    (tmp_path / "urgent.sh").write_text("#!/bin/bash\nsleep 2\n")
    urgent = slurm.submit("--partition=urgent", "--nodes=2", str(tmp_path / "urgent.sh"), cwd=tmp_path)
    assert urgent.end(120) == "COMPLETED"
    assert job.end() == "COMPLETED", job.log()
    assert job.show()["Restarts"] == "1"
    check_equal(job, run, whole)


def test_a_job_that_meets_its_time_limit_saves_and_is_requeued(slurm: Slurm, whole: Path, tmp_path: Path):
    # Two minutes are the limit, and the signal comes 45 to 75 s after the start: SLURM looks twice a minute. The steps before
    # that are made to last by their number; what comes after is the same as in the run that nobody interrupts.
    run = tmp_path / "run"
    job = submit(slurm, MANY, run, "--time=2", "--signal=USR1@45", settings=[*SETTINGS, "--max_run_time", "1:00:00"])
    assert job.end(900) == "COMPLETED", job.log()
    assert int(job.show()["Restarts"]) >= 1
    assert re.search(r"saved step \d+; the same command continues", job.log())
    check_equal(job, run, whole)


def test_a_lost_node(slurm: Slurm, whole: Path, tmp_path: Path):
    run = tmp_path / "run"
    job = submit(slurm, MANY, run, "--time=20")
    job.wait(lambda: saved(run, 2), 240)
    slurm.lose_node("127.0.0.2")
    slurm.say("node 127.0.0.2 is lost")
    job.wait(lambda: job.look() not in ("RUNNING", "COMPLETING"), 180)
    slurm.start_node("127.0.0.2")
    slurm.say("node 127.0.0.2 is back")
    if job.look() == "FAILED":
        job = submit(slurm, MANY, run, "--time=20")
    assert job.end() == "COMPLETED", job.log()
    check_equal(job, run, whole)


def test_one_node_and_srun_without_a_launcher(slurm: Slurm, tmp_path: Path):
    run = tmp_path / "run"
    job = submit(slurm, ONE, run, "--time=20", settings=[*SETTINGS, "--max_steps", "2"])
    job.wait(lambda: '"loss"' in (run / "metrics.jsonl").read_text() if (run / "metrics.jsonl").exists() else False, 240)
    slurm.run("scancel", "--signal=USR1", job.number)
    slurm.say(f"scancel --signal=USR1 {job.number}")
    assert job.end() == "COMPLETED", job.log()
    tell(slurm, job)
    assert (run / "complete").exists(), job.log()
    command = ["python", GRPO_MATH, *SETTINGS, "--max_steps", "1", "--output_dir", str(tmp_path / "none")]
    refused = slurm.run("srun", "--nodes=2", "--ntasks=2", f"--chdir={ROOT}", *command, check=False)
    assert "srun started 2 tasks that do not know of each other" in refused
    assert not (tmp_path / "none").exists()
    slurm.say(f"srun python train.py: {next(line for line in refused.splitlines() if line.startswith('error:'))[:90]}...")
