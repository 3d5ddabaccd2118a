"""How nodes find their managers again after addresses changed, on port 7946.

A node is its certificate, not its address. The leader tells the managers' addresses to every node that it misses, at
the node's last known address. A node that has lost all managers calls out on its own subnets (`beacon`), and managers
that hear it tell it the same way. What is told travels over mutual TLS between nodes of one swarm; a call is only a
hint where to connect to, and to whom: the answer goes to nobody but the holder of the named node's certificate.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Any

from shoal.agent.remotes import Remote
from shoal.ca.identity import Identity, peer_identity
from shoal.model.errors import PermissionDenied
from shoal.model.objects import Node
from shoal.node.addresses import join_host
from shoal.node.joining import connected
from shoal.node.local import Local
from shoal.store.view import View
from shoal.wire.grpc import TRANSPORT_ERRORS, NodeServer, rpc
from shoal.wire.pb import managers_pb2
from shoal.wire.pb.managers_grpc import DiscoveryBase, DiscoveryStub

logger = logging.getLogger(__name__)

PERIOD = 2.0
"""Seconds between two rounds of telling those that are missed."""
TIMEOUT = 2.0
AT_ONCE = 20


class DiscoveryService(DiscoveryBase):
    """`shoal.v1.Discovery`, on every node. `moved` is called when something was news."""

    def __init__(self, local: Local, moved: Callable[[], None]) -> None:
        self._local = local
        self._moved = moved

    @rpc
    async def Announce(self, stream: Any) -> None:
        """A manager says where the managers are."""
        request = await stream.recv_message()
        if not self._caller(stream).is_manager:
            raise PermissionDenied("only managers announce managers")
        news = [self._local.manager_moved(one.node_id, one.addr) for one in request.managers if one.node_id]
        if any(news):
            logger.info("managers are at %s now", ", ".join(one.addr for one in request.managers))
            self._moved()
        await stream.send_message(_addresses(self._local.remotes.all))

    @rpc
    async def ListManagers(self, stream: Any) -> None:
        """The managers that this node knows."""
        await stream.recv_message()
        self._caller(stream)
        await stream.send_message(_addresses(self._local.remotes.all))

    def _caller(self, stream: Any) -> Identity:
        identity = peer_identity(stream.peer.cert())
        if identity is None or identity.cluster_id != self._local.identity.cluster_id:
            raise PermissionDenied("only for nodes of this swarm")
        return identity


async def serve(local: Local, moved: Callable[[], None]) -> None:
    """Answer on the discovery port, until cancelled. A port that is taken is no reason not to be in a swarm."""
    server = NodeServer([DiscoveryService(local, moved)])
    try:
        await server.start(local.addresses.listen, local.options.discovery_port, local.server_context)
    except OSError as fault:
        logger.warning("this node cannot be told new addresses: port %d: %s", local.options.discovery_port, fault)
        return
    try:
        await asyncio.Event().wait()
    finally:
        await server.close()


async def tell_the_missed(local: Local, view: Callable[[], View]) -> None:
    """While leading: tell the managers' addresses to every node that is missed, once each; until cancelled."""
    told: dict[str, tuple[Remote, ...]] = {}
    while True:
        managers = tuple(known_managers(view()))
        for node_id in [id for id in told if _is_there(view().get(Node, id))]:
            del told[node_id]
        missed = [
            node
            for node in view().all(Node)
            if node.is_shoal and node.status.addr and not _is_there(node) and node.id != local.node_id
            and told.get(node.id) != managers
        ]  # fmt: skip
        for start in range(0, len(missed), AT_ONCE):
            part = missed[start : start + AT_ONCE]
            done = await asyncio.gather(*(tell(local, node.id, node.status.addr, managers) for node in part))
            told.update({node.id: managers for node, heard in zip(part, done, strict=True) if heard})
        await asyncio.sleep(PERIOD)


async def tell(local: Local, node_id: str, address: str, managers: Iterable[Remote]) -> bool:
    """Tell one node, at an address where it may be; False when it is not there."""
    where = join_host(address, local.options.discovery_port)
    async with connected(where, local.client_context, node_id) as link:
        try:
            await DiscoveryStub(link).Announce(_addresses(managers), timeout=TIMEOUT)
        except TRANSPORT_ERRORS as fault:
            logger.debug("node %s is not at %s: %s", node_id, where, fault)
            return False
    return True


def known_managers(view: View) -> list[Remote]:
    """The managers' addresses, as the store has them."""
    return [
        Remote(node_id=node.id, addr=node.manager_status.addr)
        for node in view.all(Node)
        if node.manager_status is not None and node.manager_status.addr
    ]


def _is_there(node: Node | None) -> bool:
    return node is None or node.status.state == "ready"


def _addresses(remotes: Iterable[Remote]) -> managers_pb2.ManagerAddresses:
    return managers_pb2.ManagerAddresses(
        managers=[managers_pb2.ManagerAddress(node_id=one.node_id, addr=one.addr) for one in remotes]
    )
