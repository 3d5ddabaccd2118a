"""One task on its node: a pure decision, `step`, and a loop that does what it says until there is nothing left to do.

Managers own the desired state, the agent the observed one; both only rise. The loop may be cut off at any moment: what
is on disk says where to go on, and every action can be repeated.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from enum import Enum
from typing import TypeVar

from msgspec.structs import replace

from shoal.agent.executor import Controller, Exit, TemporaryError
from shoal.kit.clock import Clock
from shoal.kit.tasks import Bell
from shoal.model.errors import ShoalError, Unavailable
from shoal.model.objects import ContainerStatus, Task, TaskStatus
from shoal.model.states import TaskState, advance

T = TypeVar("T")
_LOG = logging.getLogger(__name__)

RETRY = 1.0
"""Seconds before an action that failed for now is tried again."""


class Action(Enum):
    """What to do next with a task."""

    NOTHING = "nothing"
    ACCEPT = "accept"
    BEGIN_PREPARING = "begin preparing"
    PREPARE = "prepare"
    BEGIN_STARTING = "begin starting"
    START = "start"
    WAIT = "wait"
    SHUT_DOWN = "shut down"


def step(desired: TaskState, observed: TaskState) -> Action:
    """The next action. A task whose desired state is READY stops there: prepared, not started."""
    if desired >= TaskState.SHUTDOWN:
        return Action.NOTHING if observed >= TaskState.COMPLETE else Action.SHUT_DOWN
    if observed > desired:
        return Action.NOTHING
    going_on = {
        TaskState.PREPARING: Action.PREPARE,
        TaskState.STARTING: Action.START,
        TaskState.RUNNING: Action.WAIT,
    }.get(observed)
    if going_on is not None:
        return going_on
    if observed >= desired:
        return Action.NOTHING
    if observed <= TaskState.ASSIGNED:
        return Action.ACCEPT
    return Action.BEGIN_PREPARING if observed == TaskState.ACCEPTED else Action.BEGIN_STARTING


def failed_state(observed: TaskState) -> TaskState:
    """What a fatal error makes of a task: rejected before it was started, failed after."""
    return TaskState.REJECTED if observed < TaskState.STARTING else TaskState.FAILED


def exit_error(exit: Exit) -> str:
    """The error of a container that ended with this; empty for success."""
    if exit.code == 0 and not exit.cause:
        return ""
    return f"task: non-zero exit ({exit.code})" + (f": {exit.cause}" if exit.cause else "")


class Interrupted(Exception):
    """The action was cut short because the task is to stop."""


class Runner:
    """The loop of one task. `report` gets each new status, after `status` has it."""

    def __init__(
        self,
        task: Task,
        status: TaskStatus,
        resolve: Callable[[Task], Controller],
        report: Callable[[Task, TaskStatus], None],
        clock: Clock,
    ) -> None:
        self.task = task
        self.status = status
        self._resolve = resolve
        self._report = report
        self._clock = clock
        self._bell = Bell()
        self._stopping = asyncio.Event()
        self._dropped = False

    def update(self, task: Task) -> None:
        """The manager's newest version of the task; a desired state that falls is ignored."""
        self.task = replace(task, desired_state=advance(self.task.desired_state, task.desired_state))
        if self.task.desired_state >= TaskState.SHUTDOWN:
            self._stopping.set()
        self._bell.ring()

    def drop(self) -> None:
        """Nobody wants the task any more: stop it, remove what it made, and end `run`."""
        self._dropped = True
        self._stopping.set()
        self._bell.ring()

    async def run(self) -> None:
        """Bring the task where it is desired until it is dropped."""
        try:
            controller = self._resolve(self.task)
        except Exception as fault:  # whatever is wrong with one task must not end the others
            if not isinstance(fault, ShoalError):
                _LOG.exception("task %s cannot be run here", self.task.id)
            self._become(failed_state(self.status.state), "resolving controller failed", err=str(fault))
            while not self._dropped:
                await self._bell.wait()
            return
        if self.task.desired_state >= TaskState.SHUTDOWN:
            self._stopping.set()
        while True:
            desired = TaskState.REMOVE if self._dropped else self.task.desired_state
            action = step(desired, self.status.state)
            if action is not Action.NOTHING:
                await self._perform(action, controller)
            elif self._dropped:
                await self._persist(controller.remove)
                return
            else:
                await self._bell.wait()

    async def _perform(self, action: Action, controller: Controller) -> None:
        try:
            await self._do(action, controller)
        except Interrupted:
            pass
        except (TemporaryError, Unavailable, TimeoutError) as fault:
            self._set(replace(self.status, err=str(fault), timestamp=self._clock.now()))
            await self._bell.wait(RETRY)
        except (ShoalError, OSError) as fault:
            await self._fail(controller, str(fault))
        except Exception as fault:  # a defect of ours costs this task, not the node
            _LOG.exception("task %s: cannot %s", self.task.id, action.value)
            await self._fail(controller, f"internal error: {fault!r}")

    async def _fail(self, controller: Controller, reason: str) -> None:
        container = None
        try:
            container = await controller.container()
        except (ShoalError, OSError):
            pass  # then it is told without
        self._become(failed_state(self.status.state), self.status.message, err=reason, container=container)

    async def _do(self, action: Action, controller: Controller) -> None:
        if action is Action.ACCEPT:
            self._become(TaskState.ACCEPTED, "accepted")
        elif action is Action.BEGIN_PREPARING:
            self._become(TaskState.PREPARING, "preparing")
        elif action is Action.PREPARE:
            await self._unless_stopping(controller.prepare())
            self._become(TaskState.READY, "prepared", container=await controller.container())
        elif action is Action.BEGIN_STARTING:
            self._become(TaskState.STARTING, "starting")
        elif action is Action.START:
            await self._unless_stopping(controller.start())
            container, ports = await controller.container(), await controller.ports()
            status = replace(self.status, port_status=ports) if ports else self.status
            self._become(TaskState.RUNNING, "started", container=container, base=status)
        elif action is Action.WAIT:
            self._ended(await self._unless_stopping(controller.wait()))
        else:
            await controller.shutdown()
            self._become(TaskState.SHUTDOWN, "shutdown", container=await controller.container())

    def _ended(self, exit: Exit) -> None:
        error = exit_error(exit)
        known = self.status.container_status or ContainerStatus()
        container = replace(known, exit_code=exit.code, pid=0)
        if error:
            self._become(TaskState.FAILED, self.status.message, err=error, container=container)
        else:
            self._become(TaskState.COMPLETE, "finished", container=container)

    async def _unless_stopping(self, work: Awaitable[T]) -> T:
        """Await `work`, but cancel it when the task is to stop. Raises Interrupted then."""
        async with asyncio.TaskGroup() as group:
            stopping = group.create_task(self._stopping.wait())
            working = group.create_task(_outcome(work))
            await asyncio.wait({stopping, working}, return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            working.cancel()
        if working.cancelled():
            raise Interrupted
        value, fault = working.result()
        if fault is not None:
            raise fault
        return value  # type: ignore[return-value]

    async def _persist(self, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                return await work()
            except (ShoalError, OSError, TemporaryError, TimeoutError):
                await self._bell.wait(RETRY)

    def _become(
        self,
        state: TaskState,
        message: str,
        *,
        err: str = "",
        container: ContainerStatus | None = None,
        base: TaskStatus | None = None,
    ) -> None:
        status = replace(base or self.status, state=state, message=message, err=err, timestamp=self._clock.now())
        self._set(replace(status, container_status=container) if container is not None else status)

    def _set(self, status: TaskStatus) -> None:
        self.status = replace(status, applied_at=None)
        self._report(self.task, self.status)


async def _outcome(work: Awaitable[T]) -> tuple[T | None, Exception | None]:
    """What `work` returned or raised, as a value: a failure must not cancel the group around it."""
    try:
        return await work, None
    except Exception as fault:
        return None, fault
