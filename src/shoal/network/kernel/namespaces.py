"""Network namespaces: made, kept alive by a file, and entered by one thread for the length of a `with`.

Sockets belong for ever to the namespace in which they were made, so work in a namespace means: enter, make the
socket, come back, and use the socket from anywhere. Coming back matters because threads are shared.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

_libc = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWNET = 0x40000000
_MS_BIND = 4096
_MNT_DETACH = 2
_NSFS_MAGIC = 0x6E736673
_HERE = "/proc/thread-self/ns/net"


class Namespace:
    """A network namespace, held by a descriptor. `path` is empty for the daemon's own."""

    def __init__(self, descriptor: int, path: str = "") -> None:
        self.descriptor = descriptor
        self.path = path

    @classmethod
    def own(cls) -> Namespace:
        """The namespace of the calling thread."""
        return cls(os.open(_HERE, os.O_RDONLY | os.O_CLOEXEC))

    @classmethod
    def at(cls, path: str | Path) -> Namespace:
        """The namespace that is mounted at `path`; OSError when there is none."""
        return cls(os.open(path, os.O_RDONLY | os.O_CLOEXEC), str(path))

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Within the `with`, the calling thread is in this namespace. The body must not await."""
        with open(_HERE, "rb") as home:
            _check(_libc.setns(self.descriptor, _CLONE_NEWNET))
            try:
                yield
            finally:
                _check(_libc.setns(home.fileno(), _CLONE_NEWNET))

    @contextlib.contextmanager
    def held(self) -> Iterator[Namespace]:
        """Within the `with`, this descriptor is open; afterwards it is closed."""
        try:
            yield self
        finally:
            self.close()

    def close(self) -> None:
        """Let go of the descriptor; the namespace lives on while anything else holds it."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


def create(path: Path) -> Namespace:
    """Make a namespace and mount it at `path` (a file is made there), so that it outlives this process."""
    path.touch(mode=0o600)
    with open(_HERE, "rb") as home:
        _check(_libc.unshare(_CLONE_NEWNET))
        try:
            _mount(_HERE, path)
            return Namespace.at(path)
        finally:
            _check(_libc.setns(home.fileno(), _CLONE_NEWNET))


def delete(path: Path) -> None:
    """Unmount and remove `path`. The kernel ends the namespace, with its links, once nobody is in it. Idempotent."""
    _libc.umount2(os.fsencode(path), _MNT_DETACH)
    path.unlink(missing_ok=True)


def exists(path: Path) -> bool:
    """Whether a namespace is mounted at `path` (and not just an empty file left over from before a reboot)."""
    buffer = ctypes.create_string_buffer(256)
    if _libc.statfs(os.fsencode(path), buffer) != 0:
        return False
    return int.from_bytes(buffer.raw[: ctypes.sizeof(ctypes.c_long)], "little") == _NSFS_MAGIC


def _mount(source: str, target: Path) -> None:
    _check(_libc.mount(source.encode(), os.fsencode(target), b"none", _MS_BIND, None))


def _check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
