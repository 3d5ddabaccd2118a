"""Files that are whole or absent: what a process that may be killed at any moment writes."""

from __future__ import annotations

import os
from pathlib import Path


def write_atomic(path: Path, data: bytes, mode: int = 0o600, *, durable: bool = True) -> None:
    """Put `data` at `path` with `mode`: whoever reads it sees the old file or the new one, nothing between.

    `durable`: it is on the disk when this returns, and survives a power cut as well; that costs a millisecond or more.
    Without, a power cut may bring the old file back. A name that is new is synced in any case: file systems keep a
    replaced file's content, but of a new one they may keep the name and nothing in it.
    A draft that a killed process left is overwritten by the next; one process writes a path at a time. Raises OSError.
    """
    draft = path.with_name(f".{path.name}.draft")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            if durable or not path.exists():
                file.flush()
                os.fsync(descriptor)
    except OSError as fault:  # a full disk: the system says what, not where
        fault.filename = fault.filename or str(path)
        raise
    draft.chmod(mode)  # whatever the umask is
    draft.replace(path)
    if durable:
        sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make what was renamed in `path` survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
