"""The two rivals, each in network and mount namespaces of its own: neither touches this computer or the other."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

CLI = next((path for path in ("/usr/bin/docker", "/usr/local/bin/docker") if Path(path).exists()), "docker")
"""The same command line drives both."""


@dataclass
class Daemon:
    """A running daemon: its name, socket, process, and the folder with all it keeps."""

    name: str
    folder: Path
    pid: int

    def docker(self, *arguments: str, check: bool = True) -> str:
        """Run the docker command line against it, inside its namespaces; returns standard output."""
        command = ["nsenter", "-t", str(self.pid), "-n", CLI, "-H", f"unix://{self.folder}/docker.sock", *arguments]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if check and result.returncode:
            raise RuntimeError(f"{self.name}: docker {' '.join(arguments)}: {result.stderr.strip()}")
        return result.stdout

    def enter(self, *command: str) -> list[str]:
        """`command`, to be run in its network."""
        return ["nsenter", "-t", str(self.pid), "-n", *command]


def shoald() -> list[str]:
    """Shoal's daemon, of this virtual environment."""
    return [str(Path(sys.executable).parent / "shoald")]


def dockerd() -> list[str] | None:
    """Debian's dockerd (package docker.io), or None when it is not installed."""
    program = shutil.which("dockerd")
    return [program, "--userland-proxy=false"] if program else None


@contextlib.contextmanager
def running(name: str, program: list[str]) -> Iterator[Daemon]:
    """Start a daemon in fresh namespaces with an address (10.99.0.1) and its own folders; stop it, remove all."""
    folder = Path(tempfile.mkdtemp(prefix=f"bench-{name}-", dir="/var/tmp"))
    script = (
        "ip link set lo up; ip link add bench0 type bridge; ip addr add 10.99.0.1/24 dev bench0; "
        'ip link set bench0 up; mount -t tmpfs tmpfs /run; mkdir -p /run/lock; exec "$@"'
    )
    command = [
        "unshare", "--net", "--mount", "--propagation", "private", "sh", "-c", script, "sh", *program,
        "-H", f"unix://{folder}/docker.sock", "--data-root", f"{folder}/data", "--exec-root", f"{folder}/run",
        "-p", f"{folder}/pid",
    ]  # fmt: skip
    log = (folder / "log").open("w")
    with log, subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True) as child:
        daemon = Daemon(name, folder, child.pid)
        try:
            _wait(daemon)
            yield daemon
        finally:
            with contextlib.suppress(RuntimeError):
                daemon.docker("swarm", "leave", "--force", check=False)
                if containers := daemon.docker("ps", "-aq").split():
                    daemon.docker("rm", "-f", *containers, check=False)
            child.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(20)
            _end_children(folder)
            child.kill()
    shutil.rmtree(folder, ignore_errors=True)


def _wait(daemon: Daemon, timeout: float = 30) -> None:
    deadline = time.monotonic() + timeout
    while daemon.docker("version", "--format", "{{.Server.Version}}", check=False).strip() == "":
        if time.monotonic() > deadline:
            raise RuntimeError(f"{daemon.name} does not answer: {(daemon.folder / 'log').read_text()[-2000:]}")
        time.sleep(0.05)


def _end_children(folder: Path) -> None:
    """End what the daemon left running: processes whose command line names its folder."""
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError):
            words = (entry / "cmdline").read_bytes().decode(errors="replace")
            if str(folder) in words and int(entry.name) != os.getpid():
                os.kill(int(entry.name), signal.SIGKILL)


def memory(daemon: Daemon) -> float:
    """Megabytes of the daemon and its own children (etcd, containerd), proportional set size."""
    return sum(_pss(pid) for pid in _family(daemon.pid)) / 1000


def _family(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children")
    found = [pid]
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            if b"conmon" not in Path(f"/proc/{child}/cmdline").read_bytes():
                found += _family(int(child))
    return found if children.exists() else []


def _pss(pid: int) -> int:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1])
    return 0
