"""A machine's part of the cgroup tree. Version 1, hybrid and version 2. Standard library only."""

from __future__ import annotations

import errno
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

PARENT = "shoal.machines"
"""The cgroup above all machines, in every hierarchy; goes when the last machine goes."""

_ATTEMPTS = 20
_GONE = (errno.ENOENT, errno.ENODEV, errno.EEXIST)
"""What using a cgroup fails with that is not there, or that goes while one of its files is open or it is made."""

_V1_CONTROLLERS = {"cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids", "net_cls", "net_prio",
                   "perf_event", "hugetlb", "rdma", "misc", "dmem"}  # fmt: skip


class Hierarchy(NamedTuple):
    """One mounted cgroup hierarchy. `options` is what mounts it again; empty means version 2."""

    mount_point: Path
    options: str

    @property
    def unified(self) -> bool:
        """Whether it is version 2."""
        return not self.options


def hierarchies(mountinfo: str) -> list[Hierarchy]:
    """The hierarchies in the text of a mountinfo: first those of version 1, then that of version 2."""
    old: dict[str, Hierarchy] = {}
    new: list[Hierarchy] = []
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        fields, (kind, _, options, *_rest) = before.split(" "), after.split(" ")
        point = Path(fields[4].replace("\\040", " "))
        if kind == "cgroup2":
            new.append(Hierarchy(point, ""))
        elif kind == "cgroup":
            wanted = [o for o in options.split(",") if o in _V1_CONTROLLERS or o.startswith("name=")]
            chosen = ",".join(["none", *wanted] if all(o.startswith("name=") for o in wanted) else wanted)
            old.setdefault(chosen, Hierarchy(point, chosen))
    return [*old.values(), *new[:1]]


def visible(mounted: list[Hierarchy]) -> list[Hierarchy]:
    """Those that a machine sees: on a hybrid host only version 1, since crun refuses to see both."""
    return [hierarchy for hierarchy in mounted if not hierarchy.unified] or mounted


def current_hierarchies() -> list[Hierarchy]:
    """The hierarchies that this process sees."""
    return hierarchies(Path("/proc/self/mountinfo").read_text())


def create(name: str) -> list[Path]:
    """Make the cgroups of machine `name` (an own one in every hierarchy) and return their directories."""
    mounted = current_hierarchies()
    return [_create_in(hierarchy, name, alone=mounted == [hierarchy]) for hierarchy in mounted]


def _create_in(hierarchy: Hierarchy, name: str, *, alone: bool) -> Path:
    parent = hierarchy.mount_point / PARENT
    for attempt in range(_ATTEMPTS):
        try:
            for directory, above in ((parent, hierarchy.mount_point), (parent / name, parent)):
                if hierarchy.unified and alone:
                    enable_controllers(above)
                _make(directory, above, hierarchy)
            break
        except OSError as fault:
            # The last of the other machines went just now, and the parent with it.
            if fault.errno not in _GONE or attempt == _ATTEMPTS - 1:
                raise
    return parent / name


def _make(directory: Path, above: Path, hierarchy: Hierarchy) -> None:
    directory.mkdir(exist_ok=True)
    if "cpuset" in hierarchy.options.split(","):
        for knob in ("cpuset.cpus", "cpuset.mems"):
            if not (directory / knob).read_text().strip():
                (directory / knob).write_text((above / knob).read_text())
        (directory / "cgroup.clone_children").write_text("1")


def enable_controllers(directory: Path) -> bool:
    """Version 2: let the children of `directory` have the controllers that it has itself; True when they have all.

    The kernel refuses while a process is in `directory` itself (unless it is the root).
    """
    control = directory / "cgroup.subtree_control"
    wanted = set((directory / "cgroup.controllers").read_text().split())
    for controller in wanted - set(control.read_text().split()):
        with suppress(OSError):
            control.write_text(f"+{controller}")
    return wanted <= set(control.read_text().split())


def join(directories: list[Path]) -> None:
    """Move this process into the cgroups. Joining oneself is quick; being moved by another costs 14 ms each."""
    for directory in directories:
        (directory / "cgroup.procs").write_text("0")


def remove(name: str, timeout: float = 5.0) -> None:
    """Remove the cgroups of machine `name` and all below them; processes that are just ending are waited for.

    Raises OSError when something is still in them after `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    for hierarchy in current_hierarchies():
        own = hierarchy.mount_point / PARENT / name
        while True:
            try:
                _remove_tree(own)
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
        with suppress(OSError):
            own.parent.rmdir()


def _remove_tree(top: Path) -> None:
    for directory, _, _ in os.walk(top, topdown=False):
        with suppress(FileNotFoundError):
            os.rmdir(directory)
