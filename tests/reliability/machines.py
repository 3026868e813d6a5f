"""Machines that are not as they should be, for runs of `forks`: without a network, without locks, with a disk that is full."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from forks import ROOT, Run, Server

IS_ROOT = os.geteuid() == 0
# A place with mounts of its own; not every machine allows it.
PLACE = ["unshare", "--mount"] if IS_ROOT else ["unshare", "--map-root-user", "--mount"]
HAS_PLACES = bool(shutil.which("unshare")) and subprocess.run([*PLACE, "true"], capture_output=True).returncode == 0

ENTER = """
import ctypes, os
here, libc = os.getcwd(), ctypes.CDLL(None)
for name in {names}:
    assert libc.setns(os.open(f"/proc/{pid}/ns/{{name}}", os.O_RDONLY), 0) == 0
os.chdir(here)
"""
# `lo` is the one device by which the processes of a machine talk: SIOCSIFFLAGS, IFF_UP (linux/sockios.h, linux/if.h).
LO_UP = "import fcntl, socket, struct; fcntl.ioctl(socket.socket(), 0x8914, struct.pack('16sh', b'lo', 1))"
NO_NETWORK = f"import ctypes; assert ctypes.CDLL(None).unshare(0x40000000) == 0; {LO_UP}"  # CLONE_NEWNET (linux/sched.h)
# As in a container that was not given more: CLONE_NEWNS (linux/sched.h), MS_REC and MS_PRIVATE (linux/mount.h).
LITTLE_SHARED_MEMORY = """
import ctypes
libc = ctypes.CDLL(None)
assert libc.unshare(0x20000) == 0
assert libc.mount(None, b"/", None, 0x44000, None) == 0
assert libc.mount(b"none", b"/dev/shm", b"tmpfs", 0, b"size=96k") == 0
"""
NO_LOCKS = """
import errno, fcntl
def flock(*_):
    raise OSError(errno.ENOLCK, "No locks available")
fcntl.flock = flock
"""
NO_ENVIRONMENT = """
import os
for name in ("HOME", "USER", "LOGNAME", "XDG_CACHE_HOME"):
    os.environ.pop(name, None)
os.environ |= {"PATH": "/nowhere", "TMPDIR": "/nowhere"}
"""
NOWHERE_TEMPORARY = "import tempfile; tempfile.tempdir = None; tempfile._candidate_tempdir_list = lambda: ['/nowhere']"
# Root gives up its rights, and is as shut out of others' files as anybody; capset(2), version 3 (linux/capability.h). Another
# user id would be shut out of a checkout in a folder of root's own, too.
NO_RIGHTS = """
import ctypes
header, none = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
assert ctypes.CDLL(None).capset(header, none) == 0
"""
SOMEBODY = 65534  # a user id that is not root's
# Something else fills the disk after a run has looked.
BLIND = "import common.run.loop as loop, common.run.watch as watch; watch.check_room = loop.check_room = lambda *_: None"


def start_on(server: Server, machine: str, script: str, *arguments: str, **more) -> Run:
    """Starts a command after code that makes its processes see another machine."""
    starter = str(Path(__file__).with_name("start_on.py"))
    return server.start(starter, str(ROOT / script), *arguments, MACHINE=machine, **more)


class Disk:
    """A disk in memory that runs see in a folder, once they have entered its place.

    Attributes:
        folder: Where they see it.
        seen: The same, as everybody else sees it.
        machine: The code by which they enter.
    """

    def __init__(self, folder: Path, pid: int):
        self.folder, self.pid = folder, pid
        self.seen = Path(f"/proc/{pid}/root{folder}")
        self.machine = ENTER.format(names=["mnt"] if IS_ROOT else ["user", "mnt"], pid=pid)

    def mount(self, options: str) -> None:
        """Mounts it, or does so anew, with options of tmpfs(5)."""
        inside = ["nsenter", "--target", str(self.pid), "--mount"]
        inside += [] if IS_ROOT else ["--user", "--preserve-credentials"]
        subprocess.run([*inside, "mount", "-t", "tmpfs", "-o", options, "none", str(self.folder)], check=True)


@contextmanager
def disk(folder: Path, options: str) -> Iterator[Disk]:
    """Gives a disk with options of tmpfs(5), such as `size=4m` or `ro`, until the end."""
    folder.mkdir(parents=True)
    ready = "echo; exec sleep infinity"
    with subprocess.Popen([*PLACE, "sh", "-c", ready], stdout=subprocess.PIPE) as holder:
        try:
            holder.stdout.readline()
            found = Disk(folder, holder.pid)
            found.mount(options)
            yield found
        finally:
            holder.kill()
