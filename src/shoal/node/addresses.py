"""Which addresses a node listens on and announces, with docker's rules and docker's errors. Pure, but for `interfaces`.

An address is `ip`, `interface`, or either with `:port`. Links that containers or this engine made do not count as the
machine's own, and neither does loopback.
"""

from __future__ import annotations

import array
import fcntl
import ipaddress
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from shoal.model.errors import InvalidArgument

PORT = 2377
_SIOCGIFCONF = 0x8912
_IFREQ = 40
_NOT_OURS = ("lo", "docker", "br-", "veth", "shoal", "vx", "ov-")
_BAD_ADVERTISE = "advertise address must be a non-zero IP address or network interface (with optional port number)"
_BAD_LISTEN = "listen address must be an IP address or network interface (with optional port number)"
_BAD_DATA_PATH = "data path address must be a non-zero IP address or network interface"
_NO_ADDRESS = "could not find the system's IP address"


@dataclass(frozen=True)
class InterfaceAddress:
    """An address of this machine."""

    interface: str
    address: str


@dataclass(frozen=True)
class Addresses:
    """What a node settled on: IP addresses without port, and the port."""

    listen: str
    advertise: str
    port: int = PORT
    advertise_port: int = PORT
    data_path: str = ""
    interface: str = ""
    """The interface that has the advertised address; empty when it is not this machine's (behind NAT)."""


def interfaces() -> list[InterfaceAddress]:
    """All addresses of this machine (of this network namespace), loopback and link-local ones left out."""
    found = [*_ipv4(), *_ipv6()]
    return [
        one
        for one in found
        if not one.interface.startswith(_NOT_OURS) and not ipaddress.ip_address(one.address).is_link_local
    ]


def resolve(
    listen_addr: str, advertise_addr: str, data_path_addr: str, system: Sequence[InterfaceAddress]
) -> Addresses:
    """The addresses to use. Raises InvalidArgument in docker's words when it cannot be told."""
    listen_host, listen_port = _split(listen_addr or "0.0.0.0", PORT, _BAD_LISTEN)
    listen = _ip_or_interface(listen_host, system, _BAD_LISTEN)
    if advertise_addr:
        host, port = _split(advertise_addr, listen_port, _BAD_ADVERTISE)
        advertise = _ip_or_interface(host, system, _BAD_ADVERTISE)
        if ipaddress.ip_address(advertise).is_unspecified:
            raise InvalidArgument(_BAD_ADVERTISE)
    elif not ipaddress.ip_address(listen).is_unspecified:
        advertise, port = listen, listen_port
    else:
        advertise, port = system_address(system), listen_port
    data_path = _ip_or_interface(data_path_addr, system, _BAD_DATA_PATH) if data_path_addr else ""
    if data_path and ipaddress.ip_address(data_path).is_unspecified:
        raise InvalidArgument(_BAD_DATA_PATH)
    interface = next((one.interface for one in system if one.address == advertise), "")
    return Addresses(listen, advertise, listen_port, port, data_path, interface)


def moved(known: Addresses, system: Sequence[InterfaceAddress]) -> str:
    """The address to advertise now: another than `known.advertise` when the machine's address has changed."""
    here = {one.address for one in system}
    if not known.interface or known.advertise in here:
        return known.advertise
    version = ipaddress.ip_address(known.advertise).version
    same = [one for one in system if ipaddress.ip_address(one.address).version == version]
    on_interface = [one.address for one in same if one.interface == known.interface]
    if on_interface:
        return on_interface[0]
    return same[0].address if len(same) == 1 else known.advertise


def system_address(system: Sequence[InterfaceAddress]) -> str:
    """The machine's one address: IPv4 if it has any. Raises InvalidArgument when there are several, or none."""
    for version in (4, 6):
        mine = [one for one in system if ipaddress.ip_address(one.address).version == version]
        if not mine:
            continue
        first = mine[0]
        for other in mine[1:]:
            what = "could not choose an IP address to advertise since this system has multiple addresses on "
            if other.interface == first.interface:
                raise InvalidArgument(f"{what}interface {first.interface} ({first.address} and {other.address})")
            raise InvalidArgument(
                f"{what}different interfaces ({first.address} on {first.interface} and {other.address} on "
                f"{other.interface})"
            )
        return first.address
    raise InvalidArgument(_NO_ADDRESS)


def join_host(host: str, port: int) -> str:
    """`host:port`, IPv6 in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def host_of(addr: str) -> str:
    """The host in `host:port`, without the brackets of IPv6."""
    return addr.rpartition(":")[0].strip("[]")


def remote(addr: str) -> str:
    """A manager's address as a user gives it, with the default port if it has none. Raises InvalidArgument."""
    host, port = _split(addr, PORT, f"invalid remote address: {addr}")
    if not host:
        raise InvalidArgument(f"invalid remote address: {addr}")
    return join_host(host, port)


def address_towards(addr: str) -> str:
    """The own address that packets to `host:port` would carry; empty when there is no way there."""
    host, _, port = addr.rpartition(":")
    try:
        family, kind, _, _, where = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind) as probe:
            probe.connect(where)
            return str(probe.getsockname()[0])
    except OSError:
        return ""


def _split(text: str, default: int, message: str) -> tuple[str, int]:
    """Host and port of `host`, `host:port`, `[v6]:port` or a bare IPv6 address."""
    host, colon, port = text.rpartition(":")
    if not colon or (":" in host and not host.startswith("[")):
        host, port = text, str(default)
    if not port.isdigit() or not 0 < int(port) < 65536:
        raise InvalidArgument(message)
    return host.strip("[]"), int(port)


def _ip_or_interface(host: str, system: Sequence[InterfaceAddress], message: str) -> str:
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        pass
    mine = [one.address for one in system if one.interface == host]
    v4 = [address for address in mine if ipaddress.ip_address(address).version == 4]
    v6 = [address for address in mine if ipaddress.ip_address(address).version == 6]
    if len(v4) > 1 or (not v4 and len(v6) > 1):
        kind = "IPv4" if v4 else "IPv6"
        first, second = (v4 or v6)[:2]
        raise InvalidArgument(f"interface {host} has more than one {kind} address ({first} and {second})")
    if not mine:
        if host in {name for _, name in socket.if_nameindex()}:
            raise InvalidArgument(f"interface {host} has no usable IPv4 or IPv6 addresses")
        raise InvalidArgument(message)
    return (v4 or v6)[0]


def _ipv4() -> list[InterfaceAddress]:
    room = array.array("B", bytes(_IFREQ * 1024))
    address, length = room.buffer_info()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        answer = fcntl.ioctl(probe, _SIOCGIFCONF, struct.pack("iL", length, address))
    used = struct.unpack("iL", answer)[0]
    entries = (room[start : start + _IFREQ].tobytes() for start in range(0, used, _IFREQ))
    return [
        InterfaceAddress(entry[:16].split(b"\0", 1)[0].decode().partition(":")[0], socket.inet_ntoa(entry[20:24]))
        for entry in entries
    ]


def _ipv6() -> list[InterfaceAddress]:
    try:
        lines = Path("/proc/net/if_inet6").read_text().splitlines()
    except OSError:
        return []
    rows = [line.split() for line in lines]
    return [InterfaceAddress(row[5], str(ipaddress.IPv6Address(int(row[0], 16)))) for row in rows]
