"""Networks of the swarm on this node: takes the leader's updates, has them applied, and acknowledges."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from grpclib import GRPCError, Status
from grpclib.client import Channel

from shoal.kit.tasks import Bell
from shoal.model.base import decode
from shoal.model.errors import NotFound, ShoalError
from shoal.model.netstate import NetworkUpdate
from shoal.wire.pb import shoal_pb2
from shoal.wire.pb.shoal_grpc import NetworksStub

PATIENCE = 30.0
"""Seconds that a task waits for its networks (SwarmKit's number)."""


class LocalNetworks(Protocol):
    """What the agent needs of `network.networks.Networks`."""

    async def apply(self, update: NetworkUpdate, node_id: str) -> None:
        """Make the networks so."""
        ...

    def find(self, name_or_id: str) -> Any:
        """The network. Raises NotFound."""
        ...


class NetworkListener:
    """The node's end of `shoal.v1.Networks`."""

    def __init__(self, networks: LocalNetworks, node_id: str, log: Callable[[str], None]) -> None:
        self._networks = networks
        self._node_id = node_id
        self._log = log
        self._waiters: set[Bell] = set()

    async def run(self, channel: Channel, session_id: str) -> None:
        """Apply what comes until the stream ends, by an exception. A real Docker manager has no such service: then
        nothing ever comes."""
        try:
            async with NetworksStub(channel).Watch.open() as stream:
                await stream.send_message(shoal_pb2.NetworkAck(session_id=session_id))
                async for push in stream:
                    await self._apply(push)
                    await stream.send_message(shoal_pb2.NetworkAck(sequence=push.sequence))
        except GRPCError as fault:
            if fault.status is not Status.UNIMPLEMENTED:
                raise
            await asyncio.Event().wait()

    async def _apply(self, push: shoal_pb2.NetworkPush) -> None:
        """A part that cannot be applied must not keep the rest of the node from working: it is logged."""
        try:
            await self._networks.apply(decode(push.update, NetworkUpdate), self._node_id)
        except (ShoalError, OSError) as fault:
            self._log(f"networks: cannot apply update {push.sequence}: {fault}")
        for bell in self._waiters:
            bell.ring()

    async def wait_for(self, network_ids: list[str]) -> None:
        """Return once all these networks are here. Raises ShoalError after `PATIENCE`."""
        bell = Bell()
        self._waiters.add(bell)
        try:
            async with asyncio.timeout(PATIENCE):
                while not all(self._here(id) for id in network_ids):
                    await bell.wait(1.0)
        except TimeoutError:
            raise ShoalError("node is missing network attachments, ip addresses may be exhausted") from None
        finally:
            self._waiters.discard(bell)

    def _here(self, network_id: str) -> bool:
        try:
            self._networks.find(network_id)
        except NotFound:
            return False
        return True
