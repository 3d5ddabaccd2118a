"""Asking the name servers that are not ours."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Iterable

from shoal.network.kernel.namespaces import Namespace

_TRY = 2.0
"""Seconds for one server; clients of a resolver give up after five."""


async def ask(query: bytes, servers: Iterable[str], namespace: Namespace, *, tcp: bool) -> bytes | None:
    """The first answer from one of `servers`, asked one after the other from inside `namespace`; None without any."""
    for server in servers:
        try:
            async with asyncio.timeout(_TRY):
                return await (_ask_tcp if tcp else _ask_udp)(query, server, namespace)
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            continue
    return None


async def _ask_udp(query: bytes, server: str, namespace: Namespace) -> bytes:
    loop = asyncio.get_running_loop()
    with _socket(namespace, server, socket.SOCK_DGRAM) as made:
        made.connect((server, 53))  # of a datagram socket: does not wait
        await loop.sock_sendall(made, query)
        while True:
            reply = await loop.sock_recv(made, 65535)
            if reply[:2] == query[:2]:
                return reply


async def _ask_tcp(query: bytes, server: str, namespace: Namespace) -> bytes:
    loop = asyncio.get_running_loop()
    made = _socket(namespace, server, socket.SOCK_STREAM)
    try:
        await loop.sock_connect(made, (server, 53))
        reader, writer = await asyncio.open_connection(sock=made)
    except BaseException:
        made.close()
        raise
    try:
        writer.write(struct.pack(">H", len(query)) + query)
        (length,) = struct.unpack(">H", await reader.readexactly(2))
        return await reader.readexactly(length)
    finally:
        writer.close()


def _socket(namespace: Namespace, server: str, kind: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in server else socket.AF_INET
    with namespace.entered():
        return socket.socket(family, kind | socket.SOCK_NONBLOCK)
