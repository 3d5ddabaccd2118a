"""All networks that a container can be on, local and of the swarm, and what must happen when one comes or goes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from shoal.model.errors import NotFound
from shoal.network import local, places
from shoal.network.fabric import Fabric
from shoal.network.overlays import Overlays
from shoal.network.places import Place
from shoal.network.sandbox import Attachment, SandboxRecord
from shoal.network.services import Services
from shoal.network.swarm import Swarm
from shoal.network.threads import Threads
from shoal.network.wiring import Home, silence, unplug

_SWARM_ID = re.compile(r"[0-9a-z]{25}")
_PATIENCE = 10.0
"""Seconds that a container waits for its network's first snapshot: a task may be here sooner than the news of it."""


class Catalogue:
    """Finds networks, and prepares them for the first container that needs them."""

    def __init__(
        self,
        networks: local.LocalNetworks,
        swarm: Swarm,
        *,
        fabric: Fabric,
        overlays: Overlays,
        services: Services,
        threads: Threads,
        etc: Path,
    ) -> None:
        self._local = networks
        self._swarm = swarm
        self.fabric = fabric
        self._overlays = overlays
        self.services = services
        self._threads = threads
        self._etc = etc

    def find(self, wanted: str) -> Place:
        """By name, id or the beginning of an id; NotFound."""
        try:
            return places.of_local(self._local.find(wanted))
        except NotFound:
            return self._swarm.place(wanted)

    def local_places(self, ids: Iterable[str]) -> list[Place]:
        """The places of local networks by id; those that exist no more are left out."""
        found = (self._local.get(network_id) for network_id in ids)
        return [places.of_local(network) for network in found if network]

    async def wait_for(self, wanted: str) -> Place:
        """`find`, but a swarm network that is on its way here is waited for."""
        try:
            return self.find(wanted)
        except NotFound:
            if not _SWARM_ID.fullmatch(wanted):
                raise
        await self._swarm.wait_for(wanted, _PATIENCE)
        return self.find(wanted)

    def gateway(self) -> Place:
        """`docker_gwbridge`."""
        return places.of_local(self._local.gateway())

    def binding_ip(self, network_id: str) -> str:
        """The host address that a network's published ports are bound to when the user names none."""
        network = self._local.get(network_id)
        address = network.options.get(local.HOST_BINDING, "") if network else ""
        return "" if address == "0.0.0.0" else address

    async def ready(self, place: Place, container_id: str) -> Home:
        """Make sure that `place` exists on this node; the namespace that its bridge is in."""
        if place.kind == "overlay":
            await self._swarm.use(place.id, container_id)
            ingress = self._swarm.is_ingress(place.id)
            return await self._threads.run(self._overlays.home, ingress=ingress)
        await self.fabric.bridge(place)
        return self.fabric.node

    async def left(self, record: SandboxRecord, item: Attachment, *, dying: bool) -> None:
        """A container's interface is to go, alone or (`dying`) together with its namespace."""
        home: Home | None = self.fabric.node
        if item.kind == "overlay" and not self._swarm.is_ingress(item.network_id):
            home = await self._threads.run(self._overlays.present, ingress=False)
        if home:
            await self._threads.run(silence if dying else unplug, home, item)
        if item.kind == "overlay":
            await self._swarm.unuse(item.network_id, record.id)

    def host_file(self, name: str) -> str:
        """The host's /etc/resolv.conf or /etc/hosts; empty when it has none."""
        try:
            return (self._etc / name).read_text(errors="replace")
        except OSError:
            return ""
