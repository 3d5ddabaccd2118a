"""The image in the store: `cache/shoal.iso` is the one file that counts.

It holds a manifest with the digests of what is in it. `cached` checks a file it does not know yet completely and keeps
its kernel, initrd and root beside it, in a directory named after the manifest's digest; the file's size, time and inode
are noted there, so that an image is read once and not at every start of a machine.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from shoal.machine.errors import MachineError
from shoal.machine.files import locked
from shoal.machine.image import iso

FILE = "shoal.iso"
LABEL = "SHOAL-"
MANIFEST = "MANIFEST"
PARTS = ("kernel", "initrd", "root")
"""The image's files, by their names in the manifest; in the ISO they are in capitals."""

FORM = 1
_PREFIX = "shoal-image-"
_SEEN = "seen"
_LARGEST_MANIFEST = 1 << 16
_BLOCK = 1 << 20
_AGAIN = "remove it with 'shoal machine image rm', or make a new one with 'shoal machine image build'"


class Image(NamedTuple):
    """A checked image: the ISO, and what was extracted from it for machines that start a kernel directly."""

    iso: Path
    kernel: Path
    initrd: Path
    root: Path
    version: str


class Manifest(NamedTuple):
    """What an image says of itself: its version, when it was made (RFC 3339), its parts' sizes and digests."""

    version: str
    created: str
    digest: str
    parts: dict[str, tuple[iso.Extent, str]]


def location(store_root: Path) -> Path:
    """Where a store's image lies."""
    return store_root / "cache" / FILE


def cached(store_root: Path) -> Image:
    """The image of the store, whole. Raises MachineError, naming the file where there is one."""
    path = location(store_root)
    if not path.exists():
        raise MachineError(f"There is no machine image {path}: make one with 'shoal machine image build'")
    manifest = inspect(path)
    directory = path.parent / f"{_PREFIX}{manifest.digest[:16]}"
    if not _is_known(path, directory):
        with locked(store_root / "locks" / "image"):
            if not _is_known(path, directory):
                _remove_others(path.parent, directory)
                _extract(path, manifest, directory)
    kernel, initrd, root = (directory / name for name in PARTS)
    return Image(path, kernel, initrd, root, manifest.version)


def inspect(path: Path) -> Manifest:
    """What the image says of itself; the digests are not compared. Raises MachineError for what is none of ours."""
    try:
        found = iso.read(path)
        if not found.label.startswith(LABEL) or MANIFEST not in found.files:
            raise iso.IsoFault(f"is no machine image of Shoal (its label is {found.label!r})")
        text = iso.content(path, found.files[MANIFEST], _LARGEST_MANIFEST)
        return _manifest(text, found.files)
    except iso.IsoFault as fault:
        raise MachineError(f"The machine image {path} {fault}: {_AGAIN}") from fault


def _manifest(text: bytes, files: dict[str, iso.Extent]) -> Manifest:
    try:
        value: dict[str, Any] = json.loads(text)
        form, version, created = int(value["form"]), str(value["version"]), str(value["created"])
        parts = {}
        for name in PARTS:
            extent, size = files[name.upper()], int(value["files"][name]["size"])
            if extent.size != size:
                raise iso.IsoFault(f"is broken: {name} has {extent.size} bytes instead of {size}")
            parts[name] = (extent, str(value["files"][name]["sha256"]))
    except (KeyError, TypeError, ValueError) as fault:
        raise iso.IsoFault("is broken: its manifest cannot be read") from fault
    if form != FORM:
        raise iso.IsoFault(f"has form {form}, which this version of Shoal does not know")
    return Manifest(version, created, hashlib.sha256(text).hexdigest(), parts)


def _identity(path: Path) -> str:
    status = path.stat()
    return f"{status.st_size} {status.st_mtime_ns} {status.st_ino}\n"


def _is_known(path: Path, directory: Path) -> bool:
    try:
        return (directory / _SEEN).read_text() == _identity(path) and all((directory / name).exists() for name in PARTS)
    except OSError:
        return False


def _extract(path: Path, manifest: Manifest, directory: Path) -> None:
    identity = _identity(path)
    fresh = Path(tempfile.mkdtemp(prefix=f".{_PREFIX}", dir=path.parent))
    try:
        with path.open("rb") as stream:
            for name, (extent, digest) in manifest.parts.items():
                stream.seek(extent.offset)
                if _copy(stream, extent.size, fresh / name) != digest:
                    raise MachineError(
                        f"The machine image {path} is broken: the digest of its {name} is wrong: {_AGAIN}"
                    )
        (fresh / _SEEN).write_text(identity)
        _put(fresh, directory)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _copy(stream: Any, size: int, target: Path) -> str:
    digest = hashlib.sha256()
    with target.open("xb") as copy:
        while size:
            block = stream.read(min(size, _BLOCK))
            if not block:
                break
            digest.update(block)
            copy.write(block)
            size -= len(block)
    return digest.hexdigest()


def _put(fresh: Path, directory: Path) -> None:
    """Give the directory its name. What is there under it came from an equal manifest, maybe just now."""
    try:
        fresh.rename(directory)
    except OSError:
        for name in (*PARTS, _SEEN):
            # A running machine on Windows holds its files; they are the same ones.
            with contextlib.suppress(PermissionError):
                os.replace(fresh / name, directory / name)


def _remove_others(cache: Path, keep: Path) -> None:
    for other in (*cache.glob(f"{_PREFIX}*"), *cache.glob(f".{_PREFIX}*")):
        if other != keep:
            shutil.rmtree(other, ignore_errors=True)


def remove(store_root: Path) -> bool:
    """Take the image and what was extracted away; whether there was one."""
    path = location(store_root)
    if not path.parent.exists():
        return False
    existed = path.exists()
    path.unlink(missing_ok=True)
    with locked(store_root / "locks" / "image"):
        _remove_others(path.parent, path)
    return existed
