"""Raw connections: attach and exec take over the socket after the headers, in both directions.

The client may shut down its sending side (end of its standard input) and still read. aiohttp closes a connection at
that point, so `HijackableHandler` keeps it open once it was taken over. Over TLS the transport itself ends at the
client's close_notify; see `server` for what that means.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from typing import Any, cast

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.web_protocol import RequestHandler

from shoal.api.call import Call
from shoal.engine.linux import not_taken

_HIGH_WATER = 256 * 1024
_FAREWELL = 10.0
"""Seconds that a client may go on sending after a process has ended."""
_PATIENCE = 30.0
"""Seconds that a client may take to read the headers before what follows is sent behind them."""


class HijackableHandler(RequestHandler):
    """aiohttp's connection, which a handler may take over."""

    __slots__ = ("hijacked",)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.hijacked: Hijacked | None = None

    def eof_received(self) -> bool | None:  # type: ignore[override]
        """The client sends no more: True keeps the connection open for what we still have to say."""
        if self.hijacked is None:
            return None
        self.hijacked.feed_eof()
        return True


class Hijacked:
    """A connection that was taken over: `read` what the client sends, `write` what it shall see."""

    def __init__(self, handler: HijackableHandler) -> None:
        self._handler = handler
        self._chunks: asyncio.Queue[bytes] = asyncio.Queue()
        self._buffered = 0
        self._ended = False

    async def read(self) -> bytes:
        """What the client sent next; empty once it sends no more."""
        if self._ended and self._chunks.empty():
            return b""
        chunk = await self._chunks.get()
        self._buffered -= len(chunk)
        transport = self._handler.transport
        if self._buffered < _HIGH_WATER and transport is not None and not transport.is_closing():
            transport.resume_reading()
        return chunk

    async def write(self, data: bytes) -> None:
        """Send `data`; waits while the client is slow. Raises ConnectionError once it is gone."""
        transport = self._handler.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("client is gone")
        transport.write(data)
        await self._handler._drain_helper()

    async def finish(self) -> None:
        """End our side, and read what the client still sends until it ends its own, or for so long.

        To close a connection while input lies in it unread is to reset it: the client would lose our last words.
        """
        transport = self._handler.transport
        if transport is None or transport.is_closing() or not transport.can_write_eof():
            return
        transport.write_eof()
        with suppress(TimeoutError):
            async with asyncio.timeout(_FAREWELL):
                while await self.read():
                    pass

    # What aiohttp calls on the parser of a connection:

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        """Bytes came in."""
        if data and not self._ended:
            self._chunks.put_nowait(data)
            self._buffered += len(data)
            transport = self._handler.transport
            if self._buffered >= _HIGH_WATER and transport is not None:
                transport.pause_reading()
        return False, b""

    def feed_eof(self) -> None:
        """Nothing more will come in."""
        if not self._ended:
            self._ended = True
            self._chunks.put_nowait(b"")


class HijackResponse(web.StreamResponse):
    """The answer of a hijacked request: 101 (or 200, for a client that did not ask to upgrade), then raw bytes."""

    def __init__(self, content_type: str) -> None:
        super().__init__(status=101)
        self._type = content_type
        self.connection: Hijacked | None = None

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Take the connection over and send the headers; a second call does nothing."""
        if self.connection is not None:
            return None
        handler = cast(HijackableHandler, request.protocol)
        if handler.transport is None:
            raise ConnectionResetError("client is gone")
        self.force_close()
        self.connection = handler.hijacked = Hijacked(handler)
        handler.set_parser(cast(Any, self.connection))
        upgrade = request.headers.get("Upgrade")
        if upgrade:
            head = f"HTTP/1.1 101 UPGRADED\r\nContent-Type: {self._type}\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"
        else:
            head = f"HTTP/1.1 200 OK\r\nContent-Type: {self._type}\r\n"
        handler.transport.write(f"{head}\r\n".encode())
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """The raw stream has no end mark: its end is the connection's."""
        if self.connection is not None:
            await self.connection.finish()


async def hijack(call: Call, content_type: str) -> tuple[HijackResponse, Hijacked]:
    """Take over the connection of `call`. The handler returns the response when it is done; the socket then closes.

    Everything that can be refused must have been refused before: what follows the headers is raw, and is to be
    written after this has returned (see `_headers_read`).
    """
    await call.request.read()
    response = HijackResponse(content_type)
    await response.prepare(call.request)
    assert response.connection is not None
    if call.request.transport is not None:
        await _headers_read(call.request.transport)
    return response, response.connection


async def _headers_read(transport: asyncio.BaseTransport) -> None:
    """Wait until a client at a unix socket has taken the headers.

    docker-py reads them through a buffer and what follows beside it: output that lies in the socket together with them
    is lost to it. (Over TLS each write comes alone.)
    """
    sock = transport.get_extra_info("socket")
    if sock is None or sock.family != socket.AF_UNIX:
        return
    wait, deadline = 0.0002, asyncio.get_running_loop().time() + _PATIENCE
    while not transport.is_closing() and not_taken(sock.fileno()) and asyncio.get_running_loop().time() < deadline:
        await asyncio.sleep(wait)
        wait = min(wait * 1.5, 0.05)
