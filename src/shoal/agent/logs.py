"""Service logs: listens for subscriptions and publishes what this node's tasks have to say."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from grpclib.client import Channel

from shoal.agent.executor import Executor
from shoal.kit.tasks import Group, background
from shoal.model.errors import ShoalError
from shoal.model.objects import Task
from shoal.model.service_logs import LogRequest, LogSelector, ServiceLogLine
from shoal.model.states import TaskState
from shoal.wire.convert_logs import line_to_wire, request_from_wire, selector_from_wire
from shoal.wire.grpc import TRANSPORT_ERRORS
from shoal.wire.pb import swarmkit_pb2 as pb
from shoal.wire.pb.swarmkit_grpc import LogBrokerStub

BATCH = 200
"""Lines in one message."""
BATCH_BYTES = 256 * 1024


class LogPublisher:
    """Answers the log broker's subscriptions from the executor's logs."""

    def __init__(self, executor: Executor, tasks: Callable[[], list[Task]]) -> None:
        self._executor = executor
        self._tasks = tasks
        self._following: dict[str, _Publication] = {}

    def tasks_changed(self) -> None:
        """A task came or went: followers may want it."""
        for publication in self._following.values():
            publication.look()

    async def run(self, channel: Channel) -> None:
        """Serve subscriptions until the stream ends, by an exception."""
        stub = LogBrokerStub(channel)
        running: dict[str, asyncio.Task[None]] = {}
        async with Group() as group, stub.ListenSubscriptions.open() as stream:
            await stream.send_message(pb.ListenSubscriptionsRequest(), end=True)
            async for message in stream:
                known = running.pop(message.id, None)
                if known is not None:
                    known.cancel()
                if not message.close:
                    running[message.id] = group.create_task(self._publish(stub, message))
                running = {id: task for id, task in running.items() if not task.done()}
            await stream.recv_trailing_metadata()
            raise ShoalError("the leader ended the log subscriptions")

    async def _publish(self, stub: LogBrokerStub, message: pb.SubscriptionMessage) -> None:
        wanted = _Publication(
            self._executor, self._tasks, selector_from_wire(message.selector), request_from_wire(message.options)
        )
        self._following[message.id] = wanted
        try:
            async with background() as readers, stub.PublishLogs.open() as stream:
                wanted.begin(readers)
                while (lines := await wanted.next()) is not None:
                    await stream.send_message(
                        pb.PublishLogsMessage(
                            subscription_id=message.id, messages=[line_to_wire(line) for line in lines]
                        )
                    )
                await stream.send_message(pb.PublishLogsMessage(subscription_id=message.id, close=True), end=True)
                await stream.recv_message()
        except TRANSPORT_ERRORS:
            pass  # the asker has gone, or the leader: then the session ends and says so
        finally:
            if self._following.get(message.id) is wanted:
                del self._following[message.id]


class _Publication:
    """The lines of all matching tasks, in batches; following, also of tasks that come later."""

    def __init__(
        self, executor: Executor, tasks: Callable[[], list[Task]], selector: LogSelector, request: LogRequest
    ) -> None:
        self._executor = executor
        self._tasks = tasks
        self._selector = selector
        self._request = request
        self._lines: asyncio.Queue[ServiceLogLine | None] = asyncio.Queue(1000)
        self._seen: set[str] = set()
        self._open = 0
        self._readers: asyncio.TaskGroup | None = None

    def begin(self, readers: asyncio.TaskGroup) -> None:
        """Read from now on; each task has a reader in the group."""
        self._readers = readers
        self.look()

    def look(self) -> None:
        """Start reading every matching task that has a container and is not read yet."""
        if self._readers is None:
            return
        for task in self._tasks():
            if task.id not in self._seen and task.status.state >= TaskState.STARTING and _matches(self._selector, task):
                self._seen.add(task.id)
                self._open += 1
                self._readers.create_task(self._read(task))

    async def _read(self, task: Task) -> None:
        try:
            async for line in self._executor.logs(task, self._request):
                await self._lines.put(line)
        except (ShoalError, OSError):
            pass  # no container, or a driver that cannot be read: nothing to say for this task
        self._open -= 1
        await self._lines.put(None)

    async def next(self) -> list[ServiceLogLine] | None:
        """Some lines, as soon as there are any; None when all has been said, which following never is."""
        while True:
            if not self._open and self._lines.empty() and not self._request.follow:
                return None
            batch = _gather(await self._lines.get(), self._lines)
            if batch:
                return batch


def _gather(first: ServiceLogLine | None, queue: asyncio.Queue[ServiceLogLine | None]) -> list[ServiceLogLine]:
    batch: list[ServiceLogLine] = []
    size = 0
    line = first
    while True:
        if line is not None:
            batch.append(line)
            size += len(line.data)
        if queue.empty() or len(batch) >= BATCH or size >= BATCH_BYTES:
            return batch
        line = queue.get_nowait()


def _matches(selector: LogSelector, task: Task) -> bool:
    return task.service_id in selector.service_ids or task.id in selector.task_ids or task.node_id in selector.node_ids
