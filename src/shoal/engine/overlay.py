"""A container's root file system: overlayfs, mounted by us with one system call."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from shoal.engine import linux
from shoal.model.errors import ShoalError

_PAGE = 4096


def mount(layers: Sequence[str], folder: Path, links: Path) -> str:
    """Mount `layers` (lowest first) under a writable directory in `folder`; returns the mount point.

    Mounting twice is fine. mount(2) takes one page of options: where long paths do not fit, short symbolic links
    in `links` stand for them. Raises ShoalError.
    """
    merged = str(folder / "merged")
    if os.path.ismount(merged):
        return merged
    upper, work = folder / "upper", folder / "work"
    lower = ":".join(reversed(layers))
    if len(lower) + len(str(folder)) * 2 > _PAGE - 100:
        lower = ":".join(_short(layer, links) for layer in reversed(layers))
    try:
        linux.mount("overlay", merged, "overlay", 0, f"lowerdir={lower},upperdir={upper},workdir={work}")
    except OSError as fault:
        raise ShoalError(f"error creating overlay mount to {merged}: {fault.strerror}") from fault
    return merged


def prepare(folder: Path) -> None:
    """Make the directories that `mount` needs."""
    for name, mode in (("upper", 0o755), ("work", 0o700), ("merged", 0o700)):
        path = folder / name
        path.mkdir(exist_ok=True)
        path.chmod(mode)  # whatever the umask says: `upper` is the container's own /


def unmount(folder: Path) -> None:
    """Detach the mount, if there is one."""
    linux.umount(str(folder / "merged"))


def _short(layer: str, links: Path) -> str:
    """A link of a few characters to `layer`."""
    links.mkdir(parents=True, exist_ok=True)
    link = links / hashlib.sha256(layer.encode()).hexdigest()[:10]
    try:
        link.symlink_to(layer)
    except FileExistsError:
        pass
    return str(link)
