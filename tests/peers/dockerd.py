"""A real Docker Engine in a network namespace of its own, as a peer of Shoal: nothing of it touches the host's network,
and nothing of it is left."""

from __future__ import annotations

import asyncio
import ctypes
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from tests.system.engine_setup import busybox_layer
from tests.waiting import until

IMAGE = "peer-test:latest"
OURS, THEIRS = "10.77.0.1", "10.77.0.2"
_CLONE_NEWNET = 0x40000000


class Dockerd:
    """A running engine. `docker(...)` is its command line."""

    def __init__(self, namespace: str, root: Path) -> None:
        self.namespace = namespace
        self.root = root
        self.host = f"unix://{root}/docker.sock"
        self.log = root / "log"

    async def docker(self, *words: str, stdin: bytes = b"") -> str:
        """Run a docker command and return its output; AssertionError with its error when it fails."""
        done = await asyncio.to_thread(
            subprocess.run, ["docker", "-H", self.host, *words], input=stdin, capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode()

    @contextmanager
    def network(self) -> Iterator[None]:
        """In this scope sockets are made in the engine's network namespace. Await nothing else meanwhile."""
        libc = ctypes.CDLL(None, use_errno=True)
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        there = os.open(f"/run/netns/{self.namespace}", os.O_RDONLY)
        try:
            assert libc.setns(there, _CLONE_NEWNET) == 0
            yield
        finally:
            assert libc.setns(home, _CLONE_NEWNET) == 0
            os.close(home)
            os.close(there)


@asynccontextmanager
async def dockerd() -> AsyncIterator[Dockerd]:
    """Start an engine with a busybox image, and stop it in the end."""
    namespace = f"shoal-peer-{secrets.token_hex(3)}"
    root = Path(tempfile.mkdtemp(prefix="shoal-d-", dir="/var/tmp"))
    engine = Dockerd(namespace, root)
    try:
        _namespace(namespace)
        with engine.log.open("wb") as log:
            process = subprocess.Popen(_command(engine), stdout=log, stderr=log, start_new_session=True)
        try:
            await until(lambda: _answers(engine))
            await engine.docker("import", "-", IMAGE, stdin=busybox_layer())
            yield engine
        finally:
            process.send_signal(signal.SIGTERM)
            await asyncio.to_thread(process.wait, 60)
    finally:
        subprocess.run(["ip", "netns", "delete", namespace], check=False)
        _unmount(root)
        cgroups = Path("/sys/fs/cgroup")
        for group in [place / namespace for place in (cgroups, *cgroups.iterdir()) if (place / namespace).is_dir()]:
            for path in [*sorted((path for path in group.rglob("*") if path.is_dir()), reverse=True), group]:
                path.rmdir()
        shutil.rmtree(root)


def _namespace(name: str) -> None:
    for words in (
        f"ip netns add {name}",
        f"ip -n {name} link set lo up",
        f"ip -n {name} link add eth0 type veth peer name eth1",
        f"ip -n {name} address add {OURS}/24 dev eth0",
        f"ip -n {name} address add {THEIRS}/24 dev eth0",
        f"ip -n {name} link set eth0 up",
    ):
        subprocess.run(words.split(), check=True)


def _command(engine: Dockerd) -> list[str]:
    root = engine.root
    return [
        "nsenter", f"--net=/run/netns/{engine.namespace}",
        "dockerd", "-H", engine.host, "--data-root", f"{root}/data", "--exec-root", f"{root}/run",
        "--pidfile", f"{root}/pid", "--storage-driver", "overlay2", "--cgroup-parent", f"/{engine.namespace}",
        "--default-cgroupns-mode", "host",
    ]  # fmt: skip


async def _answers(engine: Dockerd) -> bool:
    try:
        return bool(await engine.docker("version"))
    except AssertionError:
        return False


def _unmount(root: Path) -> None:
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for mount in sorted((mount for mount in mounts if mount.startswith(str(root))), reverse=True):
        subprocess.run(["umount", "-l", mount], check=True)
