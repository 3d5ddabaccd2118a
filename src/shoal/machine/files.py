"""Files that are whole or absent, and locks between processes: on every operating system."""

from __future__ import annotations

import os
import secrets
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_ASK_EVERY = 0.02
"""Seconds between two looks whether a lock is free."""


def write_atomic(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Put `data` at `path` with `mode`: another process sees the old file or the new one, nothing between.

    Unlike `kit.files.write_atomic` for any number of writers at once, and for every operating system.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    # On Windows a descriptor would turn line ends into its own without this.
    binary = getattr(os, "O_BINARY", 0)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | binary, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(mode)
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


def children(folder: Path) -> list[Path]:
    """What lies in a directory, by name; nothing where it is not there, or goes just now."""
    try:
        return [folder / name for name in sorted(os.listdir(folder))]
    except FileNotFoundError:
        return []


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file `path`, waiting for whoever has it. The file stays; `unlink_lock` inside takes it away."""
    while True:
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        except FileNotFoundError:
            # Somebody removed the directory meanwhile.
            continue
        except FileExistsError:
            if path.parent.exists():
                raise  # as something else than a directory
            continue
        try:
            _acquire(descriptor)
            if _same_file(descriptor, path):
                break
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
    try:
        yield
    finally:
        os.close(descriptor)


def unlink_lock(path: Path) -> None:
    """Remove a lock file while holding it: those who wait for it notice and take the next one."""
    with suppress(OSError):
        path.unlink()


def _same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _acquire(descriptor: int) -> None:
    # The systems' own waiting does not do: Windows' gives up after ten seconds, and a thread in `flock` is deaf to
    # `interrupts.interrupt` for as long as somebody else has the lock.
    while not _try_to_acquire(descriptor):
        time.sleep(_ASK_EVERY)


def _try_to_acquire(descriptor: int) -> bool:
    if sys.platform == "win32":
        import msvcrt

        with suppress(OSError):
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
            return True
    else:
        import fcntl

        with suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
    return False
