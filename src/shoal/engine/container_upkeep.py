"""What one wants to know of containers, and change, while they are there: usage, limits, networks, pruning."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

from msgspec.structs import replace

from shoal.engine import refusals, stats
from shoal.engine.container_access import ContainerAccess
from shoal.engine.layers import tree_size
from shoal.engine.selection import updated
from shoal.engine.stats import Sample
from shoal.engine.top import Table, top
from shoal.model.container import Container, EndpointSettings, HostConfig
from shoal.model.errors import Conflict


class ContainerUpkeep(ContainerAccess):
    """Usage, limits, networks."""

    async def top(self, id: str, ps_args: str = "-ef") -> Table:
        """Its processes, as ps shows them. Raises Conflict when it does not run."""
        entry = self._find(id)
        self._check_running(entry)
        pids = self._context.cgroups.processes(entry.record.cgroup)
        table = await self._context.workers.run(top, ps_args, pids)
        self._context.tell(entry.container, "top")
        return table

    async def stats(self, id: str, *, stream: bool = True, one_shot: bool = False) -> AsyncIterator[Sample]:
        """What it uses, once a second; without `stream` one sample, that looks back a second unless `one_shot`."""
        entry = self._find(id)
        before: Sample | None = None
        while True:
            if not self._context.running(entry) or entry.removing:
                yield stats.empty(entry.container)
                if not stream or entry.removing:
                    return
                await asyncio.sleep(1)
                continue
            record = entry.record
            now = stats.sample(
                self._context.cgroups,
                entry.container,
                path=record.cgroup,
                pid=record.pid,
                now=self._context.clock.now(),
                before=before,
            )
            if stream or one_shot or before is not None:
                yield now
                if not stream:
                    return
            before = now
            await asyncio.sleep(1)

    async def update(self, id: str, asked: HostConfig) -> Sequence[str]:
        """Change limits and the restart policy to those fields of `asked` that are set; returns warnings."""
        entry = self._find(id)
        async with entry.lock:
            host = updated(entry.container.host_config, asked)
            if self._context.running(entry):
                self._context.cgroups.limit(entry.record.cgroup, host)
            self._context.records.update(entry, host_config=host)
        self._context.tell(entry.container, "update")
        return []

    async def size(self, id: str) -> int:
        """Bytes that it has written to its own layer."""
        return await self._context.workers.run(tree_size, self._context.records.folder(self._find(id).id) / "upper")

    async def connect(self, id: str, network: str, settings: EndpointSettings) -> None:
        """Join a network: at once when it runs, else at its start. Raises InvalidArgument, Unimplemented."""
        refusals.check_endpoint(settings)
        entry = self._find(id)
        async with entry.lock:
            got = settings
            if self._context.running(entry):
                got = await self._context.networks.connect(entry.id, network, settings)
            container = replace(entry.container, networks={**entry.container.networks, network: got})
            asked = {**(entry.record.asked or _present(entry.container)), network: settings}
            self._context.records.save(entry, replace(entry.record, container=container, asked=asked))

    async def disconnect(self, id: str, network: str, force: bool = False) -> None:
        """Leave a network. Raises Conflict when it is not on it, unless `force`."""
        entry = self._find(id)
        async with entry.lock:
            if network not in entry.container.networks and not force:
                raise Conflict(f"container {entry.id} is not connected to network {network}")
            if self._context.running(entry):
                await self._context.networks.disconnect(entry.id, network)
            left = {name: e for name, e in entry.container.networks.items() if name != network}
            asked = {n: e for n, e in (entry.record.asked or _present(entry.container)).items() if n != network}
            container = replace(entry.container, networks=left)
            self._context.records.save(entry, replace(entry.record, container=container, asked=asked))


def _present(container: Container) -> dict[str, EndpointSettings]:
    """The networks of a container that was created without naming any."""
    return {name: EndpointSettings() for name in container.networks}
