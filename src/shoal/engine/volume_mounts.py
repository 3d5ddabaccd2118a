"""Volumes that are mounts: the options `type`, `device` and `o` of the `local` driver, with docker's meaning.

Such a volume is mounted on its directory while containers use it: by the first that starts, until the last has ended.
Whether it is mounted is asked of the kernel, who uses it is known from the containers' records. So nothing has to be
remembered over a restart of the daemon, which containers outlive.
"""

from __future__ import annotations

import re
import socket
import threading
from collections import defaultdict
from collections.abc import Mapping
from urllib.parse import urlsplit

from shoal.engine import linux
from shoal.kit.units import parse_bytes
from shoal.model.engine import Volume
from shoal.model.errors import InvalidArgument, ShoalError

_NEEDED = {"device": ("type",), "o": ("device", "type"), "type": ("device",)}
_READ_ONLY, _REMOUNT, _BIND, _RECURSIVE = 0x1, 0x20, 0x1000, 0x4000
# linux/mount.h: what a word sets, and what it clears
_SET = {
    "ro": _READ_ONLY, "nosuid": 0x2, "nodev": 0x4, "noexec": 0x8, "sync": 0x10, "mand": 0x40, "dirsync": 0x80,
    "noatime": 0x400, "nodiratime": 0x800, "bind": _BIND, "rbind": _BIND | _RECURSIVE, "relatime": 0x200000,
    "strictatime": 0x1000000,
}  # fmt: skip
_CLEARED = {
    "rw": _READ_ONLY, "suid": 0x2, "dev": 0x4, "exec": 0x8, "async": 0x10, "nomand": 0x40, "atime": 0x400,
    "diratime": 0x800, "norelatime": 0x200000, "nostrictatime": 0x1000000, "defaults": 0,
}  # fmt: skip
_PROPAGATION = {"unbindable": 1 << 17, "private": 1 << 18, "slave": 1 << 19, "shared": 1 << 20}
_PROPAGATION |= {f"r{word}": flag | _RECURSIVE for word, flag in _PROPAGATION.items()}


def check(options: Mapping[str, str]) -> None:
    """Raise InvalidArgument, in docker's words, for options that `local` does not have or that lack another."""
    for key in sorted(options):
        if key not in ("type", "o", "device", "size"):
            raise InvalidArgument(f'invalid option: "{key}"')
    for key in sorted(options.keys() & _NEEDED.keys()):
        for other in _NEEDED[key]:
            if other not in options:
                raise InvalidArgument(f'missing required option: "{other}"')
    if options.get("type") == "cifs" and _port(options["device"]):
        raise InvalidArgument("port not allowed in CIFS device URL, include 'port' in 'o='")
    try:
        size = parse_bytes(options.get("size", "0"))
    except ValueError as fault:
        raise InvalidArgument(str(fault)) from fault
    if size > 0:
        raise InvalidArgument("quota size requested but no quota support")


def _port(device: str) -> bool:
    return ":" in urlsplit(device).netloc.rpartition("@")[2].rpartition("]")[2]


def needs_mount(volume: Volume) -> bool:
    """Whether the volume is more than its directory."""
    return bool(volume.options.get("type") or volume.options.get("device"))


def flags(volume: Volume) -> list[str]:
    """The words for the flags that it is mounted with."""
    wanted, _, _ = parse(volume.options.get("o", ""))
    return [word for word, flag in _SET.items() if wanted & flag and not flag & _BIND]


class VolumeMounts:
    """Which containers use which volumes that are mounts. Called from worker threads: a file server may be slow."""

    def __init__(self) -> None:
        self._users: defaultdict[str, set[str]] = defaultdict(set)
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    def count(self, volume: Volume, user: str) -> None:
        """The container `user` runs, and has the volume since an earlier daemon."""
        if needs_mount(volume):
            self._users[volume.name].add(user)

    def use(self, volume: Volume, user: str) -> None:
        """The container `user` starts: mount the volume if it is not. Raises ShoalError."""
        if not needs_mount(volume):
            return
        with self._locks[volume.name]:
            if not linux.mounted(volume.mountpoint):
                _mount(volume)
            self._users[volume.name].add(user)

    def release(self, volume: Volume, user: str = "") -> None:
        """The container `user` has ended: unmount the volume after the last. Idempotent."""
        if not needs_mount(volume):
            return
        with self._locks[volume.name]:
            self._users[volume.name].discard(user)
            if not self._users[volume.name]:
                linux.umount(volume.mountpoint)


def _mount(volume: Volume) -> None:
    kind, target = volume.options.get("type", ""), volume.mountpoint
    flags, propagation, data = parse(volume.options.get("o", ""))
    device = volume.options.get("device", "")
    if not device:
        raise ShoalError(f"error while mounting volume '{target}': missing device in volume options")
    try:
        if kind in ("nfs", "nfs4", "cifs"):
            device, data = resolved(kind, device, data)
        linux.mount(device, target, kind, flags, data)
        try:
            if flags & _BIND and flags & ~(_BIND | _RECURSIVE):  # the first call takes no other flags with bind
                linux.mount("", target, "", flags & ~_RECURSIVE | _REMOUNT)
            if propagation or flags & _RECURSIVE:
                # unmounting a shared copy of a tree would unmount the original's branches too
                linux.mount("", target, "", propagation or _PROPAGATION["rprivate"])
        except OSError:
            linux.umount(target)
            raise
    except OSError as fault:
        shown = re.sub(r"password=[^,]*", "password=********", data)
        what = f"mount {device}:{target}, flags: {flags:#x}" + (f", data: {shown}" if shown else "")
        raise ShoalError(
            f"error while mounting volume '{target}': failed to mount local volume: {what}: "
            f"{(fault.strerror or str(fault)).lower()}"
        ) from fault


def parse(words: str) -> tuple[int, int, str]:
    """The option `o` as mount(2) wants it: flags, those of a second call that sets the propagation, and the rest."""
    flags, propagation, data = 0, 0, []
    for word in filter(None, words.split(",")):
        if word in _PROPAGATION:
            propagation |= _PROPAGATION[word]
        elif word in _SET:
            flags |= _SET[word]
        elif word in _CLEARED:
            flags &= ~_CLEARED[word]
        else:
            data.append(word)
    return flags, propagation, ",".join(data)


def resolved(kind: str, device: str, data: str) -> tuple[str, str]:
    """Device and options of a network file system with the server's address for its name: the kernel knows no names.

    Raises ShoalError when there is none.
    """
    words = data.split(",")
    for number, word in enumerate(words):
        key, _, host = word.partition("=")
        if key == "addr" and host:
            words[number] = f"addr={_address(host)}"
            return device, ",".join(words)
    if kind == "cifs" and (host := urlsplit(device).netloc):
        return device.replace(host, _address(host), 1), data
    return device, data


def _address(host: str) -> str:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as fault:
        raise ShoalError(f"error resolving passed in network volume address: lookup {host}: no such host") from fault
    return str(min(found, key=lambda entry: entry[0] != socket.AF_INET)[4][0])
