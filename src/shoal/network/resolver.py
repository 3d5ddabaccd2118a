"""The name server in every sandbox: its sockets live in the container's namespace on free ports of 127.0.0.11, and the
container's nftables table leads port 53 of that address to them, so that a container may serve names itself.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import cast

from shoal.network import upstream
from shoal.network.answers import answer, refusal
from shoal.network.files import RESOLVER
from shoal.network.kernel.namespaces import Namespace
from shoal.network.names import Names

log = logging.getLogger(__name__)

_FORWARDS = 512
"""Questions to others under way at once, for all containers; more are refused, not queued."""
_IDLE = 10.0
"""Seconds that an idle TCP connection may stay open."""


@dataclass(frozen=True, slots=True)
class Client:
    """A container that asks. `servers`: of its own (asked from inside its namespace), else the host's are used."""

    netns: str
    views: Callable[[], Sequence[Names]]
    servers: tuple[str, ...] = ()


@dataclass(slots=True)
class _Service:
    transport: asyncio.DatagramTransport
    server: asyncio.Server
    ports: tuple[int, int]
    client: Client
    connections: set[asyncio.StreamWriter] = field(default_factory=set)


class Resolver:
    """All name servers of a node. `group` is where questions to others run; `host_servers` reads the host's."""

    def __init__(
        self, node: Namespace, group: asyncio.TaskGroup, host_servers: Callable[[], Sequence[str]], rng: Random
    ) -> None:
        self._node = node
        self._group = group
        self._host_servers = host_servers
        self._rng = rng
        self._services: dict[str, _Service] = {}
        self._forwards = 0

    async def serve(self, container_id: str, client: Client) -> tuple[int, int]:
        """Serve a container's sandbox; the UDP and TCP port. One that is served already keeps its ports."""
        if service := self._services.get(container_id):
            service.client = client
            return service.ports
        loop = asyncio.get_running_loop()
        datagrams, stream = _sockets(client.netns)
        ports = (datagrams.getsockname()[1], stream.getsockname()[1])
        transport, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(self, container_id), sock=datagrams)
        server = await asyncio.start_server(lambda r, w: self._connection(container_id, r, w), sock=stream)
        self._services[container_id] = _Service(transport, server, ports, client)
        return ports

    def stop(self, container_id: str) -> None:
        """Close a sandbox's sockets, which would keep its namespace alive. Idempotent."""
        if service := self._services.pop(container_id, None):
            service.transport.close()
            service.server.close()
            for writer in service.connections:
                writer.transport.abort()

    def close(self) -> None:
        """Close all."""
        for container_id in list(self._services):
            self.stop(container_id)

    def question(self, container_id: str, query: bytes, reply: Callable[[bytes], None]) -> None:
        """A datagram came in: answer at once what is ours, and ask others in the background."""
        service = self._services.get(container_id)
        if not service:
            return
        own = answer(query, service.client.views(), self._rng, tcp=False)
        if own is not None:
            if own:
                reply(own)
        elif self._forwards >= _FORWARDS:
            reply(refusal(query))
        else:
            self._group.create_task(self._forward_udp(service.client, query, reply))

    async def _forward_udp(self, client: Client, query: bytes, reply: Callable[[bytes], None]) -> None:
        reply(await self._forward(client, query, tcp=False))

    async def _forward(self, client: Client, query: bytes, *, tcp: bool) -> bytes:
        self._forwards += 1
        try:
            if not client.servers:
                found = await upstream.ask(query, self._host_servers(), self._node, tcp=tcp)
            else:
                with Namespace.at(client.netns).held() as namespace:
                    found = await upstream.ask(query, client.servers, namespace, tcp=tcp)
        except Exception:  # one odd question must not end the others
            log.exception("cannot ask for a container's name")
            found = None
        finally:
            self._forwards -= 1
        return found if found is not None else refusal(query)

    async def _connection(self, container_id: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        service = self._services.get(container_id)
        if not service:
            writer.close()
            return
        service.connections.add(writer)
        try:
            while True:
                async with asyncio.timeout(_IDLE):
                    (length,) = struct.unpack(">H", await reader.readexactly(2))
                    query = await reader.readexactly(length)
                reply = answer(query, service.client.views(), self._rng, tcp=True)
                if reply is None:
                    reply = await self._forward(service.client, query, tcp=True)
                if not reply:
                    return
                writer.write(struct.pack(">H", len(reply)) + reply)
                await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            pass
        finally:
            service.connections.discard(writer)
            writer.close()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, resolver: Resolver, container_id: str) -> None:
        self._resolver = resolver
        self._container_id = container_id
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)  # neither loop's class says so

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._resolver.question(self._container_id, data, lambda reply: self._send(reply, addr))

    def _send(self, reply: bytes, addr: tuple[str, int]) -> None:
        if self._transport and not self._transport.is_closing():
            self._transport.sendto(reply, addr)


def _sockets(netns: str | Path) -> tuple[socket.socket, socket.socket]:
    with Namespace.at(netns).held() as namespace, namespace.entered():
        datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        stream = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        datagrams.bind((RESOLVER, 0))
        stream.bind((RESOLVER, 0))
        stream.listen(64)
    except BaseException:
        datagrams.close()
        stream.close()
        raise
    return datagrams, stream
