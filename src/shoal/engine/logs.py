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
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, NamedTuple

from shoal.engine.linux import Inotify
from shoal.model.base import Struct

LONGEST = 16 * 1024
"""Bytes after which a line is passed on in pieces, as docker does."""
_BLOCK = 64 * 1024
"""Bytes that are read and parsed in one go, some milliseconds; then others may have their turn."""


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
    """The log's files, newest first."""
    old = [path for path in log.parent.glob(f"{log.name}.*") if path.suffix[1:].isdecimal()]
    return [*([log] if log.exists() else []), *sorted(old, key=lambda path: int(path.suffix[1:]))]


class LogReader:
    """Reads a log to its present end, and on from there, whatever is rotated meanwhile. `close` it.

    It gives None after each block, also where no line of it was wanted: the moment to let others have the event loop.
    """

    def __init__(self, log: Path, options: LogOptions) -> None:
        self._log, self._options = log, options
        self._assembler = Assembler()
        self._pending = b""
        self._file: IO[bytes] | None = None

    def history(self, final: bool) -> Iterator[LogLine | None]:
        """The lines that are there now, the last `tail` of them; `final`: unfinished ones too."""
        if self._options.tail < 0:
            yield from self._past(final)
            return
        last: deque[LogLine] = deque(maxlen=self._options.tail)
        for line in self._past(final):
            if line is None:
                yield None
            else:
                last.append(line)
        yield from last

    def _past(self, final: bool) -> Iterator[LogLine | None]:
        self._skip()
        yield from self.more()
        if final:
            yield from self.rest()

    def _skip(self) -> None:
        """Begin near the end, if the newest file has all of the last lines that alone are asked."""
        options = self._options
        everything = options.stdout and options.stderr and options.since is None and options.until is None
        if options.tail < 0 or not everything:
            return
        self._open(self._log)
        offset = tail_offset(self._file, options.tail) if self._file else None
        if self._file and offset is not None:
            self._file.seek(offset)
        else:
            self.close()

    def _open(self, path: Path) -> None:
        self.close()
        self._pending = b""
        with suppress(FileNotFoundError):
            self._file = path.open("rb")

    def more(self) -> Iterator[LogLine | None]:
        """The lines that came since."""
        while True:
            newest = self._successor() is None  # asked first: a file that has a successor gets no more lines
            yield from self._rest_of_file()
            if newest or not (successor := self._successor()):
                return
            self._open(successor)

    def _successor(self) -> Path | None:
        """The file after the one that is read, which rotation may have renamed, or removed as the oldest."""
        newer = None
        with suppress(FileNotFoundError):  # a container's log is removed with it
            for path in files(self._log):
                # While a log is rotated, `<log>` and `<log>.1` are one file: the newer name is met first.
                if self._file is not None and os.path.samefile(path, self._file.fileno()):
                    break
                newer = path
        return newer

    def _rest_of_file(self) -> Iterator[LogLine | None]:
        while self._file is not None and (block := self._file.read(_BLOCK)):
            *lines, self._pending = (self._pending + block).split(b"\n")
            for raw in lines:
                line = self._assembler.feed(raw + b"\n")
                if line is not None and wanted(line, self._options):
                    yield line
            yield None

    def rest(self) -> list[LogLine]:
        """Unfinished lines, when nothing more will come."""
        return [line for line in self._assembler.rest() if wanted(line, self._options)]

    def close(self) -> None:
        """Let the file go."""
        if self._file is not None:
            self._file.close()
            self._file = None


def tail_offset(file: IO[bytes], lines: int) -> int | None:
    """Where the last `lines` whole lines of the container begin in this file; None when it has not more than those."""
    if not os.fstat(file.fileno()).st_size:
        return None
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
        found, end = 0, text.rfind(b"\n") + 1
        while end > 0:
            start = text.rfind(b"\n", 0, end - 1) + 1
            fields = text[start : min(end, start + 64)].split(b" ", 3)
            if len(fields) == 4 and fields[2] == b"F":
                if found == lines:
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
                if over:
                    break
                await bell.wait(1.0)
            for line in reader.rest():
                yield line
    finally:
        reader.close()


async def _politely(lines: Iterator[LogLine | None]) -> AsyncIterator[LogLine]:
    """The lines, letting others have the event loop now and then."""
    for number, line in enumerate(lines, 1):
        if line is not None:
            yield line
        if line is None or number % 256 == 0:
            await asyncio.sleep(0)
