"""Reading an ISO 9660 file: its label, whether it is whole, and the files in its root directory.

Only what is needed to know an image of ours and to take it apart; no rights, mounts or programs are needed for it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

_SECTOR = 2048
_DESCRIPTOR = 16 * _SECTOR
_DIRECTORY = 2
_LARGEST_DIRECTORY = 1 << 20


class IsoFault(Exception):
    """It is no whole ISO; the text says why, to be put behind the file's name."""


class Extent(NamedTuple):
    """Where a file lies, in bytes."""

    offset: int
    size: int


class Iso(NamedTuple):
    """What an ISO says of itself. `files` are those of the root directory, by upper-case name without version."""

    label: str
    files: dict[str, Extent]


def read(path: Path) -> Iso:
    """Look into an ISO. Raises IsoFault, OSError."""
    with path.open("rb") as stream:
        size = stream.seek(0, 2)
        descriptor = _at(stream, _DESCRIPTOR, _SECTOR, "is no ISO image")
        if descriptor[:7] != b"\x01CD001\x01":
            raise IsoFault("is no ISO image")
        (sectors,) = struct.unpack_from("<I", descriptor, 80)
        if size < sectors * _SECTOR:
            raise IsoFault(f"ends after {size} of {sectors * _SECTOR} bytes")
        start, length = _extent(descriptor, 156)
        if length > _LARGEST_DIRECTORY:
            raise IsoFault("has no readable root directory")
        directory = _at(stream, start, length, "has no readable root directory")
        files = dict(_entries(directory))
        if any(extent.offset + extent.size > size for extent in files.values()):
            raise IsoFault("has files beyond its end")
        return Iso(descriptor[40:72].decode("ascii", "replace").rstrip(" \0"), files)


def content(path: Path, extent: Extent, limit: int) -> bytes:
    """A small file's bytes. Raises IsoFault when it has more than `limit`."""
    if extent.size > limit:
        raise IsoFault("has a file that is larger than it may be")
    with path.open("rb") as stream:
        return _at(stream, extent.offset, extent.size, "ends in the middle of a file")


def _at(stream: BinaryIO, offset: int, size: int, otherwise: str) -> bytes:
    stream.seek(offset)
    data = stream.read(size)
    if len(data) != size:
        raise IsoFault(otherwise)
    return data


def _extent(record: bytes, at: int) -> Extent:
    # Numbers are there twice, little endian first.
    (sector,) = struct.unpack_from("<I", record, at + 2)
    (size,) = struct.unpack_from("<I", record, at + 10)
    return Extent(sector * _SECTOR, size)


def _entries(directory: bytes) -> Iterator[tuple[str, Extent]]:
    at = 0
    while at < len(directory):
        length = directory[at]
        if length == 0:  # records do not cross sectors
            at = (at // _SECTOR + 1) * _SECTOR
            continue
        record = directory[at : at + length]
        if len(record) < 34 or 33 + record[32] > len(record):
            raise IsoFault("has no readable root directory")
        if not record[25] & _DIRECTORY:
            name = record[33 : 33 + record[32]].decode("ascii", "replace")
            yield name.partition(";")[0].rstrip(".").upper(), _extent(record, 0)
        at += length
