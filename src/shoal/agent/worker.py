"""The set of tasks of this node: applies assignments, one runner per task, and keeps all of it on disk."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from types import TracebackType

from msgspec.structs import replace

from shoal.agent.disk import Kept, TaskFiles, TaskKeeper
from shoal.agent.executor import Controller, Executor
from shoal.agent.reports import Reporter
from shoal.agent.runner import Runner
from shoal.kit.clock import Clock
from shoal.kit.tasks import background
from shoal.model.objects import Network, Task, TaskStatus
from shoal.model.states import TaskState
from shoal.wire.convert_task import networks_from_wire, task_from_wire
from shoal.wire.pb import swarmkit_pb2 as pb


class OutOfStep(Exception):
    """An incremental message does not follow the one before it: a new session is needed."""


class Worker:
    """Use as a context: entering adopts what is on disk, leaving stops the loops and leaves containers running."""

    def __init__(self, executor: Executor, files: TaskFiles, reporter: Reporter, clock: Clock) -> None:
        self._executor = executor
        self._files = files
        self._keeper = TaskKeeper(files)
        self._reporter = reporter
        self._clock = clock
        self._runners: dict[str, Runner] = {}
        self._networks: dict[str, Network] = {}
        self._applied = ""
        self._stack = AsyncExitStack()
        self._group: asyncio.TaskGroup | None = None
        self.on_tasks: Callable[[], None] = lambda: None
        """Called when a task has come, gone, or changed its state."""

    async def __aenter__(self) -> Worker:
        self._group = await self._stack.enter_async_context(background(self._keeper.run()))
        for kept in self._files.load():
            self._networks.update((network.id, network) for network in kept.networks)
            self._begin(kept.task, kept.status)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.__aexit__(kind, fault, trace)

    @property
    def tasks(self) -> list[Task]:
        """The tasks here, by id, with their newest statuses."""
        return [replace(runner.task, status=runner.status) for _, runner in sorted(self._runners.items())]

    def _networks_of(self, task: Task) -> list[Network]:
        """The networks of a task, as they came with it."""
        return [
            self._networks[held.network_id] for held in task.networks_attachments if held.network_id in self._networks
        ]

    def _keep(self, task: Task, status: TaskStatus) -> None:
        self._keeper.put(Kept(task=task, status=status, networks=self._networks_of(task)))

    def report_all(self) -> None:
        """Queue the status of every task: the first thing in each session."""
        for task_id, runner in self._runners.items():
            if runner.status.state > TaskState.ASSIGNED:
                self._reporter.put(task_id, runner.status)

    def apply(self, message: pb.AssignmentsMessage) -> None:
        """Take an assignments message. Raises OutOfStep when one before it was lost."""
        complete = message.type == pb.AssignmentsMessage.COMPLETE
        if not complete and message.applies_to != self._applied:
            raise OutOfStep
        self._applied = message.results_in
        listed: set[str] = set()
        for change in message.changes:
            if change.assignment.WhichOneof("item") != "task":
                continue
            task = task_from_wire(change.assignment.task)
            if change.action == pb.AssignmentChange.REMOVE:
                self._drop(task.id)
                continue
            listed.add(task.id)
            self._networks.update((network.id, network) for network in networks_from_wire(change.assignment.task))
            self._take(task)
        if complete:
            for task_id in self._runners.keys() - listed:
                self._drop(task_id)
        self.on_tasks()

    def _take(self, task: Task) -> None:
        runner = self._runners.get(task.id)
        if runner is None:
            self._begin(task, task.status)
            self._keep(task, task.status)
        else:
            runner.update(task)
            self._keep(runner.task, runner.status)

    def _begin(self, task: Task, status: TaskStatus) -> None:
        runner = Runner(task, status, self._resolve, self._seen, self._clock)
        self._runners[task.id] = runner
        assert self._group is not None
        self._group.create_task(self._run(runner))

    def _resolve(self, task: Task) -> Controller:
        return self._executor.controller(task, self._networks_of(task))

    def _drop(self, task_id: str) -> None:
        runner = self._runners.get(task_id)
        if runner is not None:
            runner.drop()

    async def _run(self, runner: Runner) -> None:
        await runner.run()
        self._keeper.drop(runner.task.id)
        self._reporter.forget(runner.task.id)
        if self._runners.get(runner.task.id) is runner:
            del self._runners[runner.task.id]
        self.on_tasks()

    def _seen(self, task: Task, status: TaskStatus) -> None:
        self._keep(task, status)
        self._reporter.put(task.id, status)
        self.on_tasks()

    async def remove_everything(self) -> None:
        """The node leaves the swarm: stop and remove every task's container."""
        leaving = list(self._runners)
        for task_id in leaving:
            self._drop(task_id)
        await self._executor.remove_all()
        for task_id in leaving:
            self._files.remove(task_id)
