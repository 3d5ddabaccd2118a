"""A file with a machine in it: a compressed tar of a manifest and of the machine's files, holes of disks left out.

What is read may come from anybody. The manifest says which files follow, in which order and how long; whatever is not
exactly that is refused: links, devices, other names, names that lead out of the directory, more bytes than there is
room for. Files are made where there was nothing, for their owner alone.
"""

from __future__ import annotations

import gzip
import io
import os
import re
import shutil
import tarfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, NamedTuple, cast

import msgspec

from shoal.machine.errors import MachineError
from shoal.model.base import known

FORMAT = 1
_MANIFEST = "shoal-machine.json"
_LARGEST_MANIFEST = 8 << 20
_MOST_FILES, _DEEPEST, _LONGEST_NAME = 10_000, 16, 8192
_BLOCK = 1 << 20
_WINDOWS_DEVICES = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?")


class Entry(msgspec.Struct, frozen=True):
    """A file: its path in the machine's directory, its length, and which stretches of it (offset, length) are there."""

    path: str
    size: int
    stretches: list[tuple[int, int]]

    @property
    def stored(self) -> int:
        """How many bytes of it are in the archive."""
        return sum(length for _, length in self.stretches)


class Manifest(msgspec.Struct, frozen=True):
    """What an archive holds. `kind`: `access` or `whole`."""

    format: int
    kind: str
    name: str
    exported: str
    files: list[Entry]


class _Members:
    """The plain files of a tar, in its order. (tarfile itself reads as much of a header as the header says.)"""

    def __init__(self, stream: gzip.GzipFile) -> None:
        self._stream = stream
        self._left, self._padding = 0, 0

    def next(self) -> tarfile.TarInfo | None:
        """The header of the next file, None behind the last; what the one before holds must have been read.

        Raises MachineError for whatever is no plain file, tarfile.TarError for what is no header.
        """
        header = self._header()
        if header is not None and header.type == tarfile.GNUTYPE_LONGNAME and header.size <= _LONGEST_NAME:
            name = self.read(header.size).partition(b"\0")[0].decode(errors="surrogateescape")
            header = self._header()
            if header is not None:
                header.name = name
        if header is not None and header.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
            raise MachineError(f"it holds {header.name!r}, which is no plain file")
        return header

    def read(self, size: int) -> bytes:
        """At most so many bytes of the file."""
        data = self._stream.read(min(size, self._left))
        self._left -= len(data)
        return data

    def _header(self) -> tarfile.TarInfo | None:
        self._stream.read(self._padding)
        block = self._stream.read(tarfile.BLOCKSIZE)
        if len(block) < tarfile.BLOCKSIZE or not any(block):
            return None
        header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        if header.size < 0:  # a stream takes that for: everything
            raise MachineError(f"it holds {header.name!r}, which is no plain file")
        self._left, self._padding = header.size, -header.size % tarfile.BLOCKSIZE
        return header


class Source(NamedTuple):
    """A file to be put in: from the disk, or these bytes."""

    path: str
    content: Path | bytes


def write(sink: IO[bytes], kind: str, name: str, exported: str, sources: Iterable[Source]) -> None:
    """Write an archive. The files must not change meanwhile. Raises OSError."""
    sources = list(sources)
    entries = [Entry(source.path, *_extent(source.content)) for source in sources]
    manifest = msgspec.json.format(msgspec.json.encode(Manifest(FORMAT, kind, name, exported, entries)))
    with (
        gzip.GzipFile("", "wb", compresslevel=1, fileobj=sink, mtime=0) as squeezed,
        tarfile.open(fileobj=squeezed, mode="w|", format=tarfile.GNU_FORMAT) as tar,
    ):
        _add(tar, _MANIFEST, len(manifest), io.BytesIO(manifest))
        for source, entry in zip(sources, entries, strict=True):
            if isinstance(source.content, bytes):
                _add(tar, entry.path, entry.size, io.BytesIO(source.content))
            else:
                with source.content.open("rb") as file:
                    _add(tar, entry.path, entry.stored, cast("IO[bytes]", _Stretches(file, entry.stretches)))


def _add(tar: tarfile.TarFile, path: str, size: int, content: IO[bytes]) -> None:
    member = tarfile.TarInfo(path)
    member.size, member.mode = size, 0o600
    tar.addfile(member, content)


class _Stretches:
    """Those stretches of a file, one behind the other."""

    def __init__(self, file: IO[bytes], stretches: Iterable[tuple[int, int]]) -> None:
        self._file, self._left = file, list(stretches)

    def read(self, size: int) -> bytes:
        data = b""
        while len(data) < size and self._left:
            offset, length = self._left.pop(0)
            self._file.seek(offset)
            piece = self._file.read(min(length, size - len(data)))
            if not piece:
                raise OSError(0, "the file became shorter while it was read", getattr(self._file, "name", None))
            if len(piece) < length:
                self._left.insert(0, (offset + len(piece), length - len(piece)))
            data += piece
        return data


