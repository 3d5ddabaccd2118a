"""Facts about this machine, for `docker info` and `docker version`."""

from __future__ import annotations

import os
import platform
import socket
from pathlib import Path

from shoal.engine.cgroup import Cgroups
from shoal.engine.options import EngineOptions
from shoal.model.base import Struct


class SystemFacts(Struct, frozen=True):
    """What does not change while the daemon runs. Memory in bytes."""

    cpus: int
    memory: int
    kernel: str
    operating_system: str
    os_version: str
    architecture: str
    """As `uname -m` says it."""
    go_architecture: str
    """As image platforms say it: amd64, arm64."""
    cgroup_driver: str
    cgroup_version: str
    swap_limit: bool
    security: list[str]


class System:
    """The machine's facts, read once; the host name is asked each time."""

    def __init__(self, options: EngineOptions, cgroups: Cgroups) -> None:
        release = _os_release()
        self.facts = SystemFacts(
            cpus=len(os.sched_getaffinity(0)),
            memory=_memory(),
            kernel=platform.release(),
            operating_system=release.get("PRETTY_NAME", "Linux"),
            os_version=release.get("VERSION_ID", ""),
            architecture=platform.machine(),
            go_architecture=_ARCHITECTURES.get(platform.machine(), platform.machine()),
            cgroup_driver="cgroupfs",
            cgroup_version=str(cgroups.version),
            swap_limit=cgroups.version == 2 or _has_swap_limit(cgroups),
            security=["name=seccomp,profile=builtin", *(["name=cgroupns"] if cgroups.version == 2 else [])],
        )
        self.labels = options.labels

    @property
    def hostname(self) -> str:
        """The machine's name."""
        return socket.gethostname()


_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "ppc64le": "ppc64le", "s390x": "s390x",
                  "riscv64": "riscv64"}  # fmt: skip


def _has_swap_limit(cgroups: Cgroups) -> bool:
    folder = cgroups.folder("memory", ".")
    return folder is not None and (folder / "memory.memsw.limit_in_bytes").exists()


def _memory() -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024
    return 0


def _os_release() -> dict[str, str]:
    try:
        return platform.freedesktop_os_release()
    except OSError:
        return {}
