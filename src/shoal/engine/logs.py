"""Container logs: files that conmon writes, read line by line, followed, and rotated.

A line of the file is `<RFC 3339 time> <stdout|stderr> <F|P> <text>`; P marks a part of a line, whose rest follows in
another line of the same stream (the CRI log format). `<log>.1`, `<log>.2`, ... are older, as rotation left them.
"""

from __future__ import annotations

import asyncio
import mmap
import os
import re
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, NamedTuple

from shoal.engine.linux import Inotify
from shoal.model.base import Struct

LONGEST = 16 * 1024
"""Bytes after which a line is passed on in pieces, as docker does."""
_BLOCK = 256 * 1024


class LogOptions(Struct, frozen=True):
    """Which lines: `tail` -1 is all; `since` and `until` bound the moment."""

    stdout: bool = True
    stderr: bool = True
    follow: bool = False
    tail: int = -1
    since: datetime | None = None
    until: datetime | None = None


class LogLine(NamedTuple):
    """One line with its newline (an unfinished last line has none). `stream` 1 is stdout, 2 stderr.

    `stamp` is the moment as the log has it, to the nanosecond: `2006-01-02T15:04:05.000000000Z`.
    """

    stream: int
    moment: datetime
    data: bytes
    stamp: str = ""


class Assembler:
    """Joins parts of lines: feed it lines of the file, get whole lines of the container."""

    def __init__(self) -> None:
        self._parts: dict[int, LogLine] = {}

    def feed(self, line: bytes) -> LogLine | None:
        """The container's line that `line` completes; None when more is to come, or it is no log line."""
        fields = line.split(b" ", 3)
        if len(fields) < 4 or fields[2] not in (b"F", b"P") or fields[1] not in (b"stdout", b"stderr"):
            return None
        stream = 1 if fields[1] == b"stdout" else 2
        text = fields[3] if fields[2] == b"F" else fields[3].removesuffix(b"\n")
        started = self._parts.pop(stream, None)
        if started is None:
            when = _moment(fields[0].decode(errors="replace"))
            if when is None:
                return None
            started = LogLine(stream, when[1], b"", when[0])
        whole = started._replace(data=started.data + text)
        if fields[2] == b"F" or len(whole.data) >= LONGEST:
            return whole
        self._parts[stream] = whole
        return None

    def rest(self) -> list[LogLine]:
        """What is left of lines that never got their end."""
        left = sorted(self._parts.values(), key=lambda line: line.moment)
        self._parts.clear()
        return left


_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)")


def _moment(text: str) -> tuple[str, datetime] | None:
    """conmon's time in docker's form (nine decimals, Z), and as a datetime; None when it is no time."""
    match = _TIME.fullmatch(text)
    if not match:
        return None
    digits = (match[2] or "").ljust(9, "0")
    try:
        moment = datetime.fromisoformat(f"{match[1]}.{digits[:6]}{match[3]}").astimezone(UTC)
    except ValueError:
        return None
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{digits}Z", moment


def files(log: Path) -> list[Path]:
    """The log's files that exist, oldest first."""
    old = []
    number = 1
    while (path := Path(f"{log}.{number}")).exists():
        old.append(path)
        number += 1
    return [*reversed(old), *([log] if log.exists() else [])]


class LogReader:
    """Reads a log to its present end, and on from there. Blocking; `close` it."""

    def __init__(self, log: Path, options: LogOptions) -> None:
        self._log, self._options = log, options
        self._assembler = Assembler()
        self._pending = b""
        self._handle: IO[bytes] | None = None

    def history(self, final: bool) -> Iterator[LogLine]:
        """The lines that are there now, the last `tail` of them; `final`: unfinished ones too."""
        lines = self._past(final)
        if self._options.tail < 0:
            yield from lines
        else:
            yield from deque(lines, maxlen=self._options.tail)

    def _past(self, final: bool) -> Iterator[LogLine]:
        for path, offset in self._files():
            self._open(path)
            if self._handle is not None:
                self._handle.seek(offset)
            yield from self.more()
        if final:
            yield from self.rest()

    def _files(self) -> list[tuple[Path, int]]:
        """What to read from where; of a long log whose last lines alone are asked, only its end."""
        options, paths = self._options, files(self._log)
        everything = options.stdout and options.stderr and options.since is None and options.until is None
        if options.tail >= 0 and everything and paths:
            offset = tail_offset(paths[-1], options.tail)
            if offset is not None:
                return [(paths[-1], offset)]
        return [(path, 0) for path in paths]

    def _open(self, path: Path) -> None:
        self.close()
        self._pending = b""
        try:
            self._handle = path.open("rb")
        except FileNotFoundError:
            self._handle = None

    def more(self) -> Iterator[LogLine]:
        """The lines that came since."""
        while self._handle is not None and (block := self._handle.read(_BLOCK)):
            *lines, self._pending = (self._pending + block).split(b"\n")
            for raw in lines:
                line = self._assembler.feed(raw + b"\n")
                if line is not None and wanted(line, self._options):
                    yield line

    def rotated(self) -> bool:
        """Whether the log's name means another file now; then that one is opened, after this was read to its end."""
        try:
            new = os.stat(self._log)
        except FileNotFoundError:
            return False
        if self._handle is not None and os.fstat(self._handle.fileno()).st_ino == new.st_ino:
            return False
        self._open(self._log)
        return True

    def rest(self) -> list[LogLine]:
        """Unfinished lines, when nothing more will come."""
        return [line for line in self._assembler.rest() if wanted(line, self._options)]

    def close(self) -> None:
        """Let the file go."""
        if self._handle is not None:
            self._handle.close()


def tail_offset(path: Path, count: int) -> int | None:
    """Where the last `count` whole lines of the container begin in this file; None when it has not more than those."""
    with path.open("rb") as file:
        if not os.fstat(file.fileno()).st_size:
            return None
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
            found, end = 0, text.rfind(b"\n") + 1
            while end > 0:
                start = text.rfind(b"\n", 0, end - 1) + 1
                fields = text[start : min(end, start + 64)].split(b" ", 3)
                if len(fields) == 4 and fields[2] == b"F":
                    if found == count:
                        return end
                    found += 1
                end = start
    return None


def wanted(line: LogLine, options: LogOptions) -> bool:
    """Whether the stream and the moment are among those asked."""
    return (
        (options.stdout if line.stream == 1 else options.stderr)
        and (options.since is None or line.moment >= options.since)
        and (options.until is None or line.moment <= options.until)
    )


async def stream(log: Path, options: LogOptions, inotify: Inotify, ended: Callable[[], bool]) -> AsyncIterator[LogLine]:
    """The log's lines; with `follow` also those to come, until `ended()` (the container is not running any more)."""
    reader = LogReader(log, options)
    try:
        if not options.follow:
            async for line in _politely(reader.history(final=True)):
                yield line
            return
        with inotify.watch(log.parent) as bell:
            async for line in _politely(reader.history(final=False)):
                yield line
            while True:
                over = ended() or (options.until is not None and options.until <= datetime.now(UTC))
                async for line in _politely(reader.more()):  # `ended` was asked before: this is everything
                    yield line
                if reader.rotated():
                    continue
                if over:
                    break
                await bell.wait(1.0)
            for line in reader.rest():
                yield line
    finally:
        reader.close()


async def _politely(lines: Iterator[LogLine]) -> AsyncIterator[LogLine]:
    """The lines, letting others have the event loop now and then."""
    for number, line in enumerate(lines, 1):
        yield line
        if number % 256 == 0:
            await asyncio.sleep(0)
