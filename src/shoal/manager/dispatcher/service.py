"""The gRPC face of the dispatcher: on every manager's port, answering only while that manager leads."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

from google.protobuf.duration_pb2 import Duration

from shoal.kit.clock import Clock
from shoal.kit.ids import Ids
from shoal.manager.callers import Caller, authorize
from shoal.manager.dispatcher.assignments import Assignments
from shoal.manager.dispatcher.leading import Leading, Observer
from shoal.manager.dispatcher.messages import differs, session_message
from shoal.manager.dispatcher.sessions import Session
from shoal.model.errors import InvalidArgument, NotFound, Unavailable
from shoal.model.objects import Node, Task
from shoal.store.base import Fence, Store
from shoal.wire.basics import SECOND
from shoal.wire.convert_node import description_from_wire
from shoal.wire.convert_task import status_from_wire
from shoal.wire.grpc import rpc
from shoal.wire.pb import swarmkit_pb2 as pb
from shoal.wire.pb.shoal_grpc import NetworksBase
from shoal.wire.pb.swarmkit_grpc import DispatcherBase

SHOAL_AGENT = "shoal-agent"
"""The metadata key by which a Shoal agent says that it is one, in its Session call."""

MOST_WAIT = 2.0
"""Seconds that an order to stop waits at most for other nodes to withdraw the endpoint."""

BATCH = 0.02
"""Seconds between two assignment messages to one node: what changes meanwhile goes into one. The first after a quiet
time goes out at once."""


class DispatcherService(DispatcherBase):
    """`docker.swarmkit.v1.Dispatcher`. `own` tells this manager's node id and announced address."""

    def __init__(
        self, store: Store, clock: Clock, ids: Ids, rng: random.Random, own: Callable[[], tuple[str, str]]
    ) -> None:
        self._store = store
        self._clock = clock
        self._ids = ids
        self._rng = rng
        self._own = own
        self._leading: Leading | None = None

    async def lead(self, fence: Fence | None, observers: list[Observer]) -> None:
        """Serve agents until cancelled; `observers` see each batch of changes after the feed has. Raises NotLeader."""
        leading = Leading(self._store, fence, clock=self._clock, ids=self._ids, rng=self._rng, observers=observers)
        self._leading = leading
        try:
            await leading.run()
        finally:
            self._leading = None

    def leading(self) -> Leading:
        """The leader's state. Raises Unavailable on a follower: agents then try another manager."""
        if self._leading is None:
            raise Unavailable("this manager does not lead the swarm")
        return self._leading

    def _caller(self, stream: Any) -> tuple[Caller, Leading]:
        return authorize(stream, self._store.view), self.leading()

    def _session(self, stream: Any, session_id: str) -> tuple[Session, Leading]:
        caller, leading = self._caller(stream)
        return leading.sessions.require(caller.node_id, session_id), leading

    @rpc
    async def Session(self, stream: Any) -> None:
        """Register, then send the session message now and whenever it changes."""
        caller, leading = self._caller(stream)
        request = await stream.recv_message()
        if request is None or not request.HasField("description"):
            raise InvalidArgument("a node description is needed")
        is_shoal = SHOAL_AGENT in (stream.metadata or {})
        description = description_from_wire(request.description)
        session = await leading.register(caller.node_id, description, caller.address, is_shoal, request.session_id)
        last: pb.SessionMessage | None = None
        bell = session.open("news")
        bell.ring()
        while True:
            await bell.wait()
            session.check("news", bell)
            node = self._store.view.get(Node, session.node_id)
            if node is None:
                raise NotFound("node not found in the swarm")
            message = session_message(self._store.view, node, session.id, self._own(), self._clock.now())
            if differs(last, message):
                await stream.send_message(message)
                last = message

    @rpc
    async def Heartbeat(self, stream: Any) -> None:
        """A sign of life; the answer says when the next one is due."""
        request = await stream.recv_message()
        session, leading = self._session(stream, request.session_id)
        seconds, nanos = divmod(int(leading.beat(session) * SECOND), SECOND)
        await stream.send_message(pb.HeartbeatResponse(period=Duration(seconds=seconds, nanos=nanos)))

    @rpc
    async def UpdateTaskStatus(self, stream: Any) -> None:
        """What the agent saw. It is written soon, together with others; a full report on the next session makes up
        for what a change of leaders loses."""
        request = await stream.recv_message()
        session, leading = self._session(stream, request.session_id)
        for update in request.updates:
            if update.HasField("status"):
                leading.report(session.node_id, update.task_id, status_from_wire(update.status))
        await stream.send_message(pb.UpdateTaskStatusResponse())

    @rpc
    async def Assignments(self, stream: Any) -> None:
        """All tasks of the node, then what changes."""
        request = await stream.recv_message()
        session, leading = self._session(stream, request.session_id)
        view = self._store.view
        told, holds = Assignments(session.node_id), Holds(leading.must_wait)
        bell = session.open("work")
        session.dirty.clear()
        await stream.send_message(told.complete(view))
        try:
            while True:
                await bell.wait(holds.patience())
                session.check("work", bell)
                told.touch(session.dirty)
                session.dirty.clear()
                message, held = told.update(view, holds)
                holds.keep(held)
                (leading.holding.add if held else leading.holding.discard)(session)
                if message is not None:
                    await stream.send_message(message)
                    await asyncio.sleep(BATCH)
        finally:
            leading.holding.discard(session)


class Holds:
    """Which orders to stop wait, and since when; none waits for longer than `MOST_WAIT`."""

    def __init__(self, must_wait: Callable[[Task], bool]) -> None:
        self._must_wait = must_wait
        self._since: dict[str, float] = {}

    def __call__(self, task: Task) -> bool:
        """Whether the order to stop `task` is to wait now."""
        now = asyncio.get_running_loop().time()
        return now < self._since.setdefault(task.id, now) + MOST_WAIT and self._must_wait(task)

    def keep(self, held: set[str]) -> None:
        """Only these still wait."""
        self._since = {id: since for id, since in self._since.items() if id in held}

    def patience(self) -> float | None:
        """Seconds until the first of them must go out; None when none waits."""
        if not self._since:
            return None
        return max(0.0, min(self._since.values()) + MOST_WAIT - asyncio.get_running_loop().time())


class NetworksService(NetworksBase):
    """`shoal.v1.Networks`: hands a Shoal agent's stream to the leader's feed."""

    def __init__(self, dispatcher: DispatcherService) -> None:
        self._dispatcher = dispatcher

    @rpc
    async def Watch(self, stream: Any) -> None:
        """See the proto."""
        hello = await stream.recv_message()
        session, leading = self._dispatcher._session(stream, hello.session_id if hello else "")
        await leading.feed.serve(session, stream)
