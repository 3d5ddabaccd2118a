"""What works inside the sandboxes: names, virtual addresses, and the mesh's ends. Follows the swarm's state.

Per sandbox the whole nftables table is computed and the difference applied in one transaction, so an unchanged sandbox
costs nothing and a changed one never passes through a half-made state.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from ipaddress import ip_address

from shoal.model.errors import ShoalError
from shoal.model.netstate import NetworkSnapshot
from shoal.network import mesh, names, ruleset
from shoal.network.kernel import links, nft, routes
from shoal.network.kernel.namespaces import Namespace
from shoal.network.kernel.netlink import Message, Netlink
from shoal.network.names import Names
from shoal.network.resolver import Client, Resolver
from shoal.network.ruleset import Table
from shoal.network.sandbox import Attachment, SandboxRecord
from shoal.network.tables import Gate, IngressEnd, VirtualAddress, sandbox_table
from shoal.network.threads import Threads

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Inside:
    """One sandbox, as it was last brought up to date."""

    record: SandboxRecord
    table: Table | None = None
    gates: dict[str, Gate] = field(default_factory=dict)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    unknown: bool = False
    """Whether the kernel may have something else: left by an earlier daemon, or by a change that was cut short."""


class Services:
    """The inner side of all sandboxes. `snapshots` is the swarm's state, kept current by its owner."""

    def __init__(self, resolver: Resolver, threads: Threads, snapshots: Mapping[str, NetworkSnapshot]) -> None:
        self._resolver = resolver
        self._threads = threads
        self._snapshots = snapshots
        self._insides: dict[str, _Inside] = {}
        self._names: dict[str, Names] = {}
        self._virtual: dict[str, list[VirtualAddress]] = {}
        self._service_gates: dict[tuple[str, str], dict[str, Gate]] = {}

    async def joined(self, record: SandboxRecord, *, anew: bool = False) -> None:
        """A sandbox has these interfaces now. `anew`: what the kernel has of it is unknown."""
        inside = self._insides.setdefault(record.id, _Inside(record, unknown=anew))
        for item in (*record.attachments, *inside.record.attachments):
            self._names.pop(item.network_id, None)
        inside.record = record
        await self._refresh(inside)

    def gone(self, container_id: str) -> None:
        """A sandbox is about to end. Idempotent."""
        self._resolver.stop(container_id)
        if inside := self._insides.pop(container_id, None):
            for item in inside.record.attachments:
                self._names.pop(item.network_id, None)

    async def follow(self, changed: Set[str]) -> None:
        """The networks `changed` have new snapshots."""
        for network_id in changed:
            self._names.pop(network_id, None)
            self._virtual.pop(network_id, None)
        self._service_gates.clear()
        async with asyncio.TaskGroup() as group:
            for inside in self._insides.values():
                if any(item.network_id in changed for item in inside.record.attachments):
                    group.create_task(self._follow(inside))

    async def _follow(self, inside: _Inside) -> None:
        """One sandbox that fails must not keep the others from being right."""
        try:
            await self._refresh(inside)
        except (OSError, ShoalError):
            if self._insides.get(inside.record.id) is inside:
                log.exception("cannot bring the network of container %s up to date", inside.record.id[:12])

    def views(self, container_id: str) -> Sequence[Names]:
        """The names that a container sees, network by network."""
        inside = self._insides.get(container_id)
        if not inside:
            return []
        return [self._network_names(item) for item in inside.record.attachments if _has_names(item)]

    def _network_names(self, item: Attachment) -> Names:
        found = self._names.get(item.network_id)
        if found is None:
            if snapshot := self._snapshots.get(item.network_id):
                found = names.of_swarm(snapshot)
            else:
                others = (inside.record.on(item.network_id) for inside in self._insides.values())
                found = names.of_local(item.network_name, [other.settings for other in others if other])
            self._names[item.network_id] = found
        return found

    async def _refresh(self, inside: _Inside) -> None:
        async with inside.lock:
            record = inside.record
            if self._insides.get(record.id) is not inside:
                return
            ports = None
            if record.has_names:
                client = Client(record.netns, lambda: self.views(record.id), _servers(record))
                ports = await self._resolver.serve(record.id, client)
            table, gates, ingress = self._wanted(record, ports)
            commands = _commands(inside, table)
            if commands or gates != inside.gates:
                before, inside.unknown = inside.gates, True  # so it stays if this is cut short
                await self._threads.run(self._apply, record.netns, commands, ingress, before, gates)
            inside.table, inside.gates, inside.unknown = table, gates, False

    def _wanted(self, record: SandboxRecord, ports: tuple[int, int] | None) -> tuple[Table, dict[str, Gate], str]:
        """A sandbox's table, its ingress nodes, and its interface on the ingress network."""
        addresses = []
        gates: dict[str, Gate] = {}
        end = None
        for item in record.attachments:
            snapshot = self._snapshots.get(item.network_id)
            if snapshot and snapshot.network.spec.ingress:
                outward = record.outward.settings.ip_address if record.outward else ""
                end = IngressEnd(item.interface, snapshot.network.ipam.config[0].subnet, outward)
                gates = self._gates_of(snapshot, mesh.service_at(snapshot, item.settings.ip_address))
            elif snapshot:
                addresses += [
                    VirtualAddress(item.address, mesh.turned(item.backends, record.id))
                    for item in self._virtual_of(snapshot)
                ]
        return sandbox_table(ports, addresses, end, gates.values()), gates, end.interface if end else ""

    def _virtual_of(self, snapshot: NetworkSnapshot) -> list[VirtualAddress]:
        """Computed once per snapshot, for all sandboxes."""
        found = self._virtual.get(snapshot.network.id)
        if found is None:
            found = self._virtual[snapshot.network.id] = mesh.virtual_addresses(snapshot)
        return found

    def _gates_of(self, snapshot: NetworkSnapshot, service_id: str) -> dict[str, Gate]:
        """Computed once per snapshot and service, for all sandboxes."""
        key = (snapshot.network.id, service_id)
        if key not in self._service_gates:
            self._service_gates[key] = mesh.gates(snapshot, service_id)
        return self._service_gates[key]

    def _apply(self, netns: str, commands: str, ingress: str, old: Mapping[str, Gate], new: Mapping[str, Gate]) -> None:
        """Bring a sandbox's table and its ways back to the ingress nodes up to date."""
        with Namespace.at(netns).held() as namespace:
            ways_old = {(address, gate.mark) for address, gate in old.items()}
            ways_new = {(address, gate.mark) for address, gate in new.items()}
            if ways_old != ways_new:
                with namespace.entered():
                    netlink = Netlink()
                try:
                    netlink.run(_ways(netlink, ingress, ways_old, ways_new))
                finally:
                    netlink.close()
            if commands:
                nft.run_once(namespace, commands, self._threads.reaper)


def _commands(inside: _Inside, table: Table) -> str:
    if inside.unknown:
        return ruleset.replace(table)
    if inside.table is not None and inside.table.chains:
        return ruleset.change(inside.table, table)
    return ruleset.create(table) if table.chains else ""


def _has_names(item: Attachment) -> bool:
    return item.kind != "gateway" and item.network_name not in ("bridge", "ingress")


def _servers(record: SandboxRecord) -> tuple[str, ...]:
    return tuple(server for server in record.request.dns if is_address(server))


def is_address(text: str) -> bool:
    """Whether `text` is an IP address, with or without a zone."""
    try:
        ip_address(text.split("%", maxsplit=1)[0])
    except ValueError:
        return False
    return True


def _ways(netlink: Netlink, ingress: str, old: Set[tuple[str, int]], new: Set[tuple[str, int]]) -> list[Message]:
    messages: list[Message] = []
    for _, mark in old - new:
        messages += [routes.no_mark_rule(mark, mark), routes.no_default_route(mark)]
    if interface := links.find(netlink, ingress) if ingress else None:
        for address, mark in new - old:
            messages += [routes.default_route(interface.index, address, mark), routes.mark_rule(mark, mark)]
    return messages
