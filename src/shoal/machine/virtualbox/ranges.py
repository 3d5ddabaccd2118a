"""Which host-only networks VirtualBox allows, and which one machines are put on when nobody says.

Since 6.1.28 VirtualBox on Linux, macOS and Solaris takes for host-only adapters only addresses in 192.168.56.0/21, or
those that /etc/vbox/networks.conf lists in lines that begin with `*` (VirtualBox manual, "Host-Only Networking").
docker-machine's network, 192.168.99.0/24, is outside. On Windows nothing is restricted.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from ipaddress import IPv4Interface, IPv4Network
from pathlib import Path

from shoal.machine.errors import MachineError
from shoal.machine.virtualbox.vboxmanage import Version

CONFIGURATION = Path("/etc/vbox/networks.conf")
RESTRICTED_SINCE: Version = (6, 1, 28)
DEFAULT_RANGE = IPv4Network("192.168.56.0/21")

CLASSIC = IPv4Interface("192.168.99.1/24")
"""docker-machine's network: the default wherever VirtualBox allows it."""

ALLOWED = IPv4Interface("192.168.59.1/24")
"""The default elsewhere: inside 192.168.56.0/21, but not 192.168.56.0/24, where VirtualBox's own vboxnet0 is."""


def parse_configuration(text: str) -> list[IPv4Network]:
    """The IPv4 ranges in a networks.conf."""
    found = []
    for line in text.splitlines():
        if line.strip().startswith("*"):
            for word in line.strip()[1:].replace(",", " ").split():
                with suppress(ValueError):
                    found.append(IPv4Network(word, strict=False))
    return found


def allowed_ranges(version: Version, platform: str, configuration: str | None) -> Sequence[IPv4Network] | None:
    """The ranges in which adapters may have addresses; None: all. `configuration` is networks.conf's text, if any."""
    if platform == "win32" or version < RESTRICTED_SINCE:
        return None
    return parse_configuration(configuration or "") or [DEFAULT_RANGE]


def read_configuration(path: Path = CONFIGURATION) -> str | None:
    """The text of networks.conf; None without one."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return None


def default_network(ranges: Sequence[IPv4Network] | None) -> IPv4Interface:
    """The host's address and network when no `--virtualbox-hostonly-cidr` is given."""
    for interface in (CLASSIC, ALLOWED):
        if is_allowed(interface, ranges):
            return interface
    first = next(iter(ranges or []), DEFAULT_RANGE)
    return IPv4Interface((first.network_address + 1, max(first.prefixlen, 24)))


def is_allowed(interface: IPv4Interface, ranges: Sequence[IPv4Network] | None) -> bool:
    """Whether an adapter may have this address."""
    return ranges is None or any(interface.ip in network for network in ranges)


def not_allowed(interface: IPv4Interface) -> str:
    """What is said then, with the remedy."""
    return (
        f"VirtualBox does not allow the host-only network {interface.network}: since version 6.1.28 it takes only "
        f"addresses in {DEFAULT_RANGE} unless {CONFIGURATION} lists others. Leave out --virtualbox-hostonly-cidr to "
        f"use {ALLOWED}, or write the line '* {interface.network}' into that file"
    )


def parse_cidr(text: str) -> IPv4Interface:
    """`--virtualbox-hostonly-cidr`: the host's own address with a prefix length. Raises MachineError."""
    try:
        interface = IPv4Interface(text)
    except ValueError as fault:
        raise MachineError(f'invalid host-only cidr "{text}": {fault}') from fault
    if "/" not in text or interface.ip == interface.network.network_address:
        raise MachineError("host-only cidr must be specified with a host address, not a network address")
    if not 16 <= interface.network.prefixlen <= 29:
        raise MachineError(f'invalid host-only cidr "{text}": use a prefix length from 16 to 29')
    return interface
