"""Service logs on any manager: from the own log broker while it leads, else from the leader's."""

from __future__ import annotations

from collections.abc import AsyncIterator

from shoal.model.errors import NO_LEADER, Unavailable, rpc
from shoal.model.service_logs import LogRequest, LogSelector, ServiceLogLine
from shoal.node.joining import connected
from shoal.node.manager_side import ManagerSide
from shoal.wire.convert_logs import line_from_wire, request_to_wire, selector_to_wire
from shoal.wire.grpc import TRANSPORT_ERRORS, from_grpc
from shoal.wire.pb import swarmkit_pb2 as pb
from shoal.wire.pb.swarmkit_grpc import LogsStub


async def lines(side: ManagerSide, selector: LogSelector, request: LogRequest) -> AsyncIterator[ServiceLogLine]:
    """The lines, as they come. Raises ShoalError, at the end when some logs could not be had."""
    if side.protocol.logs.active:
        async for batch in side.protocol.logs.subscribe(selector, request):
            for line in batch:
                yield line
        return
    _, addr = await side.membership.leader()
    if not addr:
        raise Unavailable(NO_LEADER)
    asked = pb.SubscribeLogsRequest(selector=selector_to_wire(selector), options=request_to_wire(request))
    async with connected(addr, side.local.client_context) as link:
        try:
            async with LogsStub(link).SubscribeLogs.open() as stream:
                await stream.send_message(asked, end=True)
                async for message in stream:
                    for wired in message.messages:
                        yield line_from_wire(wired)
        except TRANSPORT_ERRORS as fault:
            raise rpc(from_grpc(fault)) from fault
