"""Messages for addresses, routes, rules and neighbours; IPv4 (linux/rtnetlink.h, fib_rules.h, neighbour.h)."""

from __future__ import annotations

import errno
import ipaddress
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from shoal.network.kernel.netlink import CREATE, EXCL, REPLACE, Message, Netlink, attribute, attributes

_NEWADDR, _DELADDR, _GETADDR = 20, 21, 22
_NEWROUTE, _DELROUTE, _GETROUTE = 24, 25, 26
_NEWNEIGH, _DELNEIGH, _GETNEIGH = 28, 29, 30
_NEWRULE, _DELRULE = 32, 33
_PERMANENT, _NOARP = 0x80, 0x40
_SELF, _MASTER = 0x02, 0x04
_MAIN_TABLE, _STATIC, _UNICAST = 254, 4, 1
_UNIVERSE, _LINK_SCOPE = 0, 253


def address(index: int, interface: str) -> Message:
    """Give the interface `index` an address with its prefix length, `10.0.0.5/24`."""
    value = ipaddress.IPv4Interface(interface)
    header = struct.pack("=BBBBi", socket.AF_INET, value.network.prefixlen, 0, 0, index)
    parts = attribute(2, value.ip.packed) + attribute(1, value.ip.packed)
    if value.network.prefixlen < 31:
        parts += attribute(4, value.network.broadcast_address.packed)
    return Message(_NEWADDR, header + parts, CREATE | REPLACE, frozenset({errno.EEXIST}))


def no_address(index: int, interface: str) -> Message:
    """Take an address away; no error when it is gone already."""
    value = ipaddress.IPv4Interface(interface)
    header = struct.pack("=BBBBi", socket.AF_INET, value.network.prefixlen, 0, 0, index)
    return Message(_DELADDR, header + attribute(2, value.ip.packed), 0, frozenset({errno.EADDRNOTAVAIL}))


def addresses(netlink: Netlink) -> Iterator[tuple[int, ipaddress.IPv4Interface]]:
    """The IPv4 addresses of the namespace, each with the index of its interface."""
    for payload in netlink.dump(_GETADDR, struct.pack("=BBBBi", socket.AF_INET, 0, 0, 0, 0)):
        found = attributes(payload[8:])
        if packed := found.get(2) or found.get(1):
            yield struct.unpack_from("=i", payload, 4)[0], ipaddress.IPv4Interface((packed, payload[1]))


def default_route(index: int, gateway: str, table: int = _MAIN_TABLE) -> Message:
    """Everything else goes to `gateway` through the interface `index`; replaces the one there was."""
    parts = attribute(5, socket.inet_aton(gateway)) + attribute(4, index) + attribute(15, table)
    return Message(_NEWROUTE, _route(0, table, _UNIVERSE) + parts, CREATE | REPLACE)


def no_default_route(table: int = _MAIN_TABLE) -> Message:
    """Take the default route of `table` away; no error when there is none."""
    return Message(_DELROUTE, _route(0, table, _UNIVERSE) + attribute(15, table), 0, frozenset({errno.ESRCH}))


def networks_in_use(netlink: Netlink) -> Iterator[ipaddress.IPv4Network]:
    """The destinations of the main table's routes, the default route left out."""
    for payload in netlink.dump(_GETROUTE, _route(0, 0, _UNIVERSE)):
        length, table, kind = payload[1], payload[4], payload[7]
        destination = attributes(payload[12:]).get(1)
        if table == _MAIN_TABLE and kind == _UNICAST and destination and length:
            yield ipaddress.IPv4Network((destination, length), strict=False)


def mark_rule(mark: int, table: int) -> Message:
    """Packets with this firewall mark are routed by `table`."""
    return Message(_NEWRULE, _rule(mark, table), CREATE | EXCL, frozenset({errno.EEXIST}))


def no_mark_rule(mark: int, table: int) -> Message:
    """The opposite of `mark_rule`."""
    return Message(_DELRULE, _rule(mark, table), 0, frozenset({errno.ENOENT, errno.ESRCH}))


