"""Networks of the swarm on this node: takes the leader's updates, has them applied, and acknowledges."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from grpclib import GRPCError, Status
from grpclib.client import Channel

from shoal.model.base import decode
from shoal.model.errors import ShoalError
from shoal.model.netstate import NetworkUpdate
from shoal.wire.pb import shoal_pb2
from shoal.wire.pb.shoal_grpc import NetworksStub


class LocalNetworks(Protocol):
    """What the agent needs of `network.networks.Networks`."""

    async def apply(self, update: NetworkUpdate, node_id: str) -> None:
        """Make the networks so."""
        ...


class NetworkListener:
    """The node's end of `shoal.v1.Networks`."""

    def __init__(self, networks: LocalNetworks, node_id: str, log: Callable[[str], None]) -> None:
        self._networks = networks
        self._node_id = node_id
        self._log = log

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
