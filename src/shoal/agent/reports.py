"""Statuses on their way to the leader: the latest of each task, together, again if a call fails."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from shoal.kit.tasks import Bell
from shoal.model.objects import TaskStatus
from shoal.wire.convert_task import status_to_wire
from shoal.wire.pb import swarmkit_pb2 as pb

MOST = 1000
"""Statuses in one call."""

Send = Callable[[list[pb.UpdateTaskStatusRequest.TaskStatusUpdate]], Awaitable[None]]


class Reporter:
    """Collects statuses; `run` sends them over a session for as long as that lasts."""

    def __init__(self) -> None:
        self._pending: dict[str, TaskStatus] = {}
        self._bell = Bell()

    def put(self, task_id: str, status: TaskStatus) -> None:
        """A new status; it takes the place of one of the same task that has not been sent yet."""
        self._pending[task_id] = status
        self._bell.ring()

    def forget(self, task_id: str) -> None:
        """The task is gone; nobody wants its status."""
        self._pending.pop(task_id, None)

    async def run(self, send: Send) -> None:
        """Send until cancelled, or until `send` fails; what it failed to send stays."""
        self._bell.ring()
        while True:
            await self._bell.wait()
            while self._pending:
                batch = dict(list(self._pending.items())[:MOST])
                for task_id in batch:
                    del self._pending[task_id]
                try:
                    await send(
                        [
                            pb.UpdateTaskStatusRequest.TaskStatusUpdate(task_id=id, status=status_to_wire(status))
                            for id, status in batch.items()
                        ]
                    )
                except BaseException:
                    self._pending = batch | self._pending
                    raise
