"""Being attached to a container: its output as it comes, its input, through conmon's socket.

The socket keeps message boundaries (SEQPACKET): the first byte says 2 = stdout, 3 = stderr.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path

from shoal.engine.linux import readable, writable

_PACKET = 65536
_INPUT = 8192
_STREAMS = {2: 1, 3: 2}


class Attachment:
    """One client of a container. Iterate it for (stream, data) with stream 1 or 2, until the container ends.

    It may be made before the container starts; it is connected before the first byte of output then.
    """

    def __init__(self, *, stdin: bool = True, stdout: bool = True, stderr: bool = True) -> None:
        self._wanted = {stream for stream, on in ((1, stdout), (2, stderr)) if on}
        self._stdin = stdin
        self._socket: socket.socket | None = None
        self._connected = asyncio.Event()
        self._closed = self._reading = False

    def connect(self, bundle: Path) -> None:
        """Connect to the container whose bundle this is. When it is gone already, there is simply no output."""
        folder = -1
        link = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
        try:
            folder = os.open(bundle, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            link.connect(f"/proc/self/fd/{folder}/attach")  # a path in `bundle` itself may exceed 108 bytes
            self._socket = link
        except OSError:
            link.close()
        finally:
            if folder >= 0:
                os.close(folder)
            self._connected.set()

    def abandon(self) -> None:
        """The container will not start: end the output."""
        self._connected.set()

    def __aiter__(self) -> AsyncIterator[tuple[int, bytes]]:
        return self._frames()

    async def _frames(self) -> AsyncIterator[tuple[int, bytes]]:
        await self._connected.wait()
        if self._socket is None or self._closed:
            return
        self._reading = True
        try:
            while packet := await self._packet(self._socket):
                stream = _STREAMS.get(packet[0], 1)
                if stream in self._wanted:
                    yield stream, packet[1:]
        finally:
            self._reading = False
            if self._closed:
                self._socket.close()

    async def _packet(self, link: socket.socket) -> bytes:
        while True:
            try:
                return link.recv(_PACKET)
            except BlockingIOError:
                await readable(link.fileno())
            except ConnectionResetError:
                continue  # said once, of input that the container has not read; its last output comes after it
            except OSError:
                return b""

    async def write(self, data: bytes) -> None:
        """Input for the container. After its end, input goes nowhere."""
        await self._connected.wait()
        view = memoryview(data)
        while view and self._stdin and self._socket is not None and not self._closed:
            try:
                view = view[self._socket.send(view[:_INPUT]) :]
            except BlockingIOError:
                await writable(self._socket.fileno())
            except OSError:
                return

    async def close_stdin(self) -> None:
        """End of input (the client's half close); output goes on."""
        await self._connected.wait()
        if self._socket is not None and self._stdin:
            try:
                self._socket.shutdown(socket.SHUT_WR)
            except OSError:
                pass

    def close(self) -> None:
        """Detach; the container runs on. Whoever iterates comes to an end."""
        if self._closed:
            return
        self._closed = True
        self._connected.set()
        if self._socket is not None:
            try:
                self._socket.shutdown(socket.SHUT_RDWR)  # wakes the reader; closing alone would not
            except OSError:
                pass
            if not self._reading:
                self._socket.close()
