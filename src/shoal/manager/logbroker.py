"""The log broker: brings what somebody asked of service logs to the nodes that have them, and the lines back.

Followers of the leader reach it through `Logs/SubscribeLogs`; on the leader, `LogBroker.subscribe` is the same.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from typing import Any

from shoal.kit.ids import Ids
from shoal.manager.callers import authorize
from shoal.model.errors import NotFound, PermissionDenied, ShoalError, Unavailable
from shoal.model.objects import Task
from shoal.model.service_logs import LogRequest, LogSelector, ServiceLogLine
from shoal.model.states import TaskState
from shoal.store.base import Store
from shoal.store.view import Changed, View
from shoal.wire.convert_logs import (
    line_from_wire,
    line_to_wire,
    request_from_wire,
    request_to_wire,
    selector_from_wire,
    selector_to_wire,
)
from shoal.wire.grpc import rpc
from shoal.wire.pb import swarmkit_pb2 as pb
from shoal.wire.pb.swarmkit_grpc import LogBrokerBase, LogsBase

BUFFER = 64
"""Batches of lines that may wait for a slow reader; publishers wait then."""


def matches(selector: LogSelector, task: Task) -> bool:
    """Whether the task's logs are meant."""
    return task.service_id in selector.service_ids or task.id in selector.task_ids or task.node_id in selector.node_ids


def whom_to_ask(view: View, selector: LogSelector, follow: bool) -> tuple[set[str], list[str]]:
    """The nodes that have the logs, and why some cannot be had. Unless following, tasks that never ran are left out."""
    nodes: set[str] = set()
    reasons: list[str] = []
    for task in view.all(Task):
        if not matches(selector, task):
            continue
        if not task.node_id:
            if not follow and task.desired_state <= TaskState.RUNNING:
                reasons.append(f"task {task.id} has not been scheduled")
        elif follow or task.status.state >= TaskState.RUNNING:
            nodes.add(task.node_id)
    return nodes, reasons


class Subscription:
    """One asker: which nodes still owe an answer, and the lines that came."""

    def __init__(self, id: str, selector: LogSelector, request: LogRequest) -> None:
        self.id = id
        self.selector = selector
        self.request = request
        self.nodes: set[str] = set()
        self.owing: set[str] = set()
        self.reasons: list[str] = []
        self._lines: deque[Sequence[ServiceLogLine]] = deque()
        self._changed = asyncio.Condition()
        self._closed = False

    async def put(self, lines: Sequence[ServiceLogLine]) -> None:
        """Lines from a node; waits while the reader is slow."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._closed or len(self._lines) < BUFFER)
            if not self._closed:
                self._lines.append(lines)
                self._changed.notify_all()

    async def done(self, node_id: str, reason: str = "") -> None:
        """The node has nothing more to say, or failed for `reason`."""
        async with self._changed:
            if node_id in self.owing:
                self.owing.discard(node_id)
                self.reasons += [reason] if reason else []
            self._changed.notify_all()

    async def get(self) -> Sequence[ServiceLogLine] | None:
        """The next lines; None when all nodes are done (which following never is)."""
        async with self._changed:
            over = self._over
            await self._changed.wait_for(lambda: self._lines or over())
            if not self._lines:
                return None
            self._changed.notify_all()
            return self._lines.popleft()

    def _over(self) -> bool:
        return self._closed or (not self.owing and not self.request.follow)

    async def close(self) -> None:
        """Nobody reads any more: publishers need not wait."""
        async with self._changed:
            self._closed = True
            self._changed.notify_all()

    def message(self, close: bool = False) -> pb.SubscriptionMessage:
        """What nodes are told."""
        if close:
            return pb.SubscriptionMessage(id=self.id, close=True)
        return pb.SubscriptionMessage(
            id=self.id, selector=selector_to_wire(self.selector), options=request_to_wire(self.request)
        )


class LogBroker:
    """The leader's subscriptions and the agents that listen for them. Does nothing useful on a follower."""

    def __init__(self, store: Store, ids: Ids) -> None:
        self._store = store
        self._ids = ids
        self._open: dict[str, Subscription] = {}
        self._listeners: dict[str, asyncio.Queue[pb.SubscriptionMessage]] = {}
        self.active = False

    async def lead(self) -> None:
        """Serve until cancelled; then every subscription ends."""
        self.active = True
        try:
            await asyncio.Event().wait()
        finally:
            self.active = False
            for subscription in list(self._open.values()):
                subscription.reasons.append("the leader has changed")
                await subscription.close()

    def check(self) -> None:
        """Raise Unavailable on a follower."""
        if not self.active:
            raise Unavailable("this manager does not lead the swarm")

    def observe(self, changes: Sequence[Changed]) -> None:
        """New tasks may extend what is followed."""
        following = [subscription for subscription in self._open.values() if subscription.request.follow]
        for change in changes:
            task = change.new
            if not following or not isinstance(task, Task) or not task.node_id:
                continue
            for subscription in following:
                if task.node_id not in subscription.nodes and matches(subscription.selector, task):
                    self._ask(subscription, task.node_id)

    def _ask(self, subscription: Subscription, node_id: str) -> None:
        subscription.nodes.add(node_id)
        subscription.owing.add(node_id)
        listener = self._listeners.get(node_id)
        if listener is not None:
            listener.put_nowait(subscription.message())
        elif not subscription.request.follow:
            subscription.owing.discard(node_id)
            subscription.reasons.append(f"node {node_id} is not available")

    async def subscribe(self, selector: LogSelector, request: LogRequest) -> AsyncIterator[Sequence[ServiceLogLine]]:
        """The lines, as they come. Ends when all nodes have answered, or never when following.

        Raises ShoalError at the end when some logs could not be had, Unavailable on a follower.
        """
        self.check()
        subscription = Subscription(self._ids.object_id(), selector, request)
        nodes, subscription.reasons = whom_to_ask(self._store.view, selector, request.follow)
        self._open[subscription.id] = subscription
        try:
            for node_id in sorted(nodes):
                self._ask(subscription, node_id)
            while (lines := await subscription.get()) is not None:
                yield lines
            if subscription.reasons:
                raise ShoalError(
                    "warning: incomplete log stream. some logs could not be retrieved for the following reasons: "
                    + ", ".join(subscription.reasons)
                )
        finally:
            del self._open[subscription.id]
            for node_id in subscription.nodes:
                if (listener := self._listeners.get(node_id)) is not None:
                    listener.put_nowait(subscription.message(close=True))
            await subscription.close()

    def find(self, subscription_id: str) -> Subscription:
        """An open subscription. Raises NotFound."""
        subscription = self._open.get(subscription_id)
        if subscription is None:
            raise NotFound("subscription not found")
        return subscription

    def listen(self, node_id: str) -> asyncio.Queue[pb.SubscriptionMessage]:
        """A node listens: what is open and concerns it comes first. `unlisten` with the same queue ends it."""
        queue: asyncio.Queue[pb.SubscriptionMessage] = asyncio.Queue()
        self._listeners[node_id] = queue
        for subscription in self._open.values():
            if node_id in subscription.nodes and (subscription.request.follow or node_id in subscription.owing):
                queue.put_nowait(subscription.message())
        return queue

    async def unlisten(self, node_id: str, queue: asyncio.Queue[pb.SubscriptionMessage]) -> None:
        """The node is gone: unless it came back meanwhile, it owes no answers."""
        if self._listeners.get(node_id) is not queue:
            return
        del self._listeners[node_id]
        for subscription in list(self._open.values()):
            if not subscription.request.follow:
                await subscription.done(node_id, f"node {node_id} disconnected unexpectedly")


