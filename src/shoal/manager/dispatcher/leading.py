"""The leader's scope: sessions, heartbeats, assignments and reports over one store, while this manager leads."""

from __future__ import annotations

import asyncio
import functools
import random
from collections.abc import Callable, Sequence

from shoal.kit.clock import Clock
from shoal.kit.ids import Ids
from shoal.kit.tasks import Bell, background
from shoal.manager.batcher import Batcher
from shoal.manager.dispatcher import records
from shoal.manager.dispatcher.liveness import (
    GRACE,
    GRACE_UNKNOWN,
    SETTLE,
    STALL,
    TICK,
    Deadlines,
    Registrations,
    heartbeat_period,
    jittered,
)
from shoal.manager.dispatcher.sessions import Session, Sessions
from shoal.manager.network_feed import NetworkFeed
from shoal.manager.network_keys import PERIOD
from shoal.model.errors import NotFound, PermissionDenied, Unavailable
from shoal.model.objects import Cluster, Network, Node, NodeDescription, Task, TaskStatus
from shoal.store.base import Fence, Store
from shoal.store.view import Changed

Observer = Callable[[Sequence[Changed]], None]


class Leading:
    """What the dispatcher knows while it leads. `run` must be running; when it ends, every session ends."""

    def __init__(
        self,
        store: Store,
        fence: Fence | None,
        *,
        clock: Clock,
        ids: Ids,
        rng: random.Random,
        observers: Sequence[Observer] = (),
    ) -> None:
        self.store = store
        self.clock = clock
        self.sessions = Sessions()
        self.holding: set[Session] = set()
        """Sessions with an order to stop that waits for other nodes."""
        self.feed = NetworkFeed(store.view, self._settled)
        self._ids = ids
        self._rng = rng
        self._observers = observers
        self._batcher = Batcher(store, fence)
        self._deadlines = Deadlines()
        self._registrations = Registrations()
        self._nodes = len(store.view.all(Node))
        self._expiry = Bell()
        self._orphans = Bell()

    # --- what agents call ---------------------------------------------------------------------------------------------

    async def register(
        self, node_id: str, description: NodeDescription, address: str, is_shoal: bool, session_id: str
    ) -> Session:
        """Begin a session, or go on with the one that `session_id` names.

        Raises NotFound for an unknown node, Unavailable when it comes too often.
        """
        if self.store.view.get(Node, node_id) is None:
            raise NotFound("node not found in the swarm")
        known = self.sessions.find(node_id)
        if known is not None and session_id == known.id:
            self.beat(known)
            self._batcher.submit(Node, node_id, functools.partial(records.described, description=description))
            return known
        self._registrations.check(node_id, asyncio.get_running_loop().time())
        session = Session(self._ids.object_id(), node_id, is_shoal)
        self.sessions.open(session)
        self.beat(session)
        await self._batcher.apply(
            Node,
            node_id,
            functools.partial(records.registered, description=description, address=address, is_shoal=is_shoal),
        )
        return session

    def beat(self, session: Session) -> float:
        """A sign of life; returns the seconds until the next one is expected."""
        period = jittered(heartbeat_period(self.store.view.cluster, self._nodes), self._rng)
        self._expect(session.node_id, period * GRACE)
        return period

    def report(self, node_id: str, task_id: str, status: TaskStatus) -> None:
        """An agent saw this of a task. Unknown tasks are let pass; other nodes' raise PermissionDenied."""
        task = self.store.view.get(Task, task_id)
        if task is None:
            return
        if task.node_id != node_id:
            raise PermissionDenied("cannot update a task not assigned this node")
        now = self.clock.now()
        self._batcher.submit(Task, task_id, lambda newest: records.reported(newest, status, now))

    def must_wait(self, task: Task) -> bool:
        """Whether other nodes may still send traffic to a task that is to stop."""
        return not self.feed.has_settled(task)

    # --- the scope ----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Serve until cancelled. Raises NotLeader when the fence is stale."""
        try:
            with self.store.subscribe() as changes:
                self._take_over()
                async with background(self._batcher.run(), self._expire(), self._give_up_orphans(), self._renew_keys()):
                    async for batch in changes:
                        self.observe(batch)
        finally:
            self.sessions.close_all(Unavailable("this manager no longer leads the swarm"))

    def _take_over(self) -> None:
        """Nobody knows yet which nodes are there: all that were are `unknown`, and have twice the usual time."""
        grace = heartbeat_period(self.store.view.cluster, self._nodes) * GRACE_UNKNOWN
        for node in self.store.view.all(Node):
            if node.status.state != "down":
                self._batcher.submit(Node, node.id, self._unknown_unless_here)
                self._expect(node.id, grace)

    def _unknown_unless_here(self, node: Node) -> Node:
        return node if self.sessions.find(node.id) else records.unknown(node)

    def observe(self, changes: Sequence[Changed]) -> None:
        """The store changed: wake whom it concerns."""
        self.feed.observe(changes)
        for observer in self._observers:
            observer(changes)
        everybody = False
        for change in changes:
            thing = change.thing
            if isinstance(thing, Task):
                self._touch(thing)
            elif isinstance(thing, Node):
                self._node_changed(change)
                everybody |= _manager_changed(change)
            elif isinstance(thing, Cluster | Network):
                everybody = True
        if everybody:
            for session in self.sessions:
                session.ring("news")

    def _touch(self, task: Task) -> None:
        session = self.sessions.find(task.node_id)
        if session is not None:
            session.dirty.add(task.id)
            session.ring("work")

    def _node_changed(self, change: Changed) -> None:
        node_id = change.thing.id
        self._nodes += (change.old is None) - (change.new is None)
        self._orphans.ring()
        if change.new is None:
            self._deadlines.drop(node_id)
            self.sessions.close(node_id, PermissionDenied(f"node {node_id} was removed from swarm"))
        elif (session := self.sessions.find(node_id)) is not None:
            session.ring("news")

    def _settled(self) -> None:
        for session in self.holding:
            session.ring("work")

    def _expect(self, node_id: str, seconds: float) -> None:
        earliest = self._deadlines.next()
        moment = asyncio.get_running_loop().time() + seconds
        self._deadlines.set(node_id, moment)
        if earliest is None or moment < earliest:
            self._expiry.ring()

    async def _expire(self) -> None:
        """Nodes that are silent for too long are down; but if it was this process that slept, nobody is blamed.

        It looks at the clock so often that it knows how long it slept, also where no deadline passed meanwhile.
        """
        loop = asyncio.get_running_loop()
        while True:
            moment = self._deadlines.next()
            look = None if moment is None else min(moment, loop.time() + TICK)
            await self._expiry.wait(None if look is None else max(0.0, look - loop.time()))
            late = loop.time() - look if look is not None else 0.0
            if late > STALL:
                self._deadlines.delay(late, loop.time() + SETTLE)
            for node_id in self._deadlines.expired(loop.time()):
                known = self.sessions.find(node_id) is not None
                self._registrations.forget(node_id)
                self.sessions.close(node_id, Unavailable("heartbeat failure"))
                message = "heartbeat failure" if known else 'heartbeat failure for node in "unknown" state'
                self._batcher.submit(
                    Node, node_id, functools.partial(records.down, message=message, now=self.clock.now())
                )

    async def _give_up_orphans(self) -> None:
        """Tasks of nodes that are down for a day are orphaned."""
        while True:
            tasks, moment = records.orphans(self.store.view, self.clock.now())
            for task in tasks:
                self._batcher.submit(Task, task.id, functools.partial(records.orphaned, now=self.clock.now()))
            wait = None if moment is None else max(1.0, (moment - self.clock.now()).total_seconds())
            await self._orphans.wait(wait)

    async def _renew_keys(self) -> None:
        """Keys of real engines' networks change with time: tell the agents."""
        while True:
            await asyncio.sleep(PERIOD / 12)
            for session in self.sessions:
                session.ring("news")


def _manager_changed(change: Changed) -> bool:
    """Whether the list of managers is another one now."""
    old = change.old.manager_status if isinstance(change.old, Node) else None
    new = change.new.manager_status if isinstance(change.new, Node) else None
    return old != new
