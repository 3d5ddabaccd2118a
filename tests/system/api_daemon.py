"""A real `shoald` in namespaces of its own, the official docker CLI against it, and an image made of busybox."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import bcrypt
import docker

from tests.system.engine_setup import busybox_layer
from tests.waiting import until_sync

IMAGE = "api-test:latest"
CLI = shutil.which("docker") or "docker"


class Host:
    """A machine: its network, mounts and host name, which outlive the daemons that run on it."""

    def __init__(self, name: str = "api-host") -> None:
        self.name = name
        self.root = Path(tempfile.mkdtemp(prefix="shoal-a-", dir="/var/tmp"))
        script = f"ip link set lo up && hostname {name} && echo ready && exec sleep infinity"
        self._holder = subprocess.Popen(
            ["unshare", "--net", "--mount", "--uts", "--propagation", "private", "sh", "-c", script],
            stdout=subprocess.PIPE,
        )
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == b"ready\n"

    @property
    def pid(self) -> int:
        """Of the process that holds the namespaces."""
        return self._holder.pid

    def enter(self, *command: str) -> list[str]:
        """`command` as run on this machine."""
        return ["nsenter", "-t", str(self.pid), "-n", "-m", "-u", *command]

    def run(self, *command: str) -> str:
        """Run `command` on this machine; its output. Raises CalledProcessError."""
        return subprocess.run(self.enter(*command), check=True, capture_output=True, text=True, timeout=60).stdout

    def close(self) -> None:
        """The machine and its files are gone."""
        self._holder.kill()
        self._holder.communicate()
        shutil.rmtree(self.root)


class Daemon:
    """`shoald` on a host. `docker(...)` runs the official command line against it."""

    def __init__(self, host: Host, *flags: str) -> None:
        self.host = host
        self.socket = host.root / "docker.sock"
        self.flags = flags
        self.process: subprocess.Popen[bytes] | None = None
        self.config = host.root / "cli"
        self.log = host.root / "log"
        self.cgroup = f"shoal-{host.root.name}"

    def start(self) -> None:
        """Start it and wait until it answers."""
        root = self.host.root
        command = [
            sys.executable, "-m", "shoal.daemon", "-H", f"unix://{self.socket}", "--data-root", f"{root}/data",
            "--exec-root", f"{root}/run", "--pidfile", f"{root}/pid", "--cgroup-parent", self.cgroup, "-D", *self.flags,
        ]  # fmt: skip
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self.host.enter(*command), stdout=log, stderr=log)
        until_sync(self._answers)

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log.read_text()
        with socket.socket(socket.AF_UNIX) as link:
            link.settimeout(10)
            try:
                link.connect(str(self.socket))
                link.sendall(b"GET /_ping HTTP/1.1\r\nHost: x\r\n\r\n")
                return b" 200 " in link.recv(1000)
            except OSError:
                return False

    @property
    def pid(self) -> int:
        """The daemon's own process."""
        return int((self.host.root / "pid").read_text())

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """End it; its exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            os.kill(self.pid, how)
        return self.process.wait(20)

    def environment(self) -> dict[str, str]:
        """What points a client to this daemon."""
        return {**os.environ, "DOCKER_HOST": f"unix://{self.socket}", "DOCKER_CONFIG": str(self.config)}

    def try_docker(
        self, *arguments: str, input: str | bytes = b"", timeout: float = 60
    ) -> subprocess.CompletedProcess[bytes]:
        """Run the docker command line on this machine, whatever comes of it."""
        data = input.encode() if isinstance(input, str) else input
        return subprocess.run(
            self.host.enter(CLI, *arguments), input=data, capture_output=True, timeout=timeout, env=self.environment(),
            check=False,
        )  # fmt: skip

    def docker(self, *arguments: str, input: str | bytes = b"", timeout: float = 60) -> str:
        """Run the docker command line; its output. AssertionError with what it said when it fails."""
        done = self.try_docker(*arguments, input=input, timeout=timeout)
        assert done.returncode == 0, f"docker {' '.join(arguments)}: {done.stderr.decode()}"
        return done.stdout.decode()

    def client(self) -> docker.DockerClient:
        """docker-py."""
        return docker.DockerClient(base_url=f"unix://{self.socket}", timeout=30)

    def clear(self) -> None:
        """Remove every container, and the daemon's cgroups once it is stopped."""
        if self.process is None:
            return
        if self.process.poll() is None:
            self.try_docker("swarm", "leave", "--force")
            ids = self.docker("ps", "-aq").split()
            if ids:
                self.docker("rm", "-f", "-v", *ids)
            self.stop()
        root = Path("/sys/fs/cgroup")
        for folder in [place for place in (root, *root.iterdir()) if (place / self.cgroup).is_dir()]:
            for child in sorted((path for path in folder.rglob("*") if path.is_dir()), reverse=True):
                child.rmdir()
            folder.rmdir()


@contextmanager
def daemon(*flags: str, name: str = "api-host") -> Iterator[Daemon]:
    """A running daemon with the image; gone afterwards with everything that it made."""
    host = Host(name)
    try:
        one = Daemon(host, *flags)
        try:
            one.start()
            one.docker("import", "-", IMAGE, input=busybox_layer())
            yield one
        finally:
            one.clear()
    finally:
        host.close()


@contextmanager
def registry(host: Host, user: str, password: str, port: int = 5000) -> Iterator[str]:
    """Debian's docker-registry on the loopback of `host`, with a password; yields its `host:port`."""
    folder = host.root / "registry"
    folder.mkdir()
    address = f"127.0.0.1:{port}"
    hashed = bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()
    (folder / "htpasswd").write_text(f"{user}:{hashed}\n")
    config = folder / "config.yml"
    config.write_text(
        f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: {folder}/data}}}}\nhttp: {{addr: '{address}'}}\n"
        f"auth: {{htpasswd: {{realm: test, path: {folder}/htpasswd}}}}\nlog: {{level: error}}\n"
    )
    probe = host.enter("curl", "-s", "-o", "/dev/null", f"http://{address}/v2/")
    with subprocess.Popen(host.enter("docker-registry", "serve", str(config)), stderr=subprocess.DEVNULL) as server:
        try:
            until_sync(lambda: subprocess.run(probe, check=False).returncode == 0)
            yield address
        finally:
            server.terminate()


def connect(hosts: Sequence[Host], subnet: str = "10.66.0") -> list[str]:
    """Put `hosts` on one network through a bridge on the first; their addresses."""
    first = hosts[0]
    first.run("ip", "link", "add", "lan0", "type", "bridge")
    first.run("ip", "link", "set", "lan0", "up")
    addresses = []
    for number, host in enumerate(hosts, start=1):
        first.run("ip", "link", "add", f"port{number}", "type", "veth", "peer", "name", "wan0", "netns", str(host.pid))
        first.run("ip", "link", "set", f"port{number}", "master", "lan0", "up")
        host.run("ip", "address", "add", f"{subnet}.{number}/24", "dev", "wan0")
        host.run("ip", "link", "set", "wan0", "up")
        addresses.append(f"{subnet}.{number}")
    return addresses
