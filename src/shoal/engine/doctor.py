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


class _Probe(Struct, frozen=True):
    """The trial of one of the kernel's network features."""

    name: str
    trial: str
    without: str
    """What does not work when the trial fails."""
    module: str
    needs: str = ""
    """Another feature without which this one cannot be tried: what it lacks is not this one."""


def _link(kind: str, details: str, without: str) -> _Probe:
    return _Probe(name=kind, trial=f"ip link add probe0 type {kind} {details}", without=without, module=kind)


def _rule(name: str, module: str, hook: str, rule: str, without: str) -> _Probe:
    """A kind of rule that `network.tables` makes; `hook` is the kind of chain in which it does."""
    trial = f"nft 'add table ip probe; add chain ip probe c {{ type {hook}; }}; add rule ip probe c {rule}'"
    needs = _NAT if hook.startswith("nat") else _NF_TABLES
    return _Probe(name=f"nftables {name}", trial=trial, without=without, module=module, needs=needs)


_NF_TABLES, _NAT = "nf_tables", "nftables nat"
_FILTER_CHAIN, _ROUTE_CHAIN = "filter hook prerouting priority -150", "route hook output priority -150"
_PRE_CHAIN, _POST_CHAIN = "nat hook prerouting priority -100", "nat hook postrouting priority 100"
_PROBES = (
    _link("bridge", "", "containers have no network"),
    _link("veth", "peer name probe1", "containers have no network"),
    _link("vxlan", "id 4096 dstport 4789 local 127.0.0.1", "overlay networks do not work"),
    _Probe(name=_NF_TABLES, trial="nft 'add table ip probe'", without="containers have no network", module="nf_tables"),
    _Probe(
        name=_NAT,
        trial=f"nft 'add table ip probe; add chain ip probe c {{ type {_PRE_CHAIN}; }}'",
        without="containers have no network",
        module="nft_chain_nat",
        needs=_NF_TABLES,
    ),
    _rule("masquerade", "nft_masq", _POST_CHAIN, "masquerade fully-random", "containers do not reach the outside"),
    _rule("dnat", "nft_nat", _PRE_CHAIN, "tcp dport 80 dnat to 127.0.0.1:8080", "ports cannot be published"),
    _rule("fib", "nft_fib_ipv4", _FILTER_CHAIN, "fib daddr type local accept", "ports cannot be published"),
    _rule("numgen", "nft_numgen", _FILTER_CHAIN, "meta mark set numgen inc mod 2", "services have no addresses"),
    _rule("reject", "nft_reject_ipv4", "filter hook output priority 0", "reject", "services have no addresses"),
    _rule("redirect", "nft_redir", _PRE_CHAIN, "tcp dport 80 redirect to :8080", "the routing mesh does not work"),
    _rule("ct mark", "nft_ct", _ROUTE_CHAIN, "ct mark set 1 meta mark set ct mark", "the routing mesh does not work"),
    _rule("maxseg", "nft_exthdr", _FILTER_CHAIN, "tcp option maxseg size set 1410", "the routing mesh does not work"),
)


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
    lacking: set[str] = set()
    for probe in _PROBES:
        ok = probe.needs not in lacking and _succeeds(["unshare", "--net", "sh", "-c", probe.trial])
        if not ok:
            lacking.add(probe.name)
        if probe.needs not in lacking:
            yield Finding(
                name=probe.name,
                ok=ok,
                problem=f"the kernel refused a trial of {probe.name}: {probe.without}",
                remedy=f"load it (modprobe {probe.module}) or use a kernel that has it, and see that iproute2 and "
                "nftables are installed",
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
