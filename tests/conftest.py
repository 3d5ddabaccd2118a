"""What holds for the whole run: the tests leave nothing behind on this computer."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

DAEMONS = ("etcd", "conmon", "crun", "shoald", "docker-registry", "dockerd", "containerd", "redis-server", "sshd",
           "qemu-system-x86_64")  # fmt: skip


@pytest.fixture(scope="session", autouse=True)
def nothing_is_left_behind() -> Iterator[None]:
    """After the last test there are no more daemons, interfaces, namespaces, mounts, cgroups and nft tables than before."""
    if os.geteuid() != 0:
        yield
        return
    before = traces()
    yield
    if not any(name == "/run/netns" for kind, name in before if kind == "mount") and not _names(Path("/run/netns")):
        subprocess.run(["umount", "/run/netns"], check=False, capture_output=True)  # made by the first `ip netns add`
    deadline = time.monotonic() + 15
    while (left := traces() - before) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not left, f"left behind: {sorted(left)}"


def traces() -> set[tuple[str, str]]:
    """What a test could forget, as (kind, name)."""
    found = {("link", name) for name in os.listdir("/sys/class/net")}
    found |= {("namespace", name) for name in _names(Path("/run/netns"))}
    found |= {("machines", name) for name in _names(Path("/run/shoal-machines"))}
    found |= {
        ("machines", str(path))
        for path in (*Path("/run").glob("shoal-machines-*"), *Path("/tmp").glob("shoal-machines-*"))
    }
    found |= {("mount", line.split()[1]) for line in Path("/proc/mounts").read_text().splitlines()}
    found |= {("cgroup", str(path)) for path in Path("/sys/fs/cgroup").glob("*/*shoal*")}
    tables = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=False).stdout
    found |= {("nft", line) for line in tables.splitlines()}
    return found | {("process", name) for name in _daemons()}


def _names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()] if folder.is_dir() else []


def _daemons() -> Iterator[str]:
    """Number and command of each running process that is one of `DAEMONS`; the dead that nobody reaped do not count."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        names = [os.path.basename(word.decode(errors="replace")) for word in words[:3]]
        if any(name in DAEMONS for name in names):
            yield f"{entry.name} {' '.join(names)}"
