"""A small world for tests of the node protocol: one manager over a store in memory, agents over real TLS on loopback,
containers that are only pretended."""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from msgspec.structs import replace

from shoal.agent.agent import Agent
from shoal.agent.executor import Executor, Exit
from shoal.agent.remotes import Remote, Remotes
from shoal.ca.files import CertificateFiles, KeyPair
from shoal.ca.issue import issue_node, new_csr
from shoal.ca.root import new_root
from shoal.ca.tls import client_context, server_context
from shoal.ca.tokens import new_tokens
from shoal.kit.clock import SystemClock
from shoal.kit.ids import SeededIds
from shoal.kit.tasks import background
from shoal.manager.serving import NodeProtocol
from shoal.model.errors import NotFound, ShoalError
from shoal.model.netstate import NetworkUpdate
from shoal.model.objects import (
    Cluster,
    ContainerStatus,
    ManagerStatus,
    Network,
    Node,
    NodeDescription,
    PortStatus,
    Task,
    TaskStatus,
)
from shoal.model.service_logs import LogRequest, ServiceLogLine
from shoal.model.states import TaskState
from shoal.model.swarm_spec import ClusterSpec, ContainerSpec, DispatcherConfig, TaskSpec
from shoal.store.base import Put
from shoal.store.memory import MemoryStore
from tests.waiting import until


class FakeController:
    """A container that does what its image is called: `fail-prepare`, `exit-3`, `done`; any other runs on."""

    def __init__(self, executor: FakeExecutor, task: Task) -> None:
        self.executor = executor
        self.task = task
        self.image = task.spec.container_spec.image if task.spec.container_spec else ""

    async def prepare(self) -> None:
        if self.image == "fail-prepare":
            raise NotFound("No such image: fail-prepare:latest")
        self.executor.created.setdefault(self.task.id, asyncio.get_running_loop().create_future())

    async def start(self) -> None:
        self.executor.started.append(self.task.id)
        if self.image.startswith("exit-"):
            self.executor.exit(self.task.id, int(self.image.removeprefix("exit-")))

    async def wait(self) -> Exit:
        if self.task.id not in self.executor.created:
            raise NotFound(f"No such container: {self.task.id}")
        return Exit(await asyncio.shield(self.executor.created[self.task.id]))

    async def shutdown(self) -> None:
        self.executor.stopped.append(self.task.id)
        self.executor.exit(self.task.id, 0)

    async def remove(self) -> None:
        self.executor.created.pop(self.task.id, None)

    async def container(self) -> ContainerStatus | None:
        return (
            ContainerStatus(container_id="c" + self.task.id, pid=7) if self.task.id in self.executor.created else None
        )

    async def ports(self) -> PortStatus | None:
        return None


@dataclass
class FakeExecutor:
    """Remembers what was done. `created` outlives agents, as containers do."""

    hostname: str
    node_id: str = ""
    created: dict[str, asyncio.Future[int]] = field(default_factory=dict)
    started: list[str] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)
    lines: list[bytes] = field(default_factory=list)

    def describe(self) -> NodeDescription:
        return NodeDescription(hostname=self.hostname)

    def controller(self, task: Task, networks: Sequence[Network]) -> FakeController:
        if task.spec.container_spec is None:
            raise ShoalError("unsupported runtime")
        return FakeController(self, task)

    def exit(self, task_id: str, code: int) -> None:
        future = self.created.get(task_id)
        if future is not None and not future.done():
            future.set_result(code)

    async def logs(self, task: Task, request: LogRequest) -> AsyncIterator[ServiceLogLine]:
        lines = self.lines if request.tail is None else self.lines[len(self.lines) - request.tail :]
        for data in lines:
            yield ServiceLogLine(
                service_id=task.service_id,
                node_id=self.node_id,
                task_id=task.id,
                moment=SystemClock().now(),
                stream=1,
                data=data,
            )
        if request.follow:
            await asyncio.Event().wait()

    async def remove_all(self) -> None:
        self.created.clear()


class FakeNetworks:
    """Keeps updates; applying can be held back."""

    def __init__(self) -> None:
        self.updates: list[NetworkUpdate] = []
        self.known: set[str] = set()
        self.open = asyncio.Event()
        self.open.set()

    async def apply(self, update: NetworkUpdate, node_id: str) -> None:
        await self.open.wait()
        self.updates.append(update)
        self.known |= {snapshot.network.id for snapshot in update.snapshots}

    def find(self, name_or_id: str) -> str:
        if name_or_id not in self.known:
            raise NotFound(f"network {name_or_id} not found")
        return name_or_id


@dataclass
class Manager:
    """A manager's port, and whether it leads."""

    protocol: NodeProtocol
    address: str
    leading: asyncio.Task[None] | None = None


