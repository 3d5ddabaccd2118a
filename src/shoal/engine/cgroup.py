"""Control groups of containers, in all three layouts: v1, hybrid (v1 with an empty v2 tree beside it) and v2.

The daemon makes a container's directories and sets its limits; the container's first process joins them itself
(`join_files`): a process that moves itself pays 0.2 ms for nine hierarchies, one that is moved 14 ms.
"""

from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from shoal.engine import device_filter, limits
from shoal.engine.defaults import DEVICE_RULES
from shoal.model.container import HostConfig
from shoal.model.errors import InvalidArgument, ShoalError

_RETRIES = 250
_MANAGED = ("cpu", "cpuset", "memory", "pids", "io")


def find_hierarchies(mountinfo: str) -> dict[str, Path]:
    """Controller (`memory`, `name=systemd`) -> where it is mounted; a v2 tree is called `unified`."""
    found: dict[str, Path] = {}
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        fields, kind = left.split(), right.split()
        place = Path(fields[4].replace("\\040", " "))
        if kind[0] == "cgroup2":
            found.setdefault("unified", place)
        elif kind[0] == "cgroup":
            options = kind[2].split(",")
            for option in options:
                if option.startswith("name=") or option not in ("rw", "ro", "xattr", "clone_children", "noprefix"):
                    found.setdefault(option, place)
    return found