def _extent(content: Path | bytes) -> tuple[int, list[tuple[int, int]]]:
    if isinstance(content, bytes):
        return len(content), [(0, len(content))] if content else []
    with content.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        return size, list(_stretches(file.fileno(), size))


def _stretches(descriptor: int, size: int) -> Iterator[tuple[int, int]]:
    """Where the file has data; all of it where the system does not tell."""
    if not hasattr(os, "SEEK_DATA"):
        if size:
            yield 0, size
        return
    offset = 0
    while offset < size:
        try:
            begin = os.lseek(descriptor, offset, os.SEEK_DATA)
        except OSError:
            return  # nothing but a hole from here on
        end = os.lseek(descriptor, begin, os.SEEK_HOLE)
        yield begin, min(end, size) - begin
        offset = end


def unpack(source: IO[bytes], directory: Path) -> Manifest:
    """Read an archive into the empty `directory`. Raises MachineError for whatever is not as it should be."""
    try:
        with gzip.GzipFile("", "rb", fileobj=source) as opened:
            members = _Members(opened)
            manifest = _manifest(members)
            check(manifest, shutil.disk_usage(directory).free)
            for entry in manifest.files:
                _unpack_one(members, entry, directory)
            # Nothing but the last record's padding is left, at most a record; behind it gzip compares its checksum.
            if members.next() is not None or len(opened.read(tarfile.RECORDSIZE + 1)) > tarfile.RECORDSIZE:
                raise MachineError("it holds more than its list says")
    except (tarfile.TarError, zlib.error, EOFError, gzip.BadGzipFile, msgspec.DecodeError) as fault:
        raise MachineError(f"not an exported machine, or damaged: {fault}") from fault
    return manifest


def _manifest(members: _Members) -> Manifest:
    if _next(members, _MANIFEST).size > _LARGEST_MANIFEST:
        raise MachineError("its list of files is too long")
    raw = msgspec.json.decode(members.read(_LARGEST_MANIFEST))
    if isinstance(raw, Mapping) and raw.get("format") != FORMAT:
        raise MachineError(f"it was made by another version: format {raw.get('format')}, this one knows {FORMAT}")
    return msgspec.convert(raw, known(Manifest))


def _next(members: _Members, path: str) -> tarfile.TarInfo:
    """The next file, which must be this one."""
    member = members.next()
    if member is None:
        raise MachineError(f"{path} is missing in it")
    if member.name != path:
        raise MachineError(f"it holds {member.name!r} where {path!r} should be")
    return member


def check(manifest: Manifest, room: int) -> None:
    """Whether such an archive may be unpacked where `room` bytes are free. Raises MachineError. Pure."""
    if len(manifest.files) > _MOST_FILES:
        raise MachineError(f"it holds {len(manifest.files)} files, {_MOST_FILES} at most are taken")
    seen: set[str] = set()
    for entry in manifest.files:
        _check_path(entry.path)
        if entry.path.casefold() in seen:
            raise MachineError(f"it holds {entry.path!r} twice")
        seen.add(entry.path.casefold())
        end = 0
        for offset, length in entry.stretches:
            if offset < end or length < 1 or offset + length > entry.size:
                raise MachineError(f"what it says about the length of {entry.path!r} makes no sense")
            end = offset + length
        if not 0 <= entry.size < 1 << 53:
            raise MachineError(f"what it says about the length of {entry.path!r} makes no sense")
    needed = sum(entry.stored for entry in manifest.files)
    if needed > room:
        raise MachineError(f"it needs {needed >> 20} MB, and there is room for {room >> 20} MB")


def _check_path(path: str) -> None:
    parts = path.split("/")
    for part in parts:
        bad = part in ("", ".", "..") or part[-1] in ". " or len(part.encode(errors="replace")) > 255
        if bad or not part.isprintable() or set(part) & set('\\:*?"<>|') or _WINDOWS_DEVICES.fullmatch(part):
            raise MachineError(f"it holds a file of the name {path!r}, which is not taken")
    if len(parts) > _DEEPEST:
        raise MachineError(f"it holds a file of the name {path!r}, which is not taken")


def _unpack_one(members: _Members, entry: Entry, directory: Path) -> None:
    if _next(members, entry.path).size != entry.stored:
        raise MachineError(f"{entry.path} is not as long in it as its list says")
    target = directory.joinpath(*entry.path.split("/"))
    try:
        for parent in reversed(target.relative_to(directory).parents):
            (directory / parent).mkdir(mode=0o700, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0)
        descriptor = os.open(target, flags, 0o600)
    except (FileExistsError, NotADirectoryError) as fault:
        raise MachineError(f"it holds {entry.path!r} twice, or as file and as directory") from fault
    with os.fdopen(descriptor, "wb") as file:
        file.truncate(entry.size)
        for offset, length in entry.stretches:
            file.seek(offset)
            left = length
            while left:
                block = members.read(min(left, _BLOCK))
                if not block:
                    raise MachineError(f"{entry.path} ends too early in it")
                file.write(block)
                left -= len(block)
