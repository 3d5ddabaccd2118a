"""The executor over the engine: a task is a container with the swarm's labels."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing, suppress
from typing import Any

from shoal import __version__
from shoal.agent.executor import Exit
from shoal.agent.plan import LABEL_NODE, LABEL_TASK, Plan, plan
from shoal.agent.pulls import Pulls
from shoal.agent.runner import exit_error
from shoal.engine.engine import Engine
from shoal.engine.logs import LogOptions
from shoal.kit.clock import ZERO_TIME
from shoal.model.container import Container, ContainerState
from shoal.model.errors import Conflict, NotFound, NotModified, PermissionDenied, ShoalError, Unauthenticated
from shoal.model.names import task_name
from shoal.model.objects import (
    ContainerStatus,
    EngineDescription,
    Network,
    NodeDescription,
    Plugin,
    PortStatus,
    Task,
    TLSInfo,
)
from shoal.model.service_logs import LogRequest, ServiceLogLine
from shoal.model.swarm_spec import GenericResource, Platform, PortConfig, Resources

logger = logging.getLogger(__name__)

PATIENCE = 30.0
"""Seconds that a task waits for its networks (SwarmKit's number)."""
UNHEALTHY = "dockerexec: unhealthy container"
NO_NETWORK = "node is missing network attachments, ip addresses may be exhausted"

FindNetwork = Callable[[str], Any]
"""`Networks.find`: the network with an id; raises NotFound."""

_PLUGINS = [
    *(Plugin(type="Log", name=name) for name in ("json-file", "local")),
    *(Plugin(type="Network", name=name) for name in ("bridge", "host", "null", "overlay")),
    Plugin(type="Volume", name="local"),
]


class EngineExecutor:
    """Runs tasks on this machine's engine. `tls` says which root this node trusts and who issued its certificate."""

    def __init__(
        self,
        engine: Engine,
        find_network: FindNetwork,
        *,
        tls: Callable[[], TLSInfo] = TLSInfo,
        generic_resources: Sequence[GenericResource] = (),
        version: str = __version__,
    ) -> None:
        self.engine = engine
        self.find_network = find_network
        self.pulls = Pulls(engine.images)
        self._tls = tls
        self._generic = list(generic_resources)
        self._version = version

    def describe(self) -> NodeDescription:
        """See `Executor`."""
        facts = self.engine.system.facts
        return NodeDescription(
            hostname=self.engine.system.hostname,
            platform=Platform(architecture=facts.architecture, os="linux"),
            resources=Resources(
                nano_cpus=facts.cpus * 10**9, memory_bytes=facts.memory, generic_resources=self._generic
            ),
            engine=EngineDescription(
                engine_version=self._version,
                labels=dict(label.partition("=")[::2] for label in self.engine.system.labels),
                plugins=_PLUGINS,
            ),
            tls_info=self._tls(),
        )

    def controller(self, task: Task, networks: Sequence[Network]) -> ContainerController:
        """See `Executor`."""
        return ContainerController(self, task, plan(task, networks, self.describe()))

    async def logs(self, task: Task, request: LogRequest) -> AsyncIterator[ServiceLogLine]:
        """See `Executor`."""
        options = LogOptions(
            stdout=request.stdout,
            stderr=request.stderr,
            follow=request.follow,
            tail=-1 if request.tail is None else request.tail,
            since=request.since,
        )
        container = find(self.engine, task)
        async for line in self.engine.containers.logs(container.id, options):
            yield ServiceLogLine(
                service_id=task.service_id,
                node_id=task.node_id,
                task_id=task.id,
                moment=line.moment,
                stream=line.stream,
                data=line.data,
            )

    async def remove_all(self) -> None:
        """See `Executor`. Kills them: the node has left, nobody counts on a graceful end."""
        async with asyncio.TaskGroup() as group:
            for container in self.engine.containers.list():
                if LABEL_NODE in container.config.labels:
                    group.create_task(self._remove(container.id))

    async def _remove(self, id: str) -> None:
        try:
            await self.engine.containers.remove(id, force=True, volumes=True)
        except NotFound:
            return
        except (ShoalError, OSError) as fault:  # the others go all the same
            logger.error("container %s cannot be removed: %s", id[:12], fault)


def find(engine: Engine, task: Task) -> Container:
    """The task's container: by name, which another might have taken, else by label. Raises NotFound."""
    with suppress(ShoalError):
        named = engine.containers.find(task.name or task_name(task))
        if named.config.labels.get(LABEL_TASK) == task.id:
            return named
    for container in engine.containers.list():
        if container.config.labels.get(LABEL_TASK) == task.id:
            return container
    raise NotFound(f"No such container: {task.id}")


class ContainerController:
    """One task's container. See `Controller`."""

    def __init__(self, executor: EngineExecutor, task: Task, plan: Plan) -> None:
        self._engine = executor.engine
        self._executor = executor
        self._task = task
        self._plan = plan
        self._id = ""

    def _find(self) -> Container:
        if not self._id:
            self._id = find(self._engine, self._task).id
        return self._engine.containers.find(self._id)

    async def prepare(self) -> None:
        """Wait for the networks, get the image, create the container."""
        await self._wait_for_networks()
        pulling: Exception | None = None
        try:
            await self._executor.pulls.get(self._plan.config.image, self._task.registry_auth)
        except (ShoalError, OSError) as fault:
            pulling = fault
        try:
            made = await self._engine.containers.create(
                self._plan.name, self._plan.config, self._plan.host, self._plan.networking, managed=True
            )
            self._id = made.id
        except Conflict:
            self._find_prepared()
        except NotFound:
            if isinstance(pulling, Unauthenticated | PermissionDenied):
                raise pulling from None
            raise

    def _find_prepared(self) -> None:
        """The name is taken: by this very task's container, made before an interruption? Else raises Conflict."""
        try:
            self._find()
        except NotFound:
            raise Conflict(f"the container name {self._plan.name} is already in use") from None

    async def _wait_for_networks(self) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                wait = 0.005
                while not all(self._has(id) for id in self._plan.networks):
                    await asyncio.sleep(wait)
                    wait = min(0.1, wait * 1.5)
        except TimeoutError:
            raise ShoalError(NO_NETWORK) from None

    def _has(self, network_id: str) -> bool:
        try:
            self._executor.find_network(network_id)
        except NotFound:
            return False
        return True

    async def start(self) -> None:
        """Start it; with a health check, until it is healthy. One that was ever started counts as started."""
        container = self._find()
        if container.state.started_at != ZERO_TIME:
            return
        async with aclosing(self._events()) as events:
            await self._start(container.id)
            async for state in events:
                if not state.running:
                    raise ShoalError(exit_error(Exit(state.exit_code)) or "task: non-zero exit (0)")
                if state.health is None or state.health.status in ("healthy", "none"):
                    return
                if state.health.status == "unhealthy":
                    await self.shutdown()
                    raise ShoalError(exit_error(Exit(self._find().state.exit_code, UNHEALTHY)))

    async def _start(self, container_id: str) -> None:
        try:
            await self._engine.containers.start(container_id)
        except NotModified:
            pass
        except ShoalError as fault:
            raise type(fault)(f"starting container failed: {fault}") from fault

    async def _events(self) -> AsyncGenerator[ContainerState, None]:
        """The container's state now, and again after each event about it."""
        container_id = self._find().id
        events: Any = self._engine.events.subscribe()
        async with aclosing(events):
            yield self._find().state
            async for event in events:
                if event.type == "container" and event.actor.id == container_id:
                    yield self._find().state

    async def wait(self) -> Exit:
        """Wait for its end; one that turns unhealthy is stopped."""
        container = self._find()
        async with asyncio.TaskGroup() as group:
            ended = group.create_task(_ended(self._engine, container.id))
            ill = group.create_task(self._ill())
            await asyncio.wait({ended, ill}, return_when=asyncio.FIRST_COMPLETED)
            if not ended.done():
                await self.shutdown()
                await ended
                return Exit(ended.result(), UNHEALTHY)
            ill.cancel()
        return Exit(ended.result())

    async def _ill(self) -> None:
        with suppress(NotFound):
            async with aclosing(self._events()) as events:
                async for state in events:
                    if state.health is not None and state.health.status == "unhealthy":
                        return
        await asyncio.Event().wait()

    async def shutdown(self) -> None:
        """Stop it, with its own signal and grace period."""
        with suppress(NotFound, NotModified):
            await self._engine.containers.stop(self._find().id)

    async def remove(self) -> None:
        """Remove it with its anonymous volumes."""
        with suppress(NotFound):
            await self._engine.containers.remove(self._find().id, force=True, volumes=True)

    async def container(self) -> ContainerStatus | None:
        """Id, process and exit code."""
        try:
            found = self._find()
        except NotFound:
            return None
        return ContainerStatus(container_id=found.id, pid=found.state.pid, exit_code=found.state.exit_code)

    async def ports(self) -> PortStatus | None:
        """Host-mode ports as they were really bound."""
        wanted = {
            f"{port.target_port}/{port.protocol}": port
            for port in self._task.endpoint.ports
            if port.publish_mode == "host"
        }
        if not wanted:
            return None
        bound = self._find().ports
        return PortStatus(
            ports=[
                PortConfig(
                    protocol=port.protocol,
                    target_port=port.target_port,
                    published_port=int(binding.host_port),
                    publish_mode="host",
                )
                for text, port in wanted.items()
                for binding in bound.get(text, [])[:1]
                if binding.host_port
            ]
        )


async def _ended(engine: Engine, container_id: str) -> int:
    code, _ = await engine.containers.wait(container_id)
    return code
