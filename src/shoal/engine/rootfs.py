"""Paths inside a container's root file system, resolved as the container would: links never lead out of it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from shoal.model.errors import InvalidArgument

_MAX_LINKS = 255
_MEGABYTE = 1 << 20


def resolve(root: str | Path, path: str) -> str:
    """The real path on this machine of the container's `path`; parts that do not exist are kept as they are.

    Raises InvalidArgument for a loop of links.
    """
    base = os.fspath(root)
    todo = path.split("/")[::-1]
    done: list[str] = []
    links = 0
    while todo:
        part = todo.pop()
        if part in ("", "."):
            continue
        if part == "..":
            if done:
                done.pop()
            continue
        try:
            target = os.readlink(os.path.join(base, *done, part))
        except OSError:
            done.append(part)
            continue
        links += 1
        if links > _MAX_LINKS:
            raise InvalidArgument(f"too many levels of symbolic links: {path}")
        if target.startswith("/"):
            done.clear()
        todo += target.split("/")[::-1]
    return os.path.join(base, *done)


def read(root: str | Path, path: str) -> str:
    """The text of a file in the container, the first megabyte of it; empty when there is no such plain file.

    The container may change its files meanwhile: a link in the last place is not followed, a pipe not waited for.
    """
    try:
        descriptor = os.open(resolve(root, path), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError):
        return ""
    try:
        plain = stat.S_ISREG(os.fstat(descriptor).st_mode)
        return os.read(descriptor, _MEGABYTE).decode(errors="replace") if plain else ""
    except OSError:
        return ""
    finally:
        os.close(descriptor)
