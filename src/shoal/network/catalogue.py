"""All networks that a container can be on, local and of the swarm, and what must happen when one comes or goes."""

from __future__ import annotations

from pathlib import Path

from shoal.model.errors import NotFound
from shoal.network import local, places
from shoal.network.fabric import Fabric
from shoal.network.places import Place
from shoal.network.sandbox import Attachment, SandboxRecord
from shoal.network.threads import Threads
from shoal.network.wiring import Home, silence, unplug


class Catalogue:
    """Finds networks, and prepares them for the first container that needs them."""

    def __init__(self, networks: local.LocalNetworks, fabric: Fabric, threads: Threads) -> None:
        self._local = networks
        self.fabric = fabric
        self._threads = threads

    def find(self, wanted: str) -> Place:
        """By name, id or the beginning of an id; NotFound."""
        return places.of_local(self._local.find(wanted))

    async def wait_for(self, wanted: str) -> Place:
        """`find`, but a swarm network that is on its way here is waited for."""
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
        if place.kind != "bridge":
            raise NotFound(f"network {place.name} not found")
        await self.fabric.bridge(place)
        return self.fabric.node

    async def left(self, record: SandboxRecord, item: Attachment, *, dying: bool) -> None:
        """A container's interface is to go, alone or (`dying`) together with its namespace."""
        await self._threads.run(silence if dying else unplug, self.fabric.node, item)

    async def joined(self, record: SandboxRecord) -> None:
        """A sandbox has all its interfaces: names and services begin."""

    async def gone(self, record: SandboxRecord) -> None:
        """A sandbox is to end: names and services end."""

    def host_file(self, name: str) -> str:
        """The host's /etc/resolv.conf or /etc/hosts; empty when it has none."""
        try:
            return (Path("/etc") / name).read_text(errors="replace")
        except OSError:
            return ""