class Cgroups:
    """The cgroups of one daemon's containers, below `parent` in every hierarchy."""

    def __init__(self, parent: str = "shoal", mountinfo: str | None = None) -> None:
        found = find_hierarchies(Path("/proc/self/mountinfo").read_text() if mountinfo is None else mountinfo)
        self.parent = parent.strip("/")
        unified = found.pop("unified", None)
        self.hybrid = bool(found) and unified is not None
        """A v2 tree beside v1: crun refuses to work in sight of it."""
        self.unified = unified
        self.version = 1 if found else 2
        if not found and unified is None:
            raise ShoalError("no cgroup hierarchy is mounted: mount cgroup2 on /sys/fs/cgroup")
        self.v1 = found

    def path(self, id: str, parent: str = "") -> str:
        """The path of a container's cgroup in every hierarchy; `parent` is HostConfig's CgroupParent."""
        if ".." in parent.split("/"):
            raise InvalidArgument(f"invalid cgroup parent: {parent}")
        return f"{parent.strip('/') or self.parent}/{id}"

    def _roots(self) -> list[Path]:
        """The mount points, each once."""
        return list(dict.fromkeys(self.v1.values())) if self.version == 1 else [self._unified()]

    def _unified(self) -> Path:
        assert self.unified is not None
        return self.unified

    def folder(self, controller: str, path: str) -> Path | None:
        """Where `controller` has its files for `path`; None when this kernel has it not mounted."""
        if self.version == 2:
            return self._unified() / path
        root = self.v1.get("blkio" if controller == "io" else controller)
        return root / path if root else None

    def make(self, path: str, host: HostConfig) -> None:
        """Make the cgroup `path` and set its limits. Raises InvalidArgument for a limit that the kernel refuses."""
        parent = os.path.dirname(path)
        for root in self._roots():
            for attempt in range(_RETRIES):
                try:
                    self._make_parent(root, parent)
                    _mkdir(root / path)
                    break
                except OSError as fault:  # another daemon with the same parent removes it meanwhile
                    if fault.errno not in (errno.ENOENT, errno.ENODEV) or attempt == _RETRIES - 1:
                        raise
        self.limit(path, host)
        self._allow_devices(path, host)

    def _make_parent(self, root: Path, parent: str) -> None:
        folder = root
        for part in parent.split("/"):
            if self.version == 2:
                _delegate(folder)
            above, folder = folder, folder / part
            if not folder.is_dir():
                _mkdir(folder)
            if self.version == 1 and root == self.v1.get("cpuset"):
                for name in ("cpuset.cpus", "cpuset.mems"):
                    if not (folder / name).read_text().strip():
                        (folder / name).write_text((above / name).read_text())
                (folder / "cgroup.clone_children").write_text("1")
        if self.version == 2:
            _delegate(folder)

    def limit(self, path: str, host: HostConfig) -> None:
        """Set (or change) the limits that `host` asks for."""
        files = limits.files_v1(host) if self.version == 1 else limits.files_v2(host)
        if self.version == 1 and host.memory:
            files = self._grow_first(path, host, files)
        files += limits.files_of_disks(host, self.version, _disk_number)
        for controller, name, value in files:
            folder = self.folder(controller, path)
            if folder is None or not (folder / name).exists():
                continue  # as docker: a limit that the kernel does not offer is discarded
            try:
                _write(folder / name, value)
            except OSError as fault:
                raise InvalidArgument(
                    f"failed to write {value!r} to {name}: {os.strerror(fault.errno or 0).lower()}"
                ) from fault

    def _grow_first(self, path: str, host: HostConfig, files: list[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
        """v1 wants memory <= memory+swap at every moment: when growing, the sum has to be written first."""
        folder = self.folder("memory", path)
        swap = folder / "memory.memsw.limit_in_bytes" if folder else None
        if swap is not None and swap.exists() and int(swap.read_text()) < host.memory:
            return sorted(files, key=lambda file: file[1] != swap.name)
        return files

    def _allow_devices(self, path: str, host: HostConfig) -> None:
        if host.privileged:
            return
        rules = list(DEVICE_RULES)
        for device in host.devices:
            rules += device_rules(device.path_on_host, device.cgroup_permissions)
        for rule in host.device_cgroup_rules:
            rules += numbered_rules(rule)
        if self.version == 2:
            device_filter.attach(self._unified() / path, rules)
        elif folder := self.folder("devices", path):
            _write(folder / "devices.deny", "a")
            for rule in rules:
                _write(folder / "devices.allow", rule)

    def join_files(self) -> list[tuple[str, str]]:
        """(mount point, file) of each hierarchy: a process that writes 0 to `<mount point>/<path>/<file>` joins."""
        return [(str(root), "tasks" if self.version == 1 else "cgroup.procs") for root in self._roots()]

    def remove(self, path: str) -> None:
        """Remove the cgroup `path` with everything below it; what is not there is fine."""
        for root in self._roots():
            _rmtree(root / path)

    def remove_parent(self) -> None:
        """Remove the common parent when nothing uses it."""
        for root in self._roots():
            try:
                (root / self.parent).rmdir()
            except OSError:
                pass

    def processes(self, path: str) -> list[int]:
        """The ids of all processes in `path` and below it, as this daemon's pid namespace numbers them."""
        folder = self.folder("pids", path) or self.folder("memory", path)
        pids: list[int] = []
        for where, _, names in os.walk(folder) if folder else ():
            if "cgroup.procs" in names:
                pids += [int(line) for line in Path(where, "cgroup.procs").read_text().split()]
        return pids

    def kill(self, path: str) -> None:
        """Kill every process in `path` and below it."""
        for pid in self.processes(path):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def freeze(self, path: str, frozen: bool) -> None:
        """Stop or continue every process in `path`. Raises ShoalError where the kernel cannot."""
        if self.version == 2:
            target, value = self._unified() / path / "cgroup.freeze", str(int(frozen))
        else:
            folder = self.folder("freezer", path)
            if folder is None:
                raise ShoalError("cannot pause: the freezer cgroup is not mounted")
            target, value = folder / "freezer.state", "FROZEN" if frozen else "THAWED"
        _write(target, value)

    def out_of_memory(self, path: str) -> bool:
        """Whether the kernel killed a process of `path` for lack of memory."""
        folder = self.folder("memory", path)
        name = "memory.oom_control" if self.version == 1 else "memory.events"
        try:
            lines = (folder / name).read_text().splitlines() if folder else []
        except OSError:
            return False
        return any(line.startswith("oom_kill ") and line.split()[1] != "0" for line in lines)


def device_rules(path: str, permissions: str) -> list[str]:
    """The cgroup rules that let a container use the device at `path`; a directory means all devices in it.

    Raises InvalidArgument when there is none.
    """
    rules = []
    for node in device_nodes(path):
        facts = os.stat(node)
        kind = "b" if (facts.st_mode & 0o170000) == 0o060000 else "c"
        rules.append(f"{kind} {os.major(facts.st_rdev)}:{os.minor(facts.st_rdev)} {permissions or 'rwm'}")
    return rules


def numbered_rules(rule: str) -> list[str]:
    """A rule of the user's (`c 10:* rwm`) for both kinds of devices when it says `a`: alone, v1 takes that for all."""
    kinds, rest = rule.split(" ", 1)
    return [f"{kind} {rest}" for kind in ("bc" if kinds == "a" else kinds)]


def _disk_number(path: str) -> str:
    try:
        facts = os.stat(path)
    except OSError as fault:
        raise InvalidArgument(f"stat {path}: {os.strerror(fault.errno or 0).lower()}") from fault
    if (facts.st_mode & 0o170000) != 0o060000:
        raise InvalidArgument(f"{path} is not a block device")
    return f"{os.major(facts.st_rdev)}:{os.minor(facts.st_rdev)}"


def device_nodes(path: str) -> Sequence[str]:
    """The device files that `path` means. Raises InvalidArgument."""
    try:
        facts = os.stat(path)
    except OSError as fault:
        raise InvalidArgument(f'error gathering device information while adding custom device "{path}": '
                              "no such file or directory") from fault  # fmt: skip
    if (facts.st_mode & 0o170000) in (0o060000, 0o020000):
        return [path]
    if (facts.st_mode & 0o170000) == 0o040000:
        return [node for entry in sorted(os.scandir(path), key=lambda e: e.name) if not entry.is_symlink()
                and (entry.is_dir() or (entry.stat().st_mode & 0o170000) in (0o060000, 0o020000))
                for node in device_nodes(entry.path)]  # fmt: skip
    raise InvalidArgument(f'error gathering device information while adding custom device "{path}": not a device node')


def _mkdir(path: Path) -> None:
    try:
        path.mkdir()
    except FileExistsError:
        pass


def _write(path: Path, value: str) -> None:
    """One write(2): the kernel takes a setting whole."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, value.encode())
    finally:
        os.close(descriptor)


def _delegate(folder: Path) -> None:
    """v2: let the children of `folder` have controllers. The tree's top may hold no processes of its own then."""
    offered = set((folder / "cgroup.controllers").read_text().split())
    switched_on = set((folder / "cgroup.subtree_control").read_text().split())
    wanted = [name for name in _MANAGED if name in offered and name not in switched_on]
    if not wanted:
        return
    text = " ".join(f"+{name}" for name in wanted)
    try:
        _write(folder / "cgroup.subtree_control", text)
    except OSError as fault:
        if fault.errno != errno.EBUSY:
            raise
        leaf = folder / "init"
        _mkdir(leaf)
        for pid in (folder / "cgroup.procs").read_text().split():
            try:
                _write(leaf / "cgroup.procs", pid)
            except OSError:
                pass  # a kernel thread, or already gone
        _write(folder / "cgroup.subtree_control", text)


def _rmtree(folder: Path) -> None:
    """Remove a cgroup. One whose last process has just ended is busy for another moment."""
    for where, _, _ in os.walk(folder, topdown=False):
        for attempt in range(_RETRIES):
            try:
                os.rmdir(where)
                break
            except FileNotFoundError:
                break
            except OSError as fault:
                if fault.errno != errno.EBUSY or attempt == _RETRIES - 1:
                    raise
                time.sleep(0.002)
