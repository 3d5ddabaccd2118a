"""The engine of one machine: everything that runs and lies here, wired together."""

from __future__ import annotations

import asyncio
import resource
from contextlib import AsyncExitStack
from types import TracebackType

from shoal.engine import defaults, seccomp
from shoal.engine.containers import Containers
from shoal.engine.context import Context, SandboxProvider
from shoal.engine.creation import Creator
from shoal.engine.execs import Execs
from shoal.engine.health import Checks
from shoal.engine.image_store import User
from shoal.engine.images import Images
from shoal.engine.lifecycle import Lifecycle
from shoal.engine.log_rotation import keep_rotating
from shoal.engine.options import EngineOptions
from shoal.engine.restore import restore
from shoal.engine.system import System
from shoal.kit.clock import Clock, SystemClock
from shoal.kit.ids import Ids, RandomIds
from shoal.kit.tasks import background


class Engine:
    """One per daemon: `async with Engine(options, networks) as engine`.

    Entering reads what is on disk and takes over the containers that run. Leaving leaves them running.
    """

    containers: Containers

    def __init__(
        self, options: EngineOptions, networks: SandboxProvider, clock: Clock | None = None, ids: Ids | None = None
    ) -> None:
        self.options = options
        self._networks = networks
        self._clock, self._ids = clock or SystemClock(), ids or RandomIds()
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Engine:
        options = self.options
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft < hard:  # each running container holds a descriptor
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        for folder, mode in ((options.data_root, 0o711), (options.exec_root, 0o711)):
            folder.mkdir(parents=True, exist_ok=True, mode=mode)
        group = await self._stack.enter_async_context(background())
        try:
            self._wire(group)
            await restore(self._context, self._lifecycle)
            for trash in (self.layers.trash, self.volumes.trash):
                self._context.spawn("deleting what an earlier daemon left", self._context.workers.run, trash.empty)
            self._context.spawn("log rotation", keep_rotating, self._context)
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    def _wire(self, group: asyncio.TaskGroup) -> None:
        options = self.options
        self._context = context = Context(options, self._networks, self._clock, self._ids, group)
        self._stack.callback(context.cgroups.remove_parent)  # last: it goes when no container is left in it
        self._stack.callback(context.inotify.close)
        self._stack.callback(context.workers.close)
        self.events = context.events
        self.images = Images(
            options.data_root / "image", self._clock, options.insecure_registries, options.registry_mirrors
        )
        self.images.store.users = self._image_users
        self.layers = self.images.layers
        self.volumes = context.volumes
        self.volumes.users = self._volume_users
        self.system = System(options, context.cgroups)
        self._execs = Execs(context)
        self._lifecycle = Lifecycle(context, Checks(context, self._execs), self.volumes)
        creator = Creator(context, self.images, self.layers, self.volumes)
        self.containers = Containers(context, creator, self._lifecycle, self._execs)
        # compiled while nobody waits for it
        usual = frozenset(defaults.CAPABILITIES)
        context.spawn("compiling the seccomp profile", context.workers.run, seccomp.default_filter, usual)

    def _image_users(self) -> list[User]:
        return [User(container_id=c.id, image_id=c.image_id, running=c.state.running) for c in self.containers.list()]

    def _volume_users(self, name: str) -> list[str]:
        return [c.id for c in self.containers.list() if any(p.type == "volume" and p.name == name for p in c.mounts)]

    async def __aexit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return await self._stack.__aexit__(kind, fault, trace)