class LogBrokerService(LogBrokerBase):
    """`docker.swarmkit.v1.LogBroker`: the agents' side."""

    def __init__(self, store: Store, broker: LogBroker) -> None:
        self._store = store
        self._broker = broker

    @rpc
    async def ListenSubscriptions(self, stream: Any) -> None:
        """Subscriptions that concern the calling node."""
        caller = authorize(stream, self._store.view)
        self._broker.check()
        await stream.recv_message()
        await stream.send_initial_metadata()
        queue = self._broker.listen(caller.node_id)
        try:
            while True:
                await stream.send_message(await queue.get())
        finally:
            await self._broker.unlisten(caller.node_id, queue)

    @rpc
    async def PublishLogs(self, stream: Any) -> None:
        """Lines for one subscription; the end, or `close`, says that there are no more."""
        caller = authorize(stream, self._store.view)
        self._broker.check()
        subscription: Subscription | None = None
        reason = "log publisher disconnected"
        try:
            async for message in stream:
                subscription = subscription or self._broker.find(message.subscription_id)
                lines = [line_from_wire(line) for line in message.messages]
                if any(line.node_id != caller.node_id for line in lines):
                    raise PermissionDenied("a node publishes only its own logs")
                if lines:
                    await subscription.put(lines)
                if message.close:
                    reason = ""
                    break
        finally:
            if subscription is not None:
                await subscription.done(caller.node_id, reason)
        await stream.send_message(pb.PublishLogsResponse())


class LogsService(LogsBase):
    """`docker.swarmkit.v1.Logs`: other managers ask the leader here."""

    def __init__(self, store: Store, broker: LogBroker) -> None:
        self._store = store
        self._broker = broker

    @rpc
    async def SubscribeLogs(self, stream: Any) -> None:
        """The lines of a selector."""
        authorize(stream, self._store.view, "manager")
        request = await stream.recv_message()
        selector, wanted = selector_from_wire(request.selector), request_from_wire(request.options)
        async for lines in self._broker.subscribe(selector, wanted):
            await stream.send_message(pb.SubscribeLogsMessage(messages=[line_to_wire(line) for line in lines]))
