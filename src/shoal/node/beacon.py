"""A node that has lost every manager calls out on its subnets; managers that hear it answer (see `discovery`).

A call is one broadcast datagram, `shoal? <swarm id> <node id>`: nothing in it is secret, and nothing in it is believed.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable

from shoal.node.local import Local

logger = logging.getLogger(__name__)

PERIOD = 2.0
"""Seconds between two calls of a node that is lost."""
PATIENCE = 3.0
"""Seconds without a manager after which a node counts as lost."""
AGAIN = 1.0
"""Seconds after which the same caller is answered again."""
_MOST_CALLERS = 1000


class _Listener(asyncio.DatagramProtocol):
    """Puts the calls of nodes of one swarm into a queue, each caller's at most once a second."""

    def __init__(self, cluster_id: str) -> None:
        self._cluster_id = cluster_id
        self._heard: dict[str, float] = {}
        self.calls: asyncio.Queue[tuple[str, str]] = asyncio.Queue(100)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        words = data[:200].decode("ascii", "replace").split()
        if len(words) != 3 or words[0] != "shoal?" or words[1] != self._cluster_id or not words[2].isalnum():
            return
        now = asyncio.get_running_loop().time()
        if now - self._heard.get(addr[0], -AGAIN) < AGAIN or self.calls.full():
            return
        if len(self._heard) > _MOST_CALLERS:
            self._heard.clear()
        self._heard[addr[0]] = now
        self.calls.put_nowait((words[2], addr[0]))


async def listen(local: Local, answer: Callable[[str, str], Awaitable[object]]) -> None:
    """On managers: `answer(node id, address)` every call of a node of this swarm, until cancelled."""
    loop = asyncio.get_running_loop()
    family = socket.AF_INET
    try:
        transport, listener = await loop.create_datagram_endpoint(
            lambda: _Listener(local.identity.cluster_id),
            local_addr=("0.0.0.0", local.options.discovery_port),
            family=family,
        )
    except OSError as fault:
        logger.warning("calls of lost nodes cannot be heard: port %d: %s", local.options.discovery_port, fault)
        return
    try:
        while True:
            node_id, address = await listener.calls.get()
            if node_id != local.node_id:
                await answer(node_id, address)
    finally:
        transport.close()


async def call_when_lost(local: Local, found: asyncio.Event) -> None:
    """On every node: call out while `found` (a session with the leader) is not set for long; until cancelled."""
    while True:
        try:
            async with asyncio.timeout(PATIENCE):
                await found.wait()
        except TimeoutError:
            call(local)
        await asyncio.sleep(PERIOD)


def call(local: Local) -> None:
    """One call on each interface."""
    message = f"shoal? {local.identity.cluster_id} {local.node_id}".encode()
    for interface in {one.interface for one in local.options.interfaces() if ":" not in one.address}:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as speaker:
            try:
                speaker.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
                speaker.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
                speaker.sendto(message, ("255.255.255.255", local.options.discovery_port))
            except OSError as fault:
                logger.debug("no call on %s: %s", interface, fault)
