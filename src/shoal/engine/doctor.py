"""What this machine must have to run containers and overlays, and what to do about what is missing.

`quick` is what the daemon asks at its start (milliseconds, files only); `full` tries the kernel's features too, in
namespaces that end with the trial.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from shoal.model.base import Struct


class Finding(Struct, frozen=True):
    """One check: what was looked at, whether it is well, and otherwise what is missing and what to do."""

    name: str
    ok: bool
    problem: str
    remedy: str
    fatal: bool = True
    """Without it the daemon cannot do its work at all."""

    def __str__(self) -> str:
        return f"ok       {self.name}" if self.ok else f"missing  {self.name}: {self.problem}; {self.remedy}"


DATA_ROOT = Path("/var/lib/shoal")

_PROGRAMS = {
    "crun": ("crun", True, "containers cannot run"),
    "conmon": ("conmon", True, "containers cannot run"),
    "etcd": ("etcd-server", False, "this machine cannot be a manager"),
    "catatonit": ("catatonit", False, "`docker run --init` does not work"),
}
_LIBRARIES = {
    "libnftables.so.1": ("libnftables1", True, "ports cannot be published and services have no addresses"),
    "libseccomp.so.2": ("libseccomp2", True, "containers cannot be confined"),
}
_CONTROLLERS = ("cpu", "memory", "pids")
_PROBES = {
    "bridge": "ip link add probe0 type bridge",
    "veth": "ip link add probe0 type veth peer name probe1",
    "vxlan": "ip link add probe0 type vxlan id 4096 dstport 4789 local 127.0.0.1",
    "nf_tables": "nft 'add table ip probe; add chain ip probe c { type nat hook prerouting priority dstnat ; }'",
}
_SPENT_ON = {
    "bridge": "containers have no network",
    "veth": "containers have no network",
    "vxlan": "overlay networks do not work",
    "nf_tables": "ports cannot be published",
}


def quick(data_root: Path = DATA_ROOT) -> list[Finding]:
    """The checks that cost nothing."""
    return [*_root(), *_programs(), *_libraries(), *_overlay(), *_data_root(data_root.absolute()), *_cgroups()]


def full(data_root: Path = DATA_ROOT) -> list[Finding]:
    """Every check; the kernel's network features are tried out in a namespace of their own."""
    return [*quick(data_root), *_features()]


def _root() -> Iterator[Finding]:
    ok = os.geteuid() == 0
    yield Finding(name="root", ok=ok, problem="not running as root", remedy="run it with sudo or as a system service")


def _programs() -> Iterator[Finding]:
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin:/usr/bin:/usr/local/bin"
    for program, (package, fatal, without) in _PROGRAMS.items():
        yield Finding(
            name=program,
            ok=shutil.which(program, path=path) is not None,
            fatal=fatal,
            problem=f"the program {program} is not installed: {without}",
            remedy=f"install the package {package} (Debian: apt install {package})",
        )


def _libraries() -> Iterator[Finding]:
    for library, (package, fatal, without) in _LIBRARIES.items():
        yield Finding(
            name=library,
            ok=_loads(library),
            fatal=fatal,
            problem=f"the library {library} is not installed: {without}",
            remedy=f"install the package {package} (Debian: apt install {package})",
        )


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def _overlay() -> Iterator[Finding]:
    yield Finding(
        name="overlayfs",
        ok=_filesystem("overlay"),
        problem="the kernel has no overlay file system: images cannot be stacked",
        remedy="load it (modprobe overlay), or use a kernel with CONFIG_OVERLAY_FS",
    )


def _filesystem(name: str) -> bool:
    def known() -> bool:
        return any(line.split()[-1:] == [name] for line in Path("/proc/filesystems").read_text().splitlines())

    return known() or (_modprobe(name) and known())


def _modprobe(module: str) -> bool:
    program = shutil.which("modprobe", path="/usr/sbin:/sbin:/usr/bin:/bin")
    return program is not None and _succeeds([program, module])


def _cgroups() -> Iterator[Finding]:
    v2 = Path("/sys/fs/cgroup/cgroup.controllers")
    if v2.exists():
        present = set(v2.read_text().split())
    else:
        present = {name for name in _CONTROLLERS if Path(f"/sys/fs/cgroup/{name}").is_dir()}
    for controller in _CONTROLLERS:
        yield Finding(
            name=f"cgroup {controller}",
            ok=controller in present,
            problem=f"the control group for {controller} is not available: its limits cannot be kept",
            remedy="mount /sys/fs/cgroup, and do not disable the controller on the kernel's command line",
        )


def _features() -> Iterator[Finding]:
    for feature, trial in _PROBES.items():
        yield Finding(
            name=feature,
            ok=_succeeds(["unshare", "--net", "sh", "-c", trial]),
            problem=f"the kernel refused a trial of {feature}: {_SPENT_ON[feature]}",
            remedy=f"load it (modprobe {feature}), and see that iproute2 and nftables are installed",
        )


def _data_root(data_root: Path) -> Iterator[Finding]:
    kind = filesystem_of(data_root, Path("/proc/self/mountinfo").read_text())
    yield Finding(
        name="data root",
        ok=kind not in ("overlay", "aufs", "nfs", "nfs4"),
        problem=f"{data_root} lies on {kind}, on which images cannot be stacked",
        remedy="choose a directory on a local disk (ext4, xfs, btrfs) or tmpfs with --data-root",
    )


def filesystem_of(path: Path, mountinfo: str) -> str:
    """The kind of file system that `path` lies on, from the text of /proc/self/mountinfo."""
    best, kind = "", ""
    for line in mountinfo.splitlines():
        place, _, rest = line.partition(" - ")
        point = place.split()[4].replace("\\040", " ")
        inside = path == Path(point) or Path(point) in path.parents
        if inside and len(point) >= len(best):  # of several on one point the last one counts
            best, kind = point, rest.split()[0]
    return kind


def _succeeds(command: list[str], run: Callable[..., subprocess.CompletedProcess[bytes]] = subprocess.run) -> bool:
    try:
        return run(command, capture_output=True, timeout=10, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False
