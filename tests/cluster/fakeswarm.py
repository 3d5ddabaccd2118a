"""A whole swarm's deciding half in one process: a store in memory, the leader's loop, and an agent that obeys."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta

from msgspec.structs import replace

from shoal.kit.clock import LoopClock
from shoal.kit.ids import SeededIds
from shoal.kit.tasks import Bell, background
from shoal.manager.control import Control
from shoal.manager.loop import decide_while_leading
from shoal.model.errors import OutOfSequence
from shoal.model.objects import Cluster, Network, Node, NodeDescription, NodeStatus, Service, Task
from shoal.model.states import TaskState
from shoal.model.swarm_spec import (
    ClusterSpec,
    ContainerSpec,
    NetworkSpec,
    NodeSpec,
    Platform,
    ReplicatedService,
    Resources,
    ServiceMode,
    ServiceSpec,
    TaskSpec,
)
from shoal.store.base import Delete, Put
from shoal.store.memory import MemoryStore

STEPS = {
    TaskState.ASSIGNED: TaskState.ACCEPTED,
    TaskState.ACCEPTED: TaskState.PREPARING,
    TaskState.PREPARING: TaskState.READY,
    TaskState.STARTING: TaskState.RUNNING,
}


def spec(name: str = "web", replicas: int | None = 1, image: str = "app:1", **more: object) -> ServiceSpec:
    """A service's spec; `replicas` None is a global service, `template` are fields of the task template."""
    template = more.pop("template", {})
    mode = ServiceMode(replicated=ReplicatedService(replicas=replicas))
    return ServiceSpec(
        name=name,
        mode=mode if replicas is not None else more.pop("mode"),  # type: ignore[arg-type]
        task_template=TaskSpec(container_spec=ContainerSpec(image=image), **template),  # type: ignore[arg-type]
        **more,  # type: ignore[arg-type]
    )


def node(id: str, **more: object) -> Node:
    """A worker that is ready: 4 cores, 8 GiB."""
    fields: dict[str, object] = {
        "spec": NodeSpec(),
        "status": NodeStatus(state="ready", addr="192.168.99.101"),
        "description": NodeDescription(
            hostname=id,
            platform=Platform(architecture="x86_64", os="linux"),
            resources=Resources(nano_cpus=4 * 10**9, memory_bytes=8 * 2**30),
        ),
    }
    return Node(id=id, **(fields | more))  # type: ignore[arg-type]


