"""What works inside the sandboxes: names, virtual addresses, and the mesh's ends. Follows the swarm's state.

Per sandbox the whole nftables table is computed and the difference applied in one transaction, so an unchanged sandbox
costs nothing and a changed one never passes through a half-made state.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence, Set
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
from shoal.network.tables import Gate, IngressEnd, sandbox_table
from shoal.network.threads import Threads

log = logging.getLogger(__name__)


class Services:
    """The inner side of all sandboxes. `snapshots` is the swarm's state, kept current by its owner."""

    def __init__(self, resolver: Resolver, threads: Threads, snapshots: Mapping[str, NetworkSnapshot]) -> None:
        self._resolver = resolver
        self._threads = threads
        self._snapshots = snapshots
        self._records: dict[str, SandboxRecord] = {}
        self._tables: dict[str, Table] = {}
        self._gates: dict[str, dict[str, Gate]] = {}
        self._unknown: set[str] = set()
        self._names: dict[str, Names] = {}
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def joined(self, record: SandboxRecord, *, anew: bool = False) -> None:
        """A sandbox has these interfaces now. `anew`: what the kernel has of it is unknown."""
        before = self._records.get(record.id)
        self._records[record.id] = record
        for item in (*record.attachments, *(before.attachments if before else ())):
            self._names.pop(item.network_id, None)
        if anew:
            self._unknown.add(record.id)
        await self._refresh(record.id)

    def gone(self, container_id: str) -> None:
        """A sandbox is about to end. Idempotent."""
        self._resolver.stop(container_id)
        if record := self._records.pop(container_id, None):
            for item in record.attachments:
                self._names.pop(item.network_id, None)
        self._tables.pop(container_id, None)
        self._gates.pop(container_id, None)
        self._locks.pop(container_id, None)

    async def follow(self, changed: Set[str]) -> None:
        """The networks `changed` have new snapshots."""
        for network_id in changed:
            self._names.pop(network_id, None)
        for container_id, record in list(self._records.items()):
            if any(item.network_id in changed for item in record.attachments):
                try:
                    await self._refresh(container_id)
                except (OSError, ShoalError):
                    log.exception("cannot bring the network of container %s up to date", container_id[:12])

    def views(self, container_id: str) -> Sequence[Names]:
        """The names that a container sees, network by network."""
        record = self._records.get(container_id)
        if not record:
            return []
        return [self._network_names(item) for item in record.attachments if _has_names(item)]

    def _network_names(self, item: Attachment) -> Names:
        found = self._names.get(item.network_id)
        if found is None:
            if snapshot := self._snapshots.get(item.network_id):
                found = names.of_swarm(snapshot)
            else:
                others = (record.on(item.network_id) for record in self._records.values())
                found = names.of_local(item.network_name, [other.settings for other in others if other])
            self._names[item.network_id] = found
        return found

    async def _refresh(self, container_id: str) -> None:
        async with self._locks[container_id]:
            if not (record := self._records.get(container_id)):
                return
            ports = None
            if record.has_names:
                client = Client(record.netns, lambda: self.views(container_id), _servers(record))
                ports = await self._resolver.serve(container_id, client)
            table, gates, ingress = self._wanted(record, ports)
            before = self._tables.get(container_id)
            if before is not None and before.chains:
                commands = ruleset.change(before, table)
            else:
                commands = self._first(container_id, table)
            old_gates = self._gates.get(container_id, {})
            if commands or gates != old_gates:
                await self._threads.run(self._apply, record.netns, commands, ingress, old_gates, gates)
            self._tables[container_id] = table
            self._gates[container_id] = gates

    def _first(self, container_id: str, table: Table) -> str:
        """The commands for a sandbox that has no table yet, or an earlier daemon's."""
        if container_id in self._unknown:
            self._unknown.discard(container_id)
            return ruleset.replace(table)
        return ruleset.create(table) if table.chains else ""

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
                gates = mesh.gates(snapshot, item.settings.ip_address)
            elif snapshot:
                addresses += mesh.virtual_addresses(snapshot, record.id)
        return sandbox_table(ports, addresses, end, gates.values()), gates, end.interface if end else ""

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
