"""What the parts of the engine share: one object, made by `Engine`, handed to each of them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, Protocol, TypeVar

from shoal.engine.attach import Attachment
from shoal.engine.cgroup import Cgroups
from shoal.engine.conmon import Conmon
from shoal.engine.events import Events
from shoal.engine.launch import Launcher
from shoal.engine.linux import Inotify
from shoal.engine.options import EngineOptions
from shoal.engine.process import Workers
from shoal.engine.records import Entry, Records
from shoal.engine.volumes import Volumes
from shoal.kit.clock import Clock
from shoal.kit.ids import Ids
from shoal.model.container import Container, EndpointSettings
from shoal.network.sandbox import Sandbox, SandboxRequest

P = ParamSpec("P")
T = TypeVar("T")

log = logging.getLogger("shoal.engine")


class SandboxProvider(Protocol):
    """The part of `network.networks.Networks` that the engine uses."""

    async def open(self, request: SandboxRequest) -> Sandbox: ...

    async def close(self, container_id: str) -> None: ...

    async def connect(self, container_id: str, network: str, settings: EndpointSettings) -> EndpointSettings: ...

    async def disconnect(self, container_id: str, network: str) -> None: ...


class Context:
    """One engine's parts."""

    def __init__(
        self, options: EngineOptions, networks: SandboxProvider, clock: Clock, ids: Ids, group: asyncio.TaskGroup
    ) -> None:
        self.options, self.networks, self.clock, self.ids = options, networks, clock, ids
        self._group = group
        self.workers = Workers()
        self.events = Events(clock)
        self.cgroups = Cgroups(options.cgroup_parent)
        self.conmon = Conmon(options, self.cgroups)
        self.records = Records(options.data_root / "containers")
        self.volumes = Volumes(options.data_root / "volumes", clock, ids)
        self.launcher = Launcher(
            options, self.cgroups, self.conmon, self.volumes, options.data_root / "containers"
        )  # fmt: skip
        self.inotify = Inotify()
        self.attachments: dict[str, list[Attachment]] = {}
        """Clients that wait for a container to start."""

    def spawn(
        self, what: str, function: Callable[P, Coroutine[Any, Any, object]], *args: P.args, **kwargs: P.kwargs
    ) -> asyncio.Task[None]:
        """Run `function` in the engine's group; its failure is logged (as that of `what`) and ends nothing else."""

        async def guard() -> None:
            try:
                await function(*args, **kwargs)
            except Exception:
                log.exception("%s failed", what)

        return self._group.create_task(guard())

    async def finish(self, function: Callable[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `function` to its end even when the caller is cancelled meanwhile: what threads do cannot be stopped."""
        outcome: asyncio.Future[T] = asyncio.get_running_loop().create_future()

        async def complete() -> None:
            try:
                result = await function(*args, **kwargs)
            except asyncio.CancelledError:  # the engine is leaving
                outcome.cancel()
                raise
            except Exception as fault:
                outcome.set_exception(fault)
            else:
                outcome.set_result(result)

        self._group.create_task(complete())
        return await asyncio.shield(outcome)

    def tell(self, container: Container, action: str, **attributes: str) -> None:
        """Publish an event about a container, with its labels, image and name, as docker does."""
        facts = {**container.config.labels, "image": container.config.image, "name": container.name, **attributes}
        self.events.tell("container", action, container.id, facts)

    def settle(self, futures: list[asyncio.Future[tuple[int, str]]], result: tuple[int, str]) -> None:
        """Give `result` to everybody who waits."""
        for future in futures:
            if not future.done():
                future.set_result(result)
        futures.clear()

    def running(self, entry: Entry) -> bool:
        """Whether the container's process exists (a paused one's does, one that waits to restart has none)."""
        return entry.state.running and not entry.state.restarting
