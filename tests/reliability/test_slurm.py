"""A real SLURM with two virtual nodes runs the files of cluster/: to the end, requeued, over its time, with a node lost.

python -m pytest tests/reliability/test_slurm.py -m slow -s
"""

import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from campaign import trained_steps, weights
from conftest import GRPO_MATH, ROOT
from slurm import Job, Slurm, cluster, why_not

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800), pytest.mark.skipif(bool(why_not()), reason=why_not())]

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
    return slurm.submit("--gpus-per-node=1", "--cpus-per-task=1", *options, script, str(run), GRPO_MATH, *settings, cwd=ROOT)


def tell(slurm: Slurm, job: Job) -> None:
    """Notes what a job's log says of where it went on and stopped."""
    for line in job.log().splitlines():
        if re.search(
            r"^\[default0\]:(step +\d+/|saved step|Continuing|The model)|has not gone on|^slurmstepd|^srun: error", line
        ):
            slurm.say(f"    {line[:140]}")


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


def check_equal(job: Job, run: Path, whole: Path, count: int = STEPS) -> None:
    tell(job.slurm, job)
    assert (run / "complete").exists(), job.log()
    assert trained_steps(run) == list(range(1, count + 1))
    assert weights(run) == weights(whole)
    job.slurm.say(f"job {job.number}: {count} steps, the same weights")


def test_two_nodes_train_to_the_end(slurm: Slurm, whole: Path):
    assert (whole / "complete").exists()
    assert "2 x cpu, DeepSpeed ZeRO-3" in (whole / "README.md").read_text()
    logs = {path.parts[-5]: path.read_text() for path in whole.glob("logs/*/*/*/*/0/stdout.log")}
    assert sorted(logs) == ["0", "1"]  # of the machines
    assert "The model and its card are in" in logs["0"]


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


def test_a_job_that_meets_its_time_limit_saves_and_is_requeued(slurm: Slurm, tmp_path: Path):
    # SLURM looks at the limits twice a minute: the run has steps enough to be met by that, and a whole run of its own.
    settings = [*SETTINGS, "--max_steps", "150", "--save_steps", "150", "--eval_steps", "150"]
    run, whole = tmp_path / "run", tmp_path / "whole"
    job = submit(slurm, MANY, run, "--time=20", "--signal=USR1@90", settings=settings)
    job.wait(lambda: (run / "metrics.jsonl").exists() and 1 in trained_steps(run), 240)
    slurm.run("scontrol", "update", f"JobId={job.number}", "EndTime=now+2minutes")
    slurm.say(f"job {job.number}: its time ends in two minutes")
    job.wait(lambda: job.look() == "PENDING", 240)
    slurm.run("scontrol", "update", f"JobId={job.number}", "TimeLimit=20")
    assert re.search(r"saved step \d+; the same command continues", job.log()), job.log()
    assert job.end() == "COMPLETED", job.log()
    assert job.show()["Restarts"] == "1"
    assert submit(slurm, MANY, whole, "--time=20", settings=settings).end() == "COMPLETED"
    check_equal(job, run, whole, count=150)


def test_a_lost_node(slurm: Slurm, whole: Path, tmp_path: Path):
    run = tmp_path / "run"
    job = submit(slurm, MANY, run, "--time=20")
    job.wait(lambda: saved(run, 2), 240)
    slurm.lose_node("127.0.0.2")
    slurm.say("node 127.0.0.2 is lost")
    job.wait(lambda: job.look() not in ("RUNNING", "COMPLETING"), 180)
    slurm.start_node("127.0.0.2")
    slurm.say("node 127.0.0.2 is back")
    if job.end() == "FAILED":  # SLURM may end the job once more, when the node that is back hears of its first end
        tell(slurm, job)
        job = submit(slurm, MANY, run, "--time=20")
    assert job.end() == "COMPLETED", job.log()
    check_equal(job, run, whole)


def test_one_node_stopped_by_a_signal(slurm: Slurm, tmp_path: Path):
    run = tmp_path / "run"
    job = submit(slurm, ONE, run, "--time=20")
    job.wait(lambda: (run / "metrics.jsonl").exists() and 1 in trained_steps(run), 240)
    slurm.run("scancel", "--signal=USR1", job.number)
    slurm.say(f"scancel --signal=USR1 {job.number}")
    assert job.end() == "COMPLETED", job.log()
    assert job.show()["Restarts"] == "1"
    assert re.search(r"saved step \d+; the same command continues", job.log()), job.log()
    tell(slurm, job)
    assert (run / "complete").exists(), job.log()


def test_tasks_without_a_launcher_are_refused_and_a_shell_of_several_tasks_is_not(slurm: Slurm, tmp_path: Path):
    command = ["python", GRPO_MATH, *SETTINGS, "--max_steps", "1", "--output_dir"]
    refused = slurm.run("srun", "--nodes=2", "--ntasks=2", f"--chdir={ROOT}", *command, str(tmp_path / "tasks"), check=False)
    slurm.say(f"srun -n 2 python train.py: {next(line for line in refused.splitlines() if line.startswith('error:'))[:90]}...")
    assert "srun started 2 tasks that do not know of each other" in refused
    assert not (tmp_path / "tasks").exists()
    shell = ["salloc", "--nodes=2", "--ntasks=2", f"--chdir={ROOT}", "srun", "--nodes=1", "--ntasks=1"]
    slurm.run(*shell, *command, str(tmp_path / "shell"), timeout=300)
    assert (tmp_path / "shell/complete").exists()
    slurm.say("salloc -n 2, in it srun -n 1 python train.py: trains")


@pytest.mark.parametrize(("quotes", "printed"), [("'", {"0", "1"}), ('"', {"0"})])
def test_a_variable_in_double_quotes_is_that_of_the_first_machine(slurm: Slurm, tmp_path: Path, quotes: str, printed: set[str]):
    script = tmp_path / "job.sh"
    script.write_text(f"#!/bin/bash\nsrun bash -c {quotes}echo node $SLURM_NODEID{quotes}\n")
    job = slurm.submit("--nodes=2", "--ntasks-per-node=1", str(script), cwd=tmp_path)
    assert job.end(60) == "COMPLETED"
    assert set(re.findall(r"^node (\d)$", job.log(), re.MULTILINE)) == printed
    slurm.say(f"srun bash -c {quotes}... $SLURM_NODEID{quotes} on two nodes: {', '.join(job.log().split()[1::2])}")
