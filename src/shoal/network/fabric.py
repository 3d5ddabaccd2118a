"""What a node has in its own namespace for its containers: bridges, the firewall table, the host's ports.

The table is always computed as a whole from what is known (`tables.node_table`) and the difference applied, so there
is no way to forget a rule.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

from shoal.model.errors import ShoalError
from shoal.network import ruleset, wiring
from shoal.network.firewall import admit, expel
from shoal.network.kernel import links
from shoal.network.kernel.namespaces import Namespace
from shoal.network.places import Place
from shoal.network.ports import HostPort, HostPorts
from shoal.network.ruleset import Table
from shoal.network.tables import BridgeRules, MeshRules, PublishedPort, node_table
from shoal.network.threads import Threads
from shoal.network.wiring import Home

log = logging.getLogger(__name__)

_MESH = "routing mesh"
"""Who holds the mesh's ports."""


class Fabric:
    """The node's own side of all networks."""

    def __init__(self, namespace: Namespace, table: str, threads: Threads) -> None:
        self.node = Home(namespace)
        self.ports = HostPorts(namespace)
        self._name = table
        self._threads = threads
        self._lock = asyncio.Lock()
        self._applied: Table | None = None
        self._bridges: dict[str, BridgeRules] = {}
        self._published: dict[str, tuple[PublishedPort, ...]] = {}
        self._mesh: MeshRules | None = None
        self._begun = False

    async def bridge(self, place: Place) -> None:
        """Make sure that a local bridge and its rules exist."""
        if place.device in self._bridges:
            return
        async with self._lock:
            if place.device not in self._bridges:
                await self._threads.run(wiring.make_bridge, self.node, place)
                await self._threads.run(admit, self.node.namespace, place.device)
                self._bridges[place.device] = place.rules()
                await self._refresh()

    async def no_bridge(self, place: Place) -> None:
        """Remove a local bridge. Idempotent."""
        async with self._lock:
            self._bridges.pop(place.device, None)
            await self._refresh()
            await self._threads.run(self.node.netlink.run, [links.delete(place.device)])
            await self._threads.run(expel, self.node.namespace, place.device)

    async def publish(self, owner: str, ports: Iterable[PublishedPort]) -> None:
        """From now on `owner` has exactly these published ports."""
        new = tuple(ports)
        async with self._lock:
            if new == self._published.get(owner, ()):
                return
            self._published[owner] = new
            if not new:
                del self._published[owner]
            await self._refresh()

    async def mesh(self, rules: MeshRules | None) -> None:
        """From now on the routing mesh is this."""
        async with self._lock:
            if rules != self._mesh or self._applied is None:
                self._hold_mesh_ports(rules)
                before, self._mesh = self._mesh, rules
                await self._refresh()
                if before and (not rules or rules.bridge != before.bridge):
                    await self._threads.run(expel, self.node.namespace, before.bridge)
                if rules and (not before or rules.bridge != before.bridge):
                    await self._threads.run(admit, self.node.namespace, rules.bridge)

    def _hold_mesh_ports(self, rules: MeshRules | None) -> None:
        """Nobody else on this node may have the mesh's ports; who has one already keeps it."""
        old, new = _mesh_ports(self._mesh), _mesh_ports(rules)
        for port in old - new:
            self.ports.release_port(port, _MESH)
        for port in new - old:
            try:
                self.ports.take(port, _MESH)
            except ShoalError as fault:
                log.warning("the routing mesh shares a port of this node: %s", fault)

    async def restore(self, bridges: Iterable[Place], published: dict[str, tuple[PublishedPort, ...]]) -> None:
        """After a start: put bridges right. The table follows with `begin`, when the mesh is known too."""
        async with self._lock:
            for place in bridges:
                await self._threads.run(wiring.make_bridge, self.node, place)
                await self._threads.run(admit, self.node.namespace, place.device)
                self._bridges[place.device] = place.rules()
            self._published = dict(published)

    async def begin(self) -> None:
        """Write the table anew, in one transaction, and keep it up to date from now on."""
        async with self._lock:
            self._begun = True
            await self._refresh()

    async def mend(self) -> None:
        """Write the table anew where somebody took it away (a restart of the nftables service takes all rules), or
        where the last change of it failed."""
        async with self._lock:
            if not self._begun or not (self._bridges or self._mesh):
                return
            if self._applied is not None:
                if ruleset.is_among(self._name, await self._threads.run(self.node.nft.run, ruleset.LIST)):
                    return
                log.warning("the rules of this node's networks are gone: writing them anew")
                self._applied = None
            await self._refresh()
            for device in (*self._bridges, *([self._mesh.bridge] if self._mesh else [])):
                await self._threads.run(admit, self.node.namespace, device)

    async def clear(self) -> None:
        """Remove all bridges and the table: nothing of ours stays in the node's namespace."""
        async with self._lock:
            for device in list(self._bridges):
                await self._threads.run(self.node.netlink.run, [links.delete(device)])
                await self._threads.run(expel, self.node.namespace, device)
            self._bridges.clear()
            self._published.clear()
            self._mesh = None
            await self._refresh()

    def close(self) -> None:
        """Close sockets; what the kernel has stays."""
        self.ports.close()
        self.node.close()

    async def _refresh(self) -> None:
        """Bring the table up to date; there is none while there is nothing to say."""
        if not self._begun:
            return
        published = [port for ports in self._published.values() for port in ports]
        if self._bridges or self._mesh:
            new = node_table(self._name, list(self._bridges.values()), published, self._mesh)
            commands = ruleset.change(self._applied, new) if self._applied else ruleset.replace(new)
        else:
            new = None
            commands = ruleset.remove(self._name)
        if commands:
            before, self._applied = self._applied, None  # so it stays if this is cut short: then all of it is written
            try:
                await self._threads.run(self.node.nft.run, commands)
            except ShoalError:
                if before is None or new is None:
                    raise
                # Somebody has flushed the rules (as a restart of the nftables service does): ours are written anew.
                await self._threads.run(self.node.nft.run, ruleset.replace(new))
        self._applied = new


def _mesh_ports(rules: MeshRules | None) -> set[HostPort]:
    return {HostPort(port.protocol, "", port.published) for port in rules.ports} if rules else set()
