"""The Engine API's server: listeners, connections, and a clean end."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import StreamReader

from shoal.api.certificates import Certificates
from shoal.api.context import Context
from shoal.api.dispatch import HEADERS, Dispatcher
from shoal.api.hijack import HijackableHandler
from shoal.api.listen import TlsOptions, address
from shoal.api.routes import ROUTES
from shoal.api.routing import Route, Router
from shoal.api.tls import TlsProtocol
from shoal.kit.tasks import background

_log = logging.getLogger(__name__)

MAX_HEAD = 1024 * 1024
"""Bytes of a request line, or of a header: as many as Go's servers read; `docker save` of many images has long ones."""
MAX_BODY = 4 * 1024 * 1024
"""Bytes of a JSON body that are read; archives are streamed and have no limit."""


class ApiRequest(web.BaseRequest):
    """A request that remembers whether its answer has begun, and gives every answer the API's headers."""

    begun = False

    async def _prepare_hook(self, response: web.StreamResponse) -> None:
        self.begun = True
        response.headers.update(HEADERS)


class _Connections(web.Server):
    """aiohttp's server over connections that can be hijacked. A client that leaves cancels its handler."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        super().__init__(
            dispatcher, request_factory=self._request, handler_cancellation=True, access_log=None,
            max_line_size=MAX_HEAD, max_field_size=MAX_HEAD,
        )  # fmt: skip

    def __call__(self) -> HijackableHandler:
        return HijackableHandler(self, loop=self._loop, **self._kwargs)

    def _request(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: web.RequestHandler,
        writer: AbstractStreamWriter,
        task: asyncio.Task[None],
    ) -> ApiRequest:
        return ApiRequest(message, payload, protocol, writer, task, self._loop, client_max_size=MAX_BODY)


class ApiServer:
    """The API on any number of sockets. Made by `serve`."""

    def __init__(self, connections: _Connections) -> None:
        self._connections = connections
        self._listeners: list[asyncio.AbstractServer] = []

    async def listen(self, listener: socket.socket, tls: TlsOptions | None = None) -> None:
        """Answer on `listener` too, a listening socket. TLS is for TCP only."""
        loop = asyncio.get_running_loop()
        if listener.family == socket.AF_UNIX:
            server = await loop.create_unix_server(self._connections, sock=listener.dup())
        elif tls is not None:
            certificates = Certificates(tls)
            server = await loop.create_server(
                lambda: TlsProtocol(certificates.context(), self._connections), sock=listener.dup()
            )
        else:
            server = await loop.create_server(self._connections, sock=listener.dup())
            _log.warning("the API on %s is open to everybody who reaches it: use --tlsverify", address(listener))
        self._listeners.append(server)
        _log.info("the API listens on %s", address(listener))

    async def close(self) -> None:
        """Accept nothing more, and end what is open."""
        for server in self._listeners:
            server.close()
        await self._connections.shutdown(timeout=1.0)


@asynccontextmanager
async def serve(context: Context, routes: Iterable[Iterable[Route]] = ROUTES) -> AsyncIterator[ApiServer]:
    """A scope in which the API is served, on the sockets given to `listen`."""
    async with background() as group:
        server = ApiServer(_Connections(Dispatcher(Router(routes), context, group)))
        try:
            yield server
        finally:
            await server.close()
