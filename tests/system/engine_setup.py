"""A real engine in directories of its own, with an image made of busybox, for the tests of containers."""

from __future__ import annotations

import io
import os
import shutil
import tarfile
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from shoal.engine.engine import Engine
from shoal.engine.options import EngineOptions
from shoal.model.container import Container, ContainerConfig, EndpointSettings, HostConfig
from shoal.network.sandbox import Sandbox, SandboxRequest

IMAGE = "engine-test:latest"
_PROGRAMS = """sh true false echo sleep cat ls ps id mount env hostname head tail wc dd touch mkdir grep kill nc stty test
    seq tr yes printf date chmod readlink unshare nproc stat rm pwd""".split()  # noqa: SIM905


class HostNetworks:
    """A network that gives every container the host's own: what these tests need of one."""

    def __init__(self) -> None:
        self.opened: list[str] = []
        self.closed: list[str] = []

    async def open(self, request: SandboxRequest) -> Sandbox:
        self.opened.append(request.container_id)
        return Sandbox(netns="", hosts="127.0.0.1 localhost\n", resolv_conf="nameserver 192.0.2.1\n")

    async def close(self, container_id: str) -> None:
        self.closed.append(container_id)

    async def connect(self, container_id: str, network: str, settings: EndpointSettings) -> EndpointSettings:
        return settings

    async def disconnect(self, container_id: str, network: str) -> None:
        return None


def busybox_layer() -> bytes:
    """A tar with busybox, its links, passwd and group, and a directory with a file for volumes to be filled from."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for folder in ("bin", "etc", "tmp", "data", "proc", "dev", "sys"):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if folder == "tmp" else 0o755
            archive.addfile(entry)
        archive.add("/usr/bin/busybox", "bin/busybox")
        for name in _PROGRAMS:
            entry = tarfile.TarInfo(f"bin/{name}")
            entry.type, entry.linkname = tarfile.SYMTYPE, "busybox"
            archive.addfile(entry)
        for name, text in (
            ("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nweb:x:1000:1000::/home/web:/bin/sh\n"),
            ("etc/group", "root:x:0:\nweb:x:1000:\nextra:x:2000:web\n"),
            ("data/seed", "from the image\n"),
            ("etc/plain", "not a program\n"),
        ):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(text), 0o644
            archive.addfile(entry, io.BytesIO(text.encode()))
    return buffer.getvalue()


class Place:
    """The directories of one engine; the same ones again after a "restart"."""

    def __init__(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="shoal-e-", dir="/var/tmp"))
        self.options = EngineOptions(
            data_root=self.root / "data", exec_root=self.root / "run", cgroup_parent=f"shoal-test-{self.root.name[-8:]}"
        )

    def delete(self) -> None:
        """Remove everything."""
        shutil.rmtree(self.root)


@asynccontextmanager
async def engine_at(place: Place) -> AsyncIterator[Engine]:
    """An engine with the busybox image. At the end of the body it goes, and its containers stay."""
    async with Engine(place.options, HostNetworks()) as engine:
        if not engine.images.list():

            async def stream() -> AsyncIterator[bytes]:
                yield busybox_layer()

            await engine.images.import_(stream(), IMAGE)
        yield engine


@asynccontextmanager
async def engine_alone() -> AsyncIterator[Engine]:
    """An engine that is gone afterwards, with everything that it made."""
    place = Place()
    try:
        async with engine_at(place) as engine:
            try:
                yield engine
            finally:
                await clear(engine)
    finally:
        place.delete()


async def clear(engine: Engine) -> None:
    """Remove every container."""
    for container in engine.containers.list():
        await engine.containers.remove(container.id, force=True, volumes=True)
    engine._context.cgroups.remove_parent()


async def run(engine: Engine, *command: str, host: HostConfig | None = None, **config: object) -> Container:
    """Create and start a container of the busybox image."""
    asked = ContainerConfig(image=IMAGE, cmd=list(command), **config)  # type: ignore[arg-type]
    container = await engine.containers.create("", asked, host or HostConfig())
    await engine.containers.start(container.id)
    return container


async def output(engine: Engine, id: str) -> str:
    """Everything a container has written."""
    from shoal.engine.logs import LogOptions

    return b"".join([line.data async for line in engine.containers.logs(id, LogOptions())]).decode()


def mounts_below(folder: Path) -> list[str]:
    """What is mounted below `folder`."""
    text = Path("/proc/self/mountinfo").read_text()
    return [line.split()[4] for line in text.splitlines() if line.split()[4].startswith(os.fspath(folder))]