class World:
    """See the module. `period` is the heartbeat period in seconds."""

    def __init__(self, directory: Path, group: asyncio.TaskGroup, stack: AsyncExitStack, period: float) -> None:
        self.directory = directory
        self.clock = SystemClock()
        self.ids = SeededIds(1)
        self.store = MemoryStore(self.clock)
        self.root = new_root(self.clock.now())
        self.cluster_id = self.ids.object_id()
        self.period = period
        self.group = group
        self.stack = stack
        self.numbers = iter(range(1000))

    async def prepare(self) -> None:
        """The swarm's first object."""
        spec = ClusterSpec(dispatcher=DispatcherConfig(heartbeat_period=int(self.period * 1e9)))
        tokens = new_tokens(self.root.certificate)
        cluster = Cluster(id=self.cluster_id, spec=spec, root_ca=self.root, join_tokens=tokens)
        await self.store.commit([Put(cluster)])

    def certificates(self, node_id: str, role: str) -> CertificateFiles:
        """A node's files, signed by the root."""
        files = CertificateFiles(self.directory / f"certificates-{node_id}")
        key, csr = new_csr()
        pem = issue_node(
            self.root,
            csr,
            node_id=node_id,
            role=role,
            cluster_id=self.cluster_id,
            now=self.clock.now(),
            expiry=self.clock.now() - self.clock.now().replace(year=2000),
        )
        files.save_root(self.root.certificate)
        files.save(KeyPair(pem, key))
        return files

    async def manager(
        self, *, lead: bool = True, host: str = "127.0.0.1", where: AbstractContextManager[None] | None = None
    ) -> Manager:
        """One more manager on a free port; its socket is made in the scope `where`."""
        node_id = self.ids.object_id()
        address = ""
        protocol = NodeProtocol(self.store, self.clock, self.ids, random.Random(1), own=lambda: (node_id, address))
        context = server_context(self.certificates(node_id, "manager"))
        with where or nullcontext():
            host, port = await protocol.start(host, 0, context)
        address = f"{host}:{port}"
        self.stack.push_async_callback(protocol.close)
        status = ManagerStatus(leader=lead, reachability="reachable", addr=address)
        await self.store.commit([Put(Node(id=node_id, role="manager", manager_status=status))])
        manager = Manager(protocol, address)
        if lead:
            self.lead(manager)
        return manager

    def lead(self, manager: Manager) -> None:
        """Make it the leader."""
        manager.leading = self.group.create_task(manager.protocol.lead(None))

    async def node(self) -> tuple[str, ssl.SSLContext]:
        """A node's record and its client context."""
        node_id = self.ids.object_id()
        await self.store.commit([Put(Node(id=node_id))])
        return node_id, await self.context(node_id)

    async def context(self, node_id: str) -> ssl.SSLContext:
        """A client context for a worker."""
        return client_context(self.certificates(node_id, "worker"))

    def agent(
        self,
        node_id: str,
        context: ssl.SSLContext,
        managers: list[Manager],
        executor: Executor,
        networks: FakeNetworks | None = None,
    ) -> Agent:
        """An agent that is not started."""
        return Agent(
            executor,
            Remotes(Remote(addr=manager.address) for manager in managers),
            node_id=node_id,
            directory=self.directory / node_id,
            context=context,
            clock=self.clock,
            rng=random.Random(2),
            networks=networks,
        )

    async def worker(
        self, *managers: Manager, networks: FakeNetworks | None = None
    ) -> tuple[str, FakeExecutor, asyncio.Task[None]]:
        """A node with a running agent: its id, its executor, and the task to cancel it by."""
        node_id, context = await self.node()
        executor = FakeExecutor(f"host{next(self.numbers)}", node_id)
        running = self.run(self.agent(node_id, context, list(managers), executor, networks))
        await until(lambda: self.get_node(node_id).status.state == "ready")
        return node_id, executor, running

    def run(self, agent: Agent) -> asyncio.Task[None]:
        """Start an agent; cancelling the task is like killing it: nothing is stopped or said."""

        async def life() -> None:
            async with agent:
                await agent.run()

        return self.group.create_task(life())

    def get_node(self, node_id: str) -> Node:
        """The node's newest record."""
        node = self.store.view.get(Node, node_id)
        assert node is not None
        return node

    def get_task(self, task_id: str) -> Task:
        """The task's newest record."""
        task = self.store.view.get(Task, task_id)
        assert task is not None
        return task

    async def assign(self, node_id: str, image: str = "web", **fields: object) -> str:
        """A task for the node, as the scheduler would leave it."""
        task = Task(
            id=self.ids.object_id(),
            spec=TaskSpec(container_spec=ContainerSpec(image=image)),
            node_id=node_id,
            service_id="service1",
            service_name="web",
            slot=1,
            status=TaskStatus(state=TaskState.ASSIGNED, message="scheduler assigned task to node"),
            **fields,  # type: ignore[arg-type]
        )
        await self.store.commit([Put(task)])
        return task.id

    async def desire(self, task_id: str, state: TaskState) -> None:
        """Change what is wanted of a task."""
        await self.store.commit([Put(replace(self.get_task(task_id), desired_state=state))])

    async def reaches(self, task_id: str, state: TaskState, timeout: float = 10) -> Task:
        """Wait until the task is seen in a state."""
        await until(lambda: self.get_task(task_id).status.state == state, timeout, 0.005)
        return self.get_task(task_id)


@asynccontextmanager
async def world(directory: Path, period: float = 5) -> AsyncIterator[World]:
    """A world; everything in it ends with the scope."""
    async with AsyncExitStack() as stack, background() as group:
        made = World(directory, group, stack, period)
        await made.prepare()
        yield made
