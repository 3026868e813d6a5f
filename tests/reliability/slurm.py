"""A SLURM of its own on one machine: a controller and two virtual nodes, in a folder, ended by their process ids."""

import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
from conftest import command_env
from forks import free_port

PROGRAMS = ["munged", "mungekey", "slurmctld", "slurmd", "sbatch", "srun", "salloc", "scontrol", "squeue"]

# The nodes have addresses for names: the machine has no others that lead back to it. A GPU is what the sbatch files ask for.
CONFIG = """
ClusterName=two
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket,cred_expire=5
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
MpiDefault=none
SlurmdTimeout=10
GresTypes=gpu
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
NodeName=127.0.0.1 NodeHostname={host} NodeAddr=127.0.0.1 Port={first} CPUs=1 Gres=gpu:1 State=UNKNOWN
NodeName=127.0.0.2 NodeHostname={host} NodeAddr=127.0.0.1 Port={second} CPUs=1 Gres=gpu:1 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1
PartitionName=urgent Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=2
"""


def why_not() -> str:
    """Returns why SLURM cannot be started here; empty if it can."""
    missing = [program for program in PROGRAMS if shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin") is None]
    if missing:
        return f"{', '.join(missing)} not installed (Debian: apt-get install slurm-wlm munge)"
    if os.geteuid() != 0:
        return "SLURM's daemons are started as root"
    return ""


class Slurm:
    """The cluster.

    Attributes:
        env: The environment of its commands.
        lines: What was observed, for people.
    """

    def __init__(self, folder: Path):
        self.folder, self.lines = folder, []
        self.env = command_env(SLURM_CONF=str(folder / "slurm.conf"))
        self.env["PATH"] += ":/usr/sbin"
        self.daemons: list[subprocess.Popen] = []
        self.nodes: dict[str, subprocess.Popen] = {}
        self.began = time.monotonic()

    def say(self, line: str) -> None:
        """Notes what was observed, with the seconds since the cluster began."""
        self.lines.append(f"{time.monotonic() - self.began:>5.0f} s  {line}")
        print(self.lines[-1], flush=True)

    def start(self) -> None:
        """Starts the daemons, and waits until both nodes are idle."""
        munge, user = self.folder / "munge", pwd.getpwnam("munge")
        (self.folder / "state").mkdir()
        munge.mkdir()
        (self.folder / "gres.conf").write_text("Name=gpu File=/dev/null\n")
        ports = {name: free_port() for name in ("controller", "first", "second")}
        (self.folder / "slurm.conf").write_text(CONFIG.format(folder=self.folder, host=socket.gethostname(), **ports))
        subprocess.run(["mungekey", "-c", "-k", munge / "key"], env=self.env, check=True)
        for path in (munge, munge / "key"):
            os.chown(path, user.pw_uid, user.pw_gid)
        files = {"key": "key", "socket": "socket", "pid": "pid", "log": "log", "seed": "seed"}
        options = [f"--{name}{'' if name == 'socket' else '-file'}={munge / file}" for name, file in files.items()]
        self._daemon("munged", "--foreground", *options, user=user.pw_uid, group=user.pw_gid)
        self._until(lambda: (munge / "socket").exists(), 20, "munged did not start")
        self._daemon("slurmctld", "-D", "-c")
        for node in ("127.0.0.1", "127.0.0.2"):
            self.start_node(node)
        self._until(lambda: self.run("sinfo", "-h", "-o", "%T %D").split() == ["idle", "2"], 60, "the nodes did not come up")

    def _daemon(self, *command: str, **more) -> subprocess.Popen:
        with open(self.folder / f"{command[0]}-{len(self.daemons)}.out", "w") as output:
            process = subprocess.Popen(command, env=self.env, stdout=output, stderr=output, start_new_session=True, **more)
        self.daemons.append(process)
        return process

    def start_node(self, node: str) -> None:
        self.nodes[node] = self._daemon("slurmd", "-D", "-N", node)

    def lose_node(self, node: str) -> None:
        """Kills what a node runs, and its daemon: nothing of it answers any more."""
        self.nodes[node].kill()
        self._kill(self._tasks(node))

    def _kill(self, processes: list[psutil.Process]) -> None:
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(processes, timeout=20)

    def _tasks(self, node: str) -> list[psutil.Process]:
        """Returns the processes that a node runs for jobs, and slurmd's deputies, which do not stay its children."""
        found = {}
        for process in psutil.process_iter():
            try:
                env = process.environ()
                if env.get("SLURM_CONF") == self.env["SLURM_CONF"] and env.get("SLURMD_NODENAME") == node:
                    found[process.pid], parent = process, process.parent()
                    if parent is not None and parent.name() == "slurmstepd":
                        found[parent.pid] = parent
            except psutil.Error:
                continue  # it has ended
        return list(found.values())

    def run(self, *command: str, check: bool = True, timeout: float = 120, **env: str) -> str:
        """Returns what one of SLURM's commands prints."""
        done = subprocess.run(command, env=self.env | env, capture_output=True, text=True, timeout=timeout, check=False)
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def submit(self, *command: str, cwd: Path) -> "Job":
        number = self.run("sbatch", "--parsable", f"--chdir={cwd}", f"--output={self.folder}/%j.log", *command).strip()
        self.say(f"sbatch: job {number}")
        return Job(self, number)

    def _until(self, condition, timeout: float, otherwise: str) -> None:
        deadline = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < deadline, otherwise + "\n" + self.logs()
            time.sleep(0.3)

    def logs(self) -> str:
        return "\n".join(line for log in self.folder.glob("*.log") for line in log.read_text().splitlines()[-60:])

    def stop(self) -> None:
        """Cancels all jobs, and ends the daemons and what they have left."""
        self.run("scancel", "--full", "--user=root", check=False)
        deadline = time.monotonic() + 45
        while self.run("squeue", "-h", check=False).strip() and time.monotonic() < deadline:
            time.sleep(0.5)
        for node in self.nodes:
            self._kill(self._tasks(node))
        for daemon in reversed(self.daemons):
            daemon.send_signal(signal.SIGTERM)
        for daemon in self.daemons:
            try:
                daemon.wait(timeout=20)
            except subprocess.TimeoutExpired:
                daemon.kill()


class Job:
    """A job of the cluster."""

    def __init__(self, slurm: Slurm, number: str):
        self.slurm, self.number, self.state = slurm, number, ""

    def show(self) -> dict[str, str]:
        """Returns what SLURM knows of it."""
        return dict(re.findall(r"(\w+)=(\S*)", self.slurm.run("scontrol", "show", "job", self.number)))

    def log(self) -> str:
        path = self.slurm.folder / f"{self.number}.log"
        return path.read_text() if path.exists() else ""

    def look(self) -> str:
        """Returns its state, and notes each that is new."""
        found = self.show()
        state = f"{found['JobState']}, restarts {found['Restarts']}"
        if state != self.state:
            self.state = state
            self.slurm.say(f"job {self.number}: {state}, reason {found['Reason']}, exit code {found['ExitCode']}")
        return found["JobState"]

    def wait(self, condition, timeout: float) -> None:
        """Waits until something is so."""
        deadline = time.monotonic() + timeout
        while not condition():
            self.look()
            assert time.monotonic() < deadline, f"{self.show()}\n{self.log()}\n{self.slurm.logs()}"
            time.sleep(0.3)

    def end(self, timeout: float = 420) -> str:
        """Waits until it has ended for good.

        Returns:
            Its last state.
        """
        self.wait(lambda: self.look() in ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL"), timeout)
        return self.look()


@contextmanager
def cluster(folder: Path) -> Iterator[Slurm]:
    slurm = Slurm(folder)
    try:
        slurm.start()
        yield slurm
    finally:
        slurm.stop()
