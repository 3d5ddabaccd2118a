"""How nodes find their managers again after addresses changed, on port 7946.

A node is its certificate, not its address. The leader tells the managers' addresses to every node that it misses, at
the node's last known address, and to all nodes when it has another address itself. A node that has lost all managers
asks others, and calls out on its own subnets (`seeking`, `beacon`). All of it travels over mutual TLS between nodes of
one swarm, each expecting the other's very id, but for the beacon's datagrams, which are signed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from shoal.agent.remotes import Remote
from shoal.ca.identity import Identity, peer_identity
from shoal.kit.backoff import backoff
from shoal.model.errors import PermissionDenied, Unavailable
from shoal.model.objects import Node
from shoal.node.addresses import join_host
from shoal.node.discovery_limits import Limits
from shoal.node.joining import connected
from shoal.node.local import Local
from shoal.store.view import View
from shoal.wire.grpc import TRANSPORT_ERRORS, NodeServer, isolated, rpc
from shoal.wire.pb import managers_pb2
from shoal.wire.pb.managers_grpc import DiscoveryBase, DiscoveryStub

logger = logging.getLogger(__name__)

PERIOD = 0.5
"""Seconds between two looks at who is missed."""
LONGEST = 15.0
"""Seconds after which a node that has long been missed is told again, whether it heard or not: it may be back."""
TIMEOUT = 2.0
AT_ONCE = 20
MANY = 64
"""More managers than this are not believed."""


class DiscoveryService(DiscoveryBase):
    """`shoal.v1.Discovery`, on every node. `learn(node id, addr, by itself)` is called for each manager told."""

    def __init__(self, local: Local, learn: Callable[[str, str, bool], None]) -> None:
        self._local = local
        self._learn = learn
        self._limits = Limits()

    @rpc
    async def Announce(self, stream: Any) -> None:
        """A manager says where the managers are."""
        request = await stream.recv_message()
        caller = self._caller(stream)
        if not caller.is_manager:
            raise PermissionDenied("only managers announce managers")
        for one in request.managers[:MANY]:
            self._learn(one.node_id, one.addr, one.node_id == caller.node_id)
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
        if not self._limits.admit(identity.node_id, asyncio.get_running_loop().time()):
            raise Unavailable("too many questions")
        return identity


async def serve(local: Local, learn: Callable[[str, str, bool], None]) -> None:
    """Answer on the discovery port, until cancelled. A port that is taken is no reason not to be in a swarm."""
    server = NodeServer([DiscoveryService(local, learn)])
    try:
        await server.start(local.addresses.listen, local.options.discovery_port, local.member_context)
    except OSError as fault:
        logger.warning("this node cannot be told new addresses: port %d: %s", local.options.discovery_port, fault)
        return
    try:
        await asyncio.Event().wait()
    finally:
        await server.close()


@dataclass(frozen=True)
class _Told:
    """What a node was told last, or was to be told, and when it is told again."""

    managers: tuple[Remote, ...]
    again: float
    waits: Iterator[float]


async def tell_the_missed(local: Local, view: Callable[[], View]) -> None:
    """While leading: tell the managers' addresses to every node that is missed, and to all nodes when this manager has
    moved; until cancelled."""
    own, loop = local.manager_addr, asyncio.get_running_loop()
    told: dict[str, _Told] = {}
    while True:
        managers = tuple(known_managers(view(), local))
        nodes = [one for one in view().all(Node) if one.is_shoal and one.status.addr and one.id != local.node_id]
        missed = [node for node in nodes if node.status.state != "ready"]
        told = {node.id: told[node.id] for node in missed if node.id in told and told[node.id].managers == managers}
        due = [node for node in missed if node.id not in told or loop.time() >= told[node.id].again]
        if local.manager_addr != own:
            own, due = local.manager_addr, nodes
        for start in range(0, len(due), AT_ONCE):
            part = due[start : start + AT_ONCE]
            await asyncio.gather(*(tell(local, node.id, node.status.addr, managers) for node in part))
        for node in due:
            waits = told[node.id].waits if node.id in told else backoff(PERIOD, LONGEST)
            told[node.id] = _Told(managers, loop.time() + next(waits), waits)
        await asyncio.sleep(PERIOD)


async def tell(local: Local, node_id: str, host: str, managers: Iterable[Remote]) -> bool:
    """Tell one node, at an address where it may be; False when it is not there."""
    where = join_host(host, local.options.discovery_port)
    async with connected(where, local.client_context, node_id) as link:
        try:
            async with asyncio.timeout(TIMEOUT):
                await isolated(DiscoveryStub(link).Announce(_addresses(managers), timeout=TIMEOUT))
        except TRANSPORT_ERRORS as fault:
            logger.debug("node %s is not at %s: %s", node_id, where, fault)
            return False
    return True


async def ask(local: Local, node_id: str, host: str) -> list[Remote]:
    """The managers that a node knows, itself included if it is one; none when that node is not there."""
    where = join_host(host, local.options.discovery_port)
    async with connected(where, local.client_context, node_id) as link:
        try:
            async with asyncio.timeout(TIMEOUT):
                question = managers_pb2.ListManagersRequest()
                answer = await isolated(DiscoveryStub(link).ListManagers(question, timeout=TIMEOUT))
        except TRANSPORT_ERRORS as fault:
            logger.debug("node %s is not at %s: %s", node_id, where, fault)
            return []
    return [Remote(node_id=one.node_id, addr=one.addr) for one in answer.managers[:MANY]]


def known_managers(view: View, local: Local) -> list[Remote]:
    """The managers' addresses, as the store has them; this one's as it is."""
    return [
        Remote(node_id=node.id, addr=local.manager_addr if node.id == local.node_id else node.manager_status.addr)
        for node in view.all(Node)
        if node.manager_status is not None and node.manager_status.addr
    ]


def _addresses(remotes: Iterable[Remote]) -> managers_pb2.ManagerAddresses:
    return managers_pb2.ManagerAddresses(
        managers=[managers_pb2.ManagerAddress(node_id=one.node_id, addr=one.addr) for one in remotes]
    )
