"""One session with the leader: everything that goes on between registering and losing touch.

`Session.run` ends by an exception only: what ended it. The agent then begins another, elsewhere if need be.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from grpclib.client import Channel

from shoal.agent.logs import LogPublisher
from shoal.agent.networks import NetworkListener
from shoal.agent.remotes import Remote
from shoal.agent.reports import Reporter
from shoal.agent.worker import Worker
from shoal.kit.tasks import Group
from shoal.model.errors import Unavailable
from shoal.model.objects import Node, NodeDescription
from shoal.wire.basics import SECOND, from_duration
from shoal.wire.convert_node import description_to_wire, node_from_wire
from shoal.wire.pb import swarmkit_pb2 as pb
from shoal.wire.pb.swarmkit_grpc import DispatcherStub

FIRST_MESSAGE = 5.0
"""Seconds within which the leader must answer a registration."""
CONNECT = 2.0
"""Seconds that a connection may take: an address that is gone does not even refuse."""
CALL = 5.0
"""Seconds that a report may take."""
BEAT, BEAT_PERIODS = 2.0, 2.0
"""Seconds, and periods if that is longer, that a heartbeat may take. A leader whose machine is gone must be given up
well before its successor gives up this node, which is six periods after it began."""
DESCRIBE = 20.0
"""Seconds between two looks at what this node is."""


@dataclass(frozen=True)
class News:
    """What a session message tells a node: itself, all managers, the root certificate (PEM)."""

    node: Node
    managers: list[Remote]
    root_ca: bytes


class Redescribe(Exception):
    """The node is not what it was: register again, in the same session."""


@asynccontextmanager
async def opened(method: Any, request: Any, metadata: dict[str, str] | None = None) -> AsyncIterator[Any]:
    """A call that streams answers, its one request sent."""
    async with method.open(metadata=metadata) as stream:
        await stream.send_message(request, end=True)
        yield stream


class Session:
    """The conversation over one channel. `listen` gets each session message's `News`."""

    def __init__(
        self,
        channel: Channel,
        worker: Worker,
        reporter: Reporter,
        *,
        describe: Callable[[], NodeDescription],
        listen: Callable[[News], None],
        networks: NetworkListener | None,
        logs: LogPublisher | None,
    ) -> None:
        self._channel = channel
        self._stub = DispatcherStub(channel)
        self._worker = worker
        self._reporter = reporter
        self._describe = describe
        self._listen = listen
        self._networks = networks
        self._logs = logs
        self.id = ""
        self.reached = False
        """Whether somebody is at the address."""

    async def run(self, previous: str, agent: str, established: Callable[[], None]) -> None:
        """Register (resuming session `previous` if the leader still has it) and go on until something fails.

        `agent` is what this software calls itself; `established` is called when the leader has taken us.
        """
        async with asyncio.timeout(CONNECT):
            await self._channel.__connect__()
        self.reached = True
        description = await asyncio.to_thread(self._describe)
        request = pb.SessionRequest(description=description_to_wire(description), session_id=previous)
        async with opened(self._stub.Session, request, {"shoal-agent": agent}) as stream:
            async with asyncio.timeout(FIRST_MESSAGE):
                message = await stream.recv_message()
            if message is None:
                await stream.recv_trailing_metadata()
                raise Unavailable("the leader ended the session")
            self.id = message.session_id
            self._tell(message)
            established()
            self._worker.report_all()
            async with Group() as group:
                group.create_task(self._follow(stream))
                group.create_task(self._beat())
                group.create_task(self._take_assignments())
                group.create_task(self._reporter.run(self._send))
                group.create_task(self._redescribe(description))
                if self._networks is not None:
                    group.create_task(self._networks.run(self._channel, self.id))
                if self._logs is not None:
                    group.create_task(self._logs.run(self._channel))

    def _tell(self, message: pb.SessionMessage) -> None:
        managers = [
            Remote(node_id=held.peer.node_id, addr=held.peer.addr, weight=held.weight) for held in message.managers
        ]
        self._listen(News(node_from_wire(message.node), managers, message.root_ca))

    async def _follow(self, stream: Any) -> None:
        async for message in stream:
            self._tell(message)
        await stream.recv_trailing_metadata()
        raise Unavailable("the leader ended the session")

    async def _beat(self) -> None:
        period = 0.0
        while True:
            patience = min(CALL, max(BEAT, BEAT_PERIODS * period))
            answer = await self._stub.Heartbeat(pb.HeartbeatRequest(session_id=self.id), timeout=patience)
            period = (from_duration(answer, "period") or SECOND) / SECOND
            await asyncio.sleep(period)

    async def _take_assignments(self) -> None:
        async with opened(self._stub.Assignments, pb.AssignmentsRequest(session_id=self.id)) as stream:
            async for message in stream:
                self._worker.apply(message)
            await stream.recv_trailing_metadata()
        raise Unavailable("the leader ended the assignments")

    async def _send(self, updates: list[pb.UpdateTaskStatusRequest.TaskStatusUpdate]) -> None:
        await self._stub.UpdateTaskStatus(pb.UpdateTaskStatusRequest(session_id=self.id, updates=updates), timeout=CALL)

    async def _redescribe(self, known: NodeDescription) -> None:
        while True:
            await asyncio.sleep(DESCRIBE)
            if await asyncio.to_thread(self._describe) != known:
                raise Redescribe