class FakeSwarm:
    """The store, and an agent for every ready node, which takes `pace` seconds per step.

    `fails(task)` may say in which state a task fails; `silent` nodes report nothing.
    """

    def __init__(self, pace: float = 0.1) -> None:
        self.clock = LoopClock()
        self.ids = SeededIds(7)
        self.store = MemoryStore(self.clock)
        self.pace = pace
        self.silent: set[str] = set()
        self.fails: Callable[[Task], TaskState | None] = lambda task: None
        self.history: list[tuple[float, Task]] = []
        self.commits = 0
        self.control = Control(self.store, self.clock, self.ids)
        self.abdicate = Bell()

    # --- asking --------------------------------------------------------------------------------------------------

    def service(self, name: str = "web") -> Service:
        found = self.store.view.named(Service, name)
        assert found is not None
        return found

    def node(self, id: str) -> Node:
        found = self.store.view.get(Node, id)
        assert found is not None
        return found

    def tasks(self, name: str = "web") -> list[Task]:
        return self.store.view.tasks_of_service(self.service(name).id)

    def running(self, name: str = "web") -> list[Task]:
        return [t for t in self.tasks(name) if t.status.state == t.desired_state == TaskState.RUNNING]

    def spread(self, name: str = "web") -> dict[str, int]:
        found: dict[str, int] = {}
        for task in self.running(name):
            found[task.node_id] = found.get(task.node_id, 0) + 1
        return found

    async def until(self, condition: Callable[[], object], timeout: float = 60.0) -> float:
        """Wait in virtual time until `condition`; returns the moment."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        while not condition():
            assert loop.time() < deadline, "still not true"
            await asyncio.sleep(0.01)
        return loop.time()

    async def rest(self, seconds: float) -> None:
        """Let virtual time pass."""
        await asyncio.sleep(seconds)

    # --- doing ---------------------------------------------------------------------------------------------------

    async def create(self, service_spec: ServiceSpec) -> str:
        id = self.ids.object_id()
        await self.store.commit([Put(thing=Service(id=id, spec=service_spec))])
        return id

    async def update(self, change: Callable[[ServiceSpec], ServiceSpec], name: str = "web") -> None:
        while True:
            old = self.service(name)
            new = replace(
                old,
                spec=change(old.spec),
                previous_spec=old.spec,
                spec_version=old.version.index,
                previous_spec_version=old.spec_version,
                update_status=None,
            )
            try:
                await self.store.commit([Put(thing=new)])
                return
            except OutOfSequence:
                continue

    async def change_node(self, id: str, **fields: object) -> None:
        while True:
            try:
                await self.store.commit([Put(thing=replace(self.node(id), **fields))])
                return
            except OutOfSequence:
                continue

    async def kill(self, id: str) -> None:
        """The node goes silent, and the dispatcher has noticed."""
        self.silent.add(id)
        await self.change_node(id, status=NodeStatus(state="down"), down_since=self.clock.now())

    async def drain(self, id: str, availability: str = "drain") -> None:
        await self.change_node(id, spec=replace(self.node(id).spec, availability=availability))

    async def lead(self) -> None:
        """Lead; at each `abdicate` another leader, which knows nothing but the store, takes over."""
        while True:
            async with background(decide_while_leading(self.store, None, self.clock, self.ids)):
                await self.abdicate.wait()

    # --- the agent -----------------------------------------------------------------------------------------------

    async def agent(self) -> None:
        while True:
            await asyncio.sleep(self.pace)
            reports = [
                Put(thing=stepped)
                for node in self.store.view.all(Node)
                if node.id not in self.silent and node.status.state == "ready"
                for task in self.store.view.tasks_of_node(node.id)
                if (stepped := self.step(task)) is not None
            ]
            if reports:
                try:
                    await self.store.commit(reports)
                except OutOfSequence:
                    continue

    def step(self, task: Task) -> Task | None:
        state = task.status.state
        if state < TaskState.ASSIGNED or state.terminal:
            return None
        if task.desired_state >= TaskState.SHUTDOWN:
            return self.report(task, TaskState.SHUTDOWN)
        failing = self.fails(task)
        if failing is not None and state < failing:
            bad = STEPS.get(state) == failing or (state == TaskState.READY and failing == TaskState.STARTING)
            if bad:
                return self.report(task, TaskState.REJECTED, err="No such image: nope")
        if failing == TaskState.RUNNING == state:
            return self.report(task, TaskState.FAILED, err="task: non-zero exit (1)")
        if state == TaskState.READY:
            return self.report(task, TaskState.STARTING) if task.desired_state >= TaskState.RUNNING else None
        following = STEPS.get(state)
        return self.report(task, following) if following is not None else None

    def report(self, task: Task, state: TaskState, err: str = "") -> Task:
        now = self.clock.now()
        status = replace(task.status, state=state, message=state.word, err=err, timestamp=now, applied_at=now)
        return replace(task, status=status)

    async def watch(self) -> None:
        """Keep every form that a task ever had, and check what must always hold."""
        with self.store.subscribe() as changes:
            async for batch in changes:
                self.commits += 1
                for changed in batch:
                    if isinstance(changed.new, Task):
                        if isinstance(changed.old, Task):
                            assert changed.new.status.state >= changed.old.status.state
                            assert changed.new.desired_state >= changed.old.desired_state
                        self.history.append((asyncio.get_running_loop().time(), changed.new))


@asynccontextmanager
async def fake_swarm(*nodes: Node, pace: float = 0.1, networks: bool = True) -> AsyncIterator[FakeSwarm]:
    """A swarm of `nodes` that decides and works."""
    swarm = FakeSwarm(pace)
    things: list[Cluster | Node | Network] = [Cluster(id="cluster", spec=ClusterSpec()), *nodes]
    if networks:
        things.append(Network(id="ingress", spec=NetworkSpec(name="ingress", driver="overlay", ingress=True)))
    await swarm.store.commit([Put(thing=thing) for thing in things])
    async with background(swarm.watch(), swarm.lead(), swarm.agent()):
        yield swarm


def in_seconds(value: float) -> int:
    """Nanoseconds, as specs have them."""
    return int(timedelta(seconds=value).total_seconds() * 10**9)


__all__ = ["Delete", "FakeSwarm", "fake_swarm", "in_seconds", "node", "spec"]