@dataclass(frozen=True, slots=True, order=True)
class Neighbour:
    """A permanent entry: the IPv4 `address` and `mac` on an interface."""

    address: str
    mac: str


@dataclass(frozen=True, slots=True, order=True)
class Forwarding:
    """An entry of a VXLAN's forwarding table: `mac` is behind the host `underlay`."""

    mac: str
    underlay: str


def neighbour(index: int, entry: Neighbour) -> Message:
    """The interface `index` knows (and a VXLAN answers ARP for) this neighbour; replaces what there was."""
    header = _neighbour(socket.AF_INET, index, _PERMANENT, 0)
    parts = attribute(1, socket.inet_aton(entry.address)) + attribute(2, _mac(entry.mac))
    return Message(_NEWNEIGH, header + parts, CREATE | REPLACE)


def no_neighbour(index: int, entry: Neighbour) -> Message:
    """The opposite of `neighbour`."""
    header = _neighbour(socket.AF_INET, index, 0, 0)
    parts = attribute(1, socket.inet_aton(entry.address))
    return Message(_DELNEIGH, header + parts, 0, frozenset({errno.ENOENT, errno.ESRCH}))


def forwarding(index: int, entry: Forwarding) -> list[Message]:
    """The VXLAN `index` sends frames for this MAC to that host, and its bridge sends them to the VXLAN."""
    parts = attribute(2, _mac(entry.mac))
    own = _neighbour(socket.AF_BRIDGE, index, _PERMANENT | _NOARP, _SELF)
    bridge = _neighbour(socket.AF_BRIDGE, index, _NOARP, _MASTER)
    return [
        Message(_NEWNEIGH, own + parts + attribute(1, socket.inet_aton(entry.underlay)), CREATE | REPLACE),
        Message(_NEWNEIGH, bridge + parts, CREATE | REPLACE),
    ]


def no_forwarding(index: int, entry: Forwarding) -> list[Message]:
    """The opposite of `forwarding`."""
    gone = frozenset({errno.ENOENT})
    return [
        Message(_DELNEIGH, _neighbour(socket.AF_BRIDGE, index, 0, flag) + attribute(2, _mac(entry.mac)), 0, gone)
        for flag in (_SELF, _MASTER)
    ]


def neighbours(netlink: Netlink, index: int) -> Iterator[Neighbour]:
    """The permanent neighbours of an interface."""
    for payload in netlink.dump(_GETNEIGH, _neighbour(socket.AF_INET, 0, 0, 0)):
        owner, state = struct.unpack_from("=iH", payload, 4)
        found = attributes(payload[12:])
        if owner == index and state & _PERMANENT and 1 in found and 2 in found:
            yield Neighbour(socket.inet_ntoa(found[1]), _text(found[2]))


def forwardings(netlink: Netlink, index: int) -> Iterator[Forwarding]:
    """The forwarding table of a VXLAN."""
    for payload in netlink.dump(_GETNEIGH, _neighbour(socket.AF_BRIDGE, 0, 0, 0)):
        owner, _state, flags = struct.unpack_from("=iHB", payload, 4)
        found = attributes(payload[12:])
        if owner == index and flags & _SELF and 1 in found and len(found[1]) == 4 and any(found[2]):
            yield Forwarding(_text(found[2]), socket.inet_ntoa(found[1]))


def _route(prefix: int, table: int, scope: int) -> bytes:
    low = table if table < 256 else 0
    return struct.pack("=BBBBBBBBI", socket.AF_INET, prefix, 0, 0, low, _STATIC, scope, _UNICAST, 0)


def _rule(mark: int, table: int) -> bytes:
    low = table if table < 256 else 0
    header = struct.pack("=BBBBBBBBI", socket.AF_INET, 0, 0, 0, low, 0, 0, 1, 0)
    return header + attribute(10, mark) + attribute(15, table)


def _neighbour(family: int, index: int, state: int, flags: int) -> bytes:
    return struct.pack("=BxHiHBB", family, 0, index, state, flags, 0)


def _mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def _text(mac: bytes) -> str:
    return ":".join(f"{byte:02x}" for byte in mac)
