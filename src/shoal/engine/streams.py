"""The streams of a process that we started ourselves (exec): pipes, or one terminal."""

from __future__ import annotations

import asyncio
import fcntl
import os
import struct
import termios
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress

from shoal.engine.linux import settler, writable

_CHUNK = 32 * 1024
_GRACE = 2.0
"""Seconds without output after which the streams of a process that has ended do, too: a child of its in the background
may hold them for ever (dockerd's number)."""


class ProcessStreams:
    """Output of some descriptors as (stream, data); input to another. It owns and closes them all."""

    def __init__(self, outputs: Mapping[int, int], stdin: int = -1, terminal: int = -1) -> None:
        """`outputs`: descriptor -> stream. With `terminal`, that one is input and output (stream 1)."""
        self._outputs = dict(outputs) if terminal < 0 else {terminal: 1}
        self._stdin = stdin if terminal < 0 else terminal
        self._terminal = terminal
        for descriptor in {*self._outputs, self._stdin} - {-1}:
            os.set_blocking(descriptor, False)
        self._wake: asyncio.Future[None] | None = None
        self._patience: float | None = None
        self._closing = False

    def __aiter__(self) -> AsyncIterator[tuple[int, bytes]]:
        return self._frames()

    async def _frames(self) -> AsyncIterator[tuple[int, bytes]]:
        while self._outputs and not self._closing:
            idle = True
            for descriptor, stream in list(self._outputs.items()):
                try:
                    data = os.read(descriptor, _CHUNK)
                except BlockingIOError:
                    continue
                except OSError:  # EIO: the other side of the terminal is closed
                    data = b""
                idle = False
                if data:
                    yield stream, data
                else:
                    self._drop(descriptor)
            if idle and not await self._ready():
                return

    async def _ready(self) -> bool:
        """Wait until there is something to read, or to notice; False when that took too long."""
        loop = asyncio.get_running_loop()
        self._wake = wake = loop.create_future()
        watched = list(self._outputs)
        for descriptor in watched:
            loop.add_reader(descriptor, settler(wake))
        try:
            async with asyncio.timeout(self._patience):
                await wake
        except TimeoutError:
            return False
        finally:
            self._wake = None
            for descriptor in watched:
                loop.remove_reader(descriptor)
        return True

    def expire(self) -> None:
        """The process has ended: what it has still to say is there, or comes soon."""
        self._patience = _GRACE
        self._notice()

    def _notice(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    def _drop(self, descriptor: int) -> None:
        self._outputs.pop(descriptor, None)
        if descriptor == self._terminal:
            self._terminal = self._stdin = -1
        os.close(descriptor)

    async def write(self, data: bytes) -> None:
        """Input for the process; goes nowhere once it is closed."""
        view = memoryview(data)
        while view and self._stdin >= 0:
            try:
                view = view[os.write(self._stdin, view[:_CHUNK]) :]
            except BlockingIOError:
                await writable(self._stdin)
            except OSError:
                return

    async def close_stdin(self) -> None:
        """End of input; a terminal stays open, as it does with docker."""
        if self._stdin >= 0 and self._terminal < 0:
            os.close(self._stdin)
            self._stdin = -1

    def resize(self, height: int, width: int) -> None:
        """Tell the terminal its size in characters; without a terminal, nothing."""
        if self._terminal >= 0:
            with suppress(OSError):
                fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))

    def close(self) -> None:
        """Close everything; whoever iterates comes to an end."""
        self._closing = True
        self._notice()
        if self._stdin >= 0 and self._stdin != self._terminal:
            os.close(self._stdin)
        self._stdin = -1
        for descriptor in list(self._outputs):
            self._drop(descriptor)
