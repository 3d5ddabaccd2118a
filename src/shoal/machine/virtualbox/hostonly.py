"""The host-only network: the adapter on the host, VirtualBox's DHCP server on it, and who has which address.

Machines have static addresses, outside of what DHCP gives away, so that an address stays whatever starts first. A
machine's address is written into its guest property `/Shoal/Address`: VirtualBox knows the machines of all stores.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import NamedTuple

from shoal.machine.errors import MachineError
from shoal.machine.virtualbox import parse, ranges
from shoal.machine.virtualbox.parse import Adapter, DhcpServer
from shoal.machine.virtualbox.vboxmanage import Box, VBoxError

FIRST_MACHINE = 101
"""Addresses are given from here on, as in the tutorial, where DHCP leaves them free."""

PROPERTY = "/Shoal/Address"
_NETWORK_PREFIX = "HostInterfaceNetworking-"
_SETTLE = 10.0


class HostOnly(NamedTuple):
    """The network as it is: the adapter machines are attached to, and what DHCP gives away there."""

    adapter: Adapter
    host: IPv4Interface
    dhcp: DhcpServer | None


def check(box: Box, host: IPv4Interface) -> None:
    """Whether the network can be had. Raises MachineError."""
    _existing(parse.adapters(box("list", "hostonlyifs")), host)
    for adapter in parse.adapters(box("list", "bridgedifs")):
        if adapter.address and adapter.address.network.overlaps(host.network):
            raise MachineError(
                f"host-only cidr conflicts with the network address of a host interface: {adapter.name} has "
                f"{adapter.address}. Choose another one with --virtualbox-hostonly-cidr"
            )


def ensure(box: Box, host: IPv4Interface, *, dhcp: bool, say: Callable[[str], None]) -> HostOnly:
    """Make the adapter (and, with `dhcp`, the DHCP server) where they are missing. Raises MachineError."""
    known = parse.adapters(box("list", "hostonlyifs"))
    adapter = _existing(known, host)
    if adapter is None:
        say("Found a new host-only adapter is needed: creating it...")
        adapter = _create(box, host)
        known.append(adapter)
    servers = parse.dhcp_servers(box("list", "dhcpservers"))
    _remove_orphans(box, servers, {each.network_name for each in known})
    server = next((each for each in servers if each.network_name == adapter.network_name), None)
    if dhcp and not (server and server.enabled and _fits(server, host.network)):
        server = _serve(box, adapter, host, known=server is not None)
    return HostOnly(adapter, host, server)


def _existing(known: Sequence[Adapter], host: IPv4Interface) -> Adapter | None:
    same = [adapter for adapter in known if adapter.address and adapter.address.ip == host.ip]
    if len(same) > 1:
        names = ", ".join(adapter.name for adapter in same)
        raise MachineError(
            f'VirtualBox is configured with multiple host-only adapters with the same IP "{host.ip}" ({names}). '
            "Please remove one"
        )
    return same[0] if same else None


def _create(box: Box, host: IPv4Interface) -> Adapter:
    name = parse.created_adapter(box("hostonlyif", "create"))
    if name is None:
        raise MachineError("VirtualBox made a host-only adapter and did not say which")
    try:
        box("hostonlyif", "ipconfig", name, "--ip", str(host.ip), "--netmask", str(host.netmask))
    except VBoxError as fault:
        box.quietly("hostonlyif", "remove", name)
        if "E_ACCESSDENIED" in fault.errors:
            raise MachineError(ranges.not_allowed(host)) from fault
        raise
    # On Windows the address is there some moments later.
    deadline = time.monotonic() + _SETTLE
    while True:
        for adapter in parse.adapters(box("list", "hostonlyifs")):
            if adapter.name == name and adapter.address == host:
                return adapter
        if time.monotonic() > deadline:
            box.quietly("hostonlyif", "remove", name)
            raise MachineError(f'the host-only adapter "{name}" did not take the address {host}')
        time.sleep(0.2)


def _remove_orphans(box: Box, servers: Iterable[DhcpServer], networks: set[str]) -> None:
    """Servers whose adapter is gone would serve wrong addresses to the next adapter of that name."""
    for server in servers:
        if server.network_name.startswith(_NETWORK_PREFIX) and server.network_name not in networks:
            box.quietly("dhcpserver", "remove", "--netname", server.network_name)


def _fits(server: DhcpServer, network: IPv4Network) -> bool:
    return server.address.network == network and server.lower in network and server.upper in network


def _serve(box: Box, adapter: Adapter, host: IPv4Interface, *, known: bool) -> DhcpServer:
    server = planned_server(adapter.network_name, host)
    box(
        "dhcpserver", "modify" if known else "add", "--netname", adapter.network_name,
        "--ip", str(server.address.ip), "--netmask", str(host.netmask),
        "--lowerip", str(server.lower), "--upperip", str(server.upper), "--enable",
    )  # fmt: skip
    return server


def planned_server(network_name: str, host: IPv4Interface) -> DhcpServer:
    """The DHCP server of a network that had none: the last address but one, giving away the last fifth before it."""
    last = host.network.broadcast_address - 1
    own = last if last != host.ip else last - 1
    size = max(1, host.network.num_addresses // 5)
    return DhcpServer(network_name, IPv4Interface((own, host.network.prefixlen)), own - size, own - 1, True)


def addresses_in_use(box: Box, but: str) -> set[str]:
    """The addresses of all machines that VirtualBox knows, but for the machine `but` (a UUID)."""
    found = set()
    for _, uuid in parse.machines(box("list", "vms")):
        if uuid.lower() != but.lower():
            try:
                found.add(parse.property_value(box("guestproperty", "get", uuid, PROPERTY)))
            except VBoxError:
                # Removed meanwhile, or its files are not accessible.
                continue
    return found - {""}


def choose_address(network: HostOnly, wanted: str, taken: Iterable[str], avoid: str = "") -> str:
    """`wanted` when it may be had, else the lowest free one from .101 on, else the lowest; never `avoid`."""
    host, dhcp = network.host, network.dhcp
    used = {*taken, avoid, str(host.ip), str(dhcp.address.ip) if dhcp else ""}

    def free(address: IPv4Address) -> bool:
        return str(address) not in used and not (dhcp and dhcp.enabled and dhcp.lower <= address <= dhcp.upper)

    if wanted and IPv4Address(wanted) in host.network and free(IPv4Address(wanted)):
        return wanted
    every = list(host.network.hosts())
    preferred = [address for address in every if address >= host.network.network_address + FIRST_MACHINE]
    for address in (*preferred, *every):
        if free(address):
            return str(address)
    raise MachineError(f"no free address left in {host.network}")
