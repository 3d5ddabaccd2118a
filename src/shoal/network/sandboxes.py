"""The sandboxes of this node's containers: opened, changed, closed, and found again after a restart."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from contextlib import AsyncExitStack
from pathlib import Path

from msgspec.structs import replace

from shoal.kit.ids import Ids
from shoal.model.container import EndpointSettings
from shoal.model.errors import InvalidArgument, NotFound, PermissionDenied, ShoalError
from shoal.network import files, plan, wiring
from shoal.network.catalogue import Catalogue
from shoal.network.kernel.namespaces import Namespace
from shoal.network.leases import Leases
from shoal.network.places import Place
from shoal.network.sandbox import Attachment, Sandbox, SandboxRecord, SandboxRequest
from shoal.network.shelf import Shelf
from shoal.network.tables import PublishedPort
from shoal.network.threads import Threads

log = logging.getLogger(__name__)

_SHARED_NETWORK = (
    "container sharing network namespace with another container or host cannot be connected to any other network"
)


class Sandboxes:
    """All of them, by container id."""

    def __init__(self, shelf: Shelf, catalogue: Catalogue, threads: Threads, ids: Ids) -> None:
        self._shelf = shelf
        self._catalogue = catalogue
        self._fabric = catalogue.fabric
        self._threads = threads
        self._ids = ids
        self._leases = Leases()
        self._records: dict[str, SandboxRecord] = {}
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    def every(self) -> list[SandboxRecord]:
        """The records of all sandboxes."""
        return list(self._records.values())

    async def load(self) -> dict[str, set[str]]:
        """Read what an earlier daemon left running; which containers are on which overlay."""
        users: dict[str, set[str]] = {}
        for record in await self._threads.run(self._shelf.load):
            self._records[record.id] = record
            for item in record.attachments:
                if item.kind == "overlay":
                    users.setdefault(item.network_id, set()).add(record.id)
                else:
                    self._leases.hold(item.network_id, item.settings.ip_address, record.id)
            for binding in record.bindings:
                try:
                    self._fabric.ports.take(binding.host, record.id, probe=False)
                except ShoalError as fault:  # of two whose end was cut short
                    log.warning("container %s: %s", record.id[:12], fault)
        return users

    async def restore_bridges(self) -> None:
        """What the node has in its own namespace for them."""
        wanted = {item.network_id for record in self.every() for item in record.attachments if item.kind != "overlay"}
        published = {record.id: ports for record in self.every() if (ports := _published(record))}
        await self._fabric.restore(self._catalogue.local_places(wanted), published)

    async def restore_services(self) -> None:
        """What they have inside."""
        for record in self.every():
            if record.netns:
                try:
                    await self._catalogue.services.joined(record, anew=True)
                except (OSError, ShoalError) as fault:  # what a container did to itself is not the others' trouble
                    log.warning("container %s has no name server: %s", record.id[:12], fault)

    async def open(self, request: SandboxRequest) -> Sandbox:
        """The sandbox of a container: the one it has, else a new one."""
        async with self._locks[request.container_id]:
            mode = request.network_mode
            if mode.startswith("container:"):
                return self._shared(request, mode.removeprefix("container:"))
            if request.container_id not in self._records:
                record = SandboxRecord(request=request, netns="")
                if mode != "host":
                    record = await self._make(request)
                try:
                    await self._threads.run(self._shelf.save, record)
                except BaseException:
                    await self._unmake(record)
                    raise
                self._records[record.id] = record
            return self._present(self._records[request.container_id])

    async def close(self, container_id: str) -> None:
        """Remove a container's sandbox and everything that belongs to it. Idempotent."""
        async with self._locks[container_id]:
            if record := self._records.pop(container_id, None):
                await self._unmake(record)
        if container_id not in self._records:
            self._locks.pop(container_id, None)

    async def connect(self, container_id: str, place: Place, asked: EndpointSettings) -> EndpointSettings:
        """Give a running container one more interface."""
        async with self._locks[container_id]:
            record = self._record(container_id)
            if not record.netns:
                raise InvalidArgument(_SHARED_NETWORK)
            if place.kind in ("host", "none") or record.request.network_mode == "none":
                raise InvalidArgument(_cannot_connect(place))
            if place.kind == "overlay":  # a task has its networks from the swarm, all of them at its start
                raise plan.tasks_only(place.name, attachable=place.attachable)
            if record.on(place.id):
                raise PermissionDenied(
                    f"endpoint with name {record.request.name} already exists in network {place.name}"
                )
            new = await self._attach(record, place, asked)
            await self._settle(new)
            return new.attachments[-1].settings

    async def disconnect(self, container_id: str, place: Place) -> None:
        """Take an interface of a running container away."""
        async with self._locks[container_id]:
            record = self._record(container_id)
            if not (item := record.on(place.id)):
                raise ShoalError(f"container {container_id} is not connected to network {place.name}")
            await self._catalogue.left(record, item, dying=False)
            self._leases.release(container_id, place.id)
            rest = [other for other in record.attachments if other is not item]
            await self._settle(replace(record, attachments=rest))

    def attached(self, network_id: str) -> dict[str, EndpointSettings]:
        """Who is on a network: container id -> its endpoint there."""
        return {record.id: item.settings for record in self.every() if (item := record.on(network_id))}

    async def _make(self, request: SandboxRequest) -> SandboxRecord:
        path = self._shelf.namespace(request.container_id)
        record = SandboxRecord(request=request, netns=str(path))
        try:
            namespace = await self._threads.run(wiring.make_namespace, path)
            namespace.close()
            if request.network_mode != "none":
                for wanted, asked in plan.wanted(request).items():
                    place = await self._catalogue.wait_for(wanted)
                    if record.on(place.id) is None:
                        record = await self._attach(record, place, asked)
                if self._needs_gateway(record):
                    record = await self._attach(record, self._catalogue.gateway(), EndpointSettings())
            return await self._finish(record)
        except BaseException:
            await self._unmake(record)
            raise

    async def _attach(self, record: SandboxRecord, place: Place, asked: EndpointSettings) -> SandboxRecord:
        """Make one interface, and return the record that has it."""
        if place.kind in ("host", "none"):
            raise InvalidArgument(_cannot_connect(place))
        item = plan.attach(record.request, place, asked, present=record.attachments, leases=self._leases, ids=self._ids)
        try:
            home = await self._catalogue.ready(place, record.id)
            await self._threads.run(_plug, home, Path(record.netns), place, item)
        except BaseException:
            await self._catalogue.left(record, item, dying=False)
            self._leases.release(record.id, place.id)
            raise
        return replace(record, attachments=[*record.attachments, item])

    async def _finish(self, record: SandboxRecord) -> SandboxRecord:
        """Routes, published ports and names of a new sandbox."""
        outward = record.outward
        if outward:
            default_ip = self._catalogue.binding_ip(outward.network_id)
            bindings = plan.publish(record.request, self._fabric.ports, outward.settings.endpoint_id, default_ip)
            record = replace(record, bindings=bindings)
            await self._threads.run(_route, record)
            await self._fabric.publish(record.id, _published(record))
        await self._catalogue.services.joined(record)
        return record

    async def _settle(self, record: SandboxRecord) -> None:
        """The record of a running container has changed: routes, ports and names follow it."""
        await self._threads.run(_route, record)
        await self._fabric.publish(record.id, _published(record))
        self._records[record.id] = record
        await self._catalogue.services.joined(record)
        await self._threads.run(self._shelf.save, record)

    async def _unmake(self, record: SandboxRecord) -> None:
        """Every step, also where another one fails."""
        async with AsyncExitStack() as steps:  # the last is the first; a port is free when no record has it any more
            steps.callback(self._fabric.ports.release, record.id)
            steps.push_async_callback(self._threads.run, self._shelf.drop, record.id)
            steps.callback(self._leases.release, record.id)
            for item in record.attachments:
                steps.push_async_callback(self._catalogue.left, record, item, dying=True)
            steps.push_async_callback(self._fabric.publish, record.id, ())
            steps.callback(self._catalogue.services.gone, record.id)

    def _needs_gateway(self, record: SandboxRecord) -> bool:
        """On overlays only: the way outside, and published ports, lead over the node's gateway bridge."""
        overlays = [item for item in record.attachments if item.kind == "overlay"]
        return bool(overlays) and not record.outward and not all(item.internal for item in overlays)

    def _shared(self, request: SandboxRequest, other: str) -> Sandbox:
        if other not in self._records:
            raise ShoalError(f"cannot join network of a non running container: {other}")
        return self._present(self._records[other])

    def _present(self, record: SandboxRecord) -> Sandbox:
        host = self._catalogue.host_file("resolv.conf")
        request = record.request
        shown = [item for item in record.attachments if item.kind != "gateway"]
        if not record.netns:
            return Sandbox(
                netns="", resolv_conf=host, hosts=files.host_hosts(request, self._catalogue.host_file("hosts"))
            )
        gateway = record.outward.settings.gateway if record.outward else ""
        return Sandbox(
            netns=record.netns,
            endpoints={item.network_name: item.settings for item in shown},
            ports=plan.shown_ports(request, record.bindings),
            resolv_conf=files.resolv_conf(request, host, resolver=record.has_names),
            hosts=files.hosts(request, [item.settings.ip_address for item in shown], gateway),
        )

    def _record(self, container_id: str) -> SandboxRecord:
        if container_id not in self._records:
            raise NotFound(f"No such container: {container_id}")
        return self._records[container_id]


def _published(record: SandboxRecord) -> tuple[PublishedPort, ...]:
    outward = record.outward
    if not outward:
        return ()
    return tuple(
        PublishedPort(item.protocol, item.host_ip, item.host_port, outward.settings.ip_address, item.container_port)
        for item in record.bindings
    )


def _plug(home: wiring.Home, netns: Path, place: Place, item: Attachment) -> None:
    with Namespace.at(netns).held() as namespace:
        wiring.plug(home, namespace, place, item)


def _route(record: SandboxRecord) -> None:
    with Namespace.at(record.netns).held() as namespace:
        wiring.set_default_route(namespace, record.outward)


def _cannot_connect(place: Place) -> str:
    if place.kind == "host":
        return "container cannot be disconnected from host network or connected to host network"
    return "container cannot be connected to multiple networks with one of the networks in private (none) mode"
