"""The mounts of a container in the OCI runtime specification: docker's own, and the user's. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shoal.engine import defaults
from shoal.model.container import Container, MountPoint

_NO = ["nosuid", "noexec", "nodev"]
_FILES = {"resolv.conf": "/etc/resolv.conf", "hostname": "/etc/hostname", "hosts": "/etc/hosts"}


def mounts(
    container: Container, folder: str, init: str, shm: str, flags: Mapping[str, list[str]]
) -> list[dict[str, Any]]:
    """Everything that is mounted into `container`, outer mount points before inner ones.

    `flags` are those that volumes (by name) are mounted with: a bind of them would not have them by itself.
    """
    host = container.host_config
    taken = {point.destination for point in container.mounts} | set(host.tmpfs)
    base = [m for m in _kernel(container, shm) if m["destination"] not in taken]
    if folder:
        files = {f"{folder}/{name}": target for name, target in _FILES.items()}
        if init:
            files[init] = "/sbin/docker-init"
        base += [
            _bind(source, target, ["ro"] if source == init else ["rprivate"])
            for source, target in files.items()
            if target not in taken
        ]
    own = [_point(container, point, flags) for point in container.mounts]
    own += [tmpfs(target, options) for target, options in host.tmpfs.items()]
    # kernel file systems in their given order, then files and the user's mounts by depth
    return base + sorted(own, key=lambda m: m["destination"].count("/"))


def _kernel(container: Container, shm: str) -> list[dict[str, Any]]:
    host = container.host_config
    access = [] if host.privileged else ["ro"]
    size = host.shm_size or defaults.SHM_SIZE
    result = [
        _mount("/proc", "proc", _NO),
        _mount("/dev", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
        _mount("/dev/pts", "devpts", ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
        _mount("/sys", "sysfs", [*_NO, *access]),
        _mount("/sys/fs/cgroup", "cgroup", [*_NO, *access]),
        _mount("/dev/mqueue", "mqueue", _NO),
    ]
    if shm:
        result.append(_bind(shm, "/dev/shm", []))
    elif host.ipc_mode != "none":
        result.append(_mount("/dev/shm", "tmpfs", [*_NO, "mode=1777", f"size={size}"], source="shm"))
    return result


def _point(container: Container, point: MountPoint, flags: Mapping[str, list[str]]) -> dict[str, Any]:
    if point.type == "tmpfs":
        asked = next((m for m in container.host_config.mounts if m.target == point.destination), None)
        options = asked.tmpfs_options if asked else None
        extra = [f"size={options.size_bytes}"] if options and options.size_bytes else []
        extra += ["=".join(option) for option in options.options] if options else []
        extra.append(f"mode={(options.mode if options else 0) or 0o1777:o}")
        return _mount(point.destination, "tmpfs", [*_NO, *extra, *([] if point.rw else ["ro"])])
    options_ = ["rw" if point.rw else "ro", *flags.get(point.name, [])]
    if point.propagation:
        options_.append(point.propagation)
    plain = any(
        m.target == point.destination and m.bind_options and m.bind_options.non_recursive
        for m in container.host_config.mounts
    )
    return _bind(point.source, point.destination, options_, recursive=not plain)


def tmpfs(target: str, options: str) -> dict[str, Any]:
    """`--tmpfs target[:options]`."""
    given = [word for word in options.split(",") if word]
    base = [word for word in _NO if word.removeprefix("no") not in given]
    if not any(word.startswith("mode=") for word in given):
        base.append("mode=1777")
    return _mount(target, "tmpfs", base + given)


def _mount(target: str, kind: str, options: list[str], source: str = "") -> dict[str, Any]:
    return {"destination": target, "type": kind, "source": source or kind, "options": options}


def _bind(source: str, target: str, options: list[str], recursive: bool = True) -> dict[str, Any]:
    return {
        "destination": target,
        "type": "bind",
        "source": source,
        "options": ["rbind" if recursive else "bind", *options],
    }
