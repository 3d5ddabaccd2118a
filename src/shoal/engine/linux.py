"""The narrow edge to the kernel: mount, umount, inotify, pidfd, process facts. Linux only, through libc."""

from __future__ import annotations

import asyncio
import ctypes
import fcntl
import os
import struct
import sys
import termios
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from shoal.kit.tasks import Bell

_libc = ctypes.CDLL(None, use_errno=True)

_MNT_DETACH = 2
_IN_CHANGED = 0x2 | 0x8 | 0x80 | 0x100 | 0x400 | 0x800  # modify, close after write, moved to, create, delete/move self
_IN_HEADER = struct.Struct("iIII")


def mount(source: str, target: str, kind: str, flags: int = 0, options: str = "") -> None:
    """mount(2). Raises OSError."""
    if _libc.mount(source.encode(), target.encode(), kind.encode(), flags, options.encode()):
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error), target)


def umount(target: str) -> None:
    """Detach what is mounted at `target` at once, in use or not; nothing mounted there is fine."""
    if _libc.umount2(target.encode(), _MNT_DETACH):
        error = ctypes.get_errno()
        if error not in (2, 22):
            raise OSError(error, os.strerror(error), target)


def mounted(target: str) -> bool:
    """Whether something is mounted at `target`; unlike os.path.ismount, also a part of the same file system."""
    wanted = os.path.realpath(target)
    for code, escaped in (("\\", "\\134"), (" ", "\\040"), ("\t", "\\011"), ("\n", "\\012")):
        wanted = wanted.replace(code, escaped)
    lines = Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines()
    return any(line.split(" ", 5)[4] == wanted for line in lines)


def start_time(pid: int) -> int:
    """When process `pid` began, in clock ticks since boot; 0 when there is no such process or it is a zombie.

    A process id with its start time is unique, an id alone is used again.
    """
    fields = _stat(pid)
    return 0 if not fields or fields[0] in "ZX" else int(fields[19])


def parent(pid: int) -> int:
    """The process whose child `pid` is; 0 when there is no such process."""
    fields = _stat(pid)
    return int(fields[1]) if fields else 0


def _stat(pid: int) -> list[str]:
    """The fields of /proc/<pid>/stat from the third, the state, on; none when there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].decode().split()  # names are any bytes
    except OSError:
        return []


async def ended(pid: int, started: int) -> None:
    """Return when process `pid` (any process, not only a child) that began at `started` is gone."""
    try:
        descriptor = os.pidfd_open(pid)
    except OSError:
        return
    try:
        if start_time(pid) == started:
            await readable(descriptor)
    finally:
        os.close(descriptor)


def unread(descriptor: int) -> int:
    """How many bytes lie in a pipe that nobody has read; either end may ask."""
    return int.from_bytes(fcntl.ioctl(descriptor, termios.FIONREAD, bytes(4)), sys.byteorder)


def not_taken(descriptor: int) -> int:
    """How much of what was written to a unix socket the other side has not read yet; 0: nothing."""
    return int.from_bytes(fcntl.ioctl(descriptor, termios.TIOCOUTQ, bytes(4)), sys.byteorder)


def settler(future: asyncio.Future[None]) -> Callable[[], None]:
    """A callback that completes `future`, once."""

    def settle() -> None:
        if not future.done():
            future.set_result(None)

    return settle


async def readable(descriptor: int) -> None:
    """Return when `descriptor` has something to read. One waiter per descriptor."""
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    loop.add_reader(descriptor, settler(ready))
    try:
        await ready
    finally:
        loop.remove_reader(descriptor)


async def writable(descriptor: int) -> None:
    """Return when `descriptor` takes more. One waiter per descriptor."""
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    loop.add_writer(descriptor, settler(ready))
    try:
        await ready
    finally:
        loop.remove_writer(descriptor)


class Inotify:
    """Rings a bell when a file or directory changes. Use on one event loop; `close` at the end."""

    def __init__(self) -> None:
        self._fd = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "inotify_init1")
        self._bells: dict[int, list[Bell]] = {}
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._fd, self._read)

    @contextmanager
    def watch(self, path: str | Path) -> Iterator[Bell]:
        """A bell that rings after each change of `path` while the scope lasts. Raises OSError."""
        watch = _libc.inotify_add_watch(self._fd, os.fsencode(path), _IN_CHANGED)
        if watch < 0:
            error = ctypes.get_errno()
            raise OSError(error, os.strerror(error), str(path))
        bell = Bell()
        self._bells.setdefault(watch, []).append(bell)
        try:
            yield bell
        finally:
            bells = self._bells.get(watch, [])
            if bell in bells:
                bells.remove(bell)
            if not bells and self._bells.pop(watch, None) is not None:
                _libc.inotify_rm_watch(self._fd, watch)

    def _read(self) -> None:
        try:
            data = os.read(self._fd, 65536)
        except BlockingIOError:
            return
        offset = 0
        while offset < len(data):
            watch, _, _, length = _IN_HEADER.unpack_from(data, offset)
            offset += _IN_HEADER.size + length
            for bell in self._bells.get(watch, []):
                bell.ring()

    def close(self) -> None:
        """Stop watching everything."""
        self._loop.remove_reader(self._fd)
        os.close(self._fd)
