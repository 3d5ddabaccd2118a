"""Which addresses are in use on which network, and by whom: IPv4, rebuilt from the view, idempotent per holder."""

from __future__ import annotations

import ipaddress
from collections import defaultdict
from collections.abc import Iterable, Mapping

from shoal.model.objects import Network, Node, Service, Task

FIRST_VXLAN_ID = 4096
LAST_VXLAN_ID = 2**24 - 1


class Pool:
    """The addresses of one network. They are given out in turn, so that a freed one rests before it is used again."""

    def __init__(self) -> None:
        self.subnets: list[ipaddress.IPv4Network] = []
        self._ranges: list[ipaddress.IPv4Network] = []
        self._reserved: set[int] = set()
        self._used: dict[int, str] = {}
        self._last = 0

    def describe(self, network: Network) -> None:
        """Take over subnets, ranges, gateways and auxiliary addresses of a network."""
        self.subnets, self._ranges, self._reserved = [], [], set()
        for config in network.ipam.config:
            subnet = ipaddress.ip_network(config.subnet, strict=False)
            if not isinstance(subnet, ipaddress.IPv4Network):
                continue
            self.subnets.append(subnet)
            narrowed = ipaddress.ip_network(config.ip_range, strict=False) if config.ip_range else subnet
            self._ranges.append(narrowed if isinstance(narrowed, ipaddress.IPv4Network) else subnet)
            for text in [config.gateway, *config.auxiliary_addresses.values()]:
                if text:
                    self._reserved.add(int(ipaddress.ip_address(text.split("/")[0])))

    def hold(self, address: str, holder: str) -> None:
        """`address` (CIDR) belongs to `holder`."""
        number = int(ipaddress.ip_interface(address).ip)
        self._used[number] = holder
        self._last = max(self._last, number)

    def release(self, address: str, holder: str) -> None:
        """`holder` gives `address` back; ignored when it belongs to somebody else by now."""
        number = int(ipaddress.ip_interface(address).ip)
        if self._used.get(number) == holder:
            del self._used[number]

    def free(self) -> str | None:
        """An address (CIDR) that nobody holds, None when there is none."""
        for after in (self._last, -1):
            for subnet, narrowed in zip(self.subnets, self._ranges, strict=True):
                low = max(int(narrowed.network_address), int(subnet.network_address) + 1, after + 1)
                high = min(int(narrowed.broadcast_address), int(subnet.broadcast_address) - 1)
                for number in range(low, high + 1):
                    if number not in self._used and number not in self._reserved:
                        self._last = number
                        return f"{ipaddress.IPv4Address(number)}/{subnet.prefixlen}"
        return None


class AddressBook:
    """Every network's pool and VXLAN id, and who holds what. `released` is set when an address became free."""

    def __init__(self) -> None:
        self.released = False
        self._pools: defaultdict[str, Pool] = defaultdict(Pool)
        self._networks: dict[str, Network] = {}
        self._held: dict[str, list[tuple[str, str]]] = {}
        self._last_vxlan_id = FIRST_VXLAN_ID - 1

    def pool(self, network_id: str) -> Pool:
        """The addresses of a network."""
        return self._pools[network_id]

    def subnets(self) -> list[ipaddress.IPv4Network]:
        """Every subnet that a network has."""
        return [subnet for id in self._networks for subnet in self._pools[id].subnets]

    def free_vxlan_id(self) -> int | None:
        """A VXLAN id that no network has, in turn; None when all are used."""
        used = {network.vxlan_id for network in self._networks.values()}
        for start, end in ((self._last_vxlan_id + 1, LAST_VXLAN_ID), (FIRST_VXLAN_ID, self._last_vxlan_id)):
            for number in range(start, end + 1):
                if number not in used:
                    return number
        return None

    def note_network(self, id: str, network: Network | None) -> None:
        """A network came, changed or went."""
        if network is None:
            self._networks.pop(id, None)
            self._pools.pop(id, None)
            self.released = True
            return
        known = self._networks.get(id)
        self._networks[id] = network
        self._last_vxlan_id = max(self._last_vxlan_id, network.vxlan_id)
        if known is None or known.ipam != network.ipam:
            self._pools[id].describe(network)

    def note_service(self, id: str, service: Service | None) -> None:
        """A service came, changed or went."""
        self._note(
            f"service {id}", [(vip.network_id, vip.addr) for vip in service.endpoint.virtual_ips] if service else []
        )

    def note_node(self, id: str, node: Node | None) -> None:
        """A node came, changed or went."""
        self._note(f"node {id}", _flatten({a.network_id: a.addresses for a in node.attachments}) if node else [])

    def note_task(self, id: str, task: Task | None) -> None:
        """A task came, changed, ended or went."""
        if task is None or task.status.state.terminal or not task.networks_attachments:
            if f"task {id}" in self._held:
                self._note(f"task {id}", [])
        else:
            self._note(f"task {id}", _flatten({a.network_id: a.addresses for a in task.networks_attachments}))

    def _note(self, holder: str, holds: list[tuple[str, str]]) -> None:
        before = self._held.get(holder, [])
        if before == holds:
            return
        for network_id, address in before:
            if (network_id, address) not in holds and network_id in self._pools:
                self._pools[network_id].release(address, holder)
                self.released = True
        for network_id, address in holds:
            self._pools[network_id].hold(address, holder)
        if holds:
            self._held[holder] = holds
        else:
            del self._held[holder]


def _flatten(addresses: Mapping[str, Iterable[str]]) -> list[tuple[str, str]]:
    return [(network_id, address) for network_id, several in addresses.items() for address in several]
