"""Messages that make, change and remove network interfaces (linux/if_link.h)."""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass

from shoal.network.kernel.netlink import CREATE, EXCL, Message, Netlink, attribute, attributes, nest

_NEWLINK, _DELLINK, _GETLINK, _SETLINK = 16, 17, 18, 19
_ADDRESS, _IFNAME, _MTU, _MASTER, _PROTINFO, _LINKINFO, _NET_NS_FD = 1, 3, 4, 10, 12, 18, 28
_INFO_KIND, _INFO_DATA = 1, 2
_VETH_PEER = 1
_VXLAN_ID, _VXLAN_LOCAL, _VXLAN_LEARNING, _VXLAN_AGEING, _VXLAN_PROXY, _VXLAN_PORT = 1, 4, 7, 8, 11, 15
_PORT_STATE, _PORT_HAIRPIN, _PORT_LEARNING, _PORT_ISOLATED = 1, 4, 8, 33
_UP = 1
LOOPBACK = 1
"""The index of `lo`, in every namespace."""


@dataclass(frozen=True, slots=True)
class Link:
    """An interface as the kernel has it."""

    index: int
    name: str
    mtu: int
    master: int
    mac: str
    kind: str
    local: str = ""
    """Of a VXLAN: the address that its packets come from."""
    port: int = 0
    """Of a VXLAN: the UDP port."""


def bridge(name: str, mac: str, mtu: int) -> Message:
    """A bridge that is up."""
    parts = [attribute(_IFNAME, name), attribute(_ADDRESS, _mac(mac)), attribute(_MTU, mtu), _info("bridge")]
    return _new(_header(up=True), parts)


def vxlan(name: str, vni: int, local: str, port: int, mtu: int, *, namespace: int | None = None) -> Message:
    """A VXLAN that knows only what it is told: no learning, no flooding, and it answers ARP from its neighbours.

    Its UDP socket is in the namespace of the netlink socket; the interface goes to `namespace` (a descriptor).
    """
    data = [
        attribute(_VXLAN_ID, vni),
        attribute(_VXLAN_LOCAL, socket.inet_aton(local)),
        attribute(_VXLAN_LEARNING, b"\0"),
        attribute(_VXLAN_AGEING, 0),
        attribute(_VXLAN_PROXY, b"\1"),
        attribute(_VXLAN_PORT, struct.pack(">H", port)),
    ]
    parts = [attribute(_IFNAME, name), attribute(_MTU, mtu), _info("vxlan", *data)]
    if namespace is not None:
        parts.append(attribute(_NET_NS_FD, namespace))
    return _new(_header(), parts)


def veth(name: str, master: int, mtu: int, *, peer: str, peer_mac: str, namespace: int) -> Message:
    """A pair: `name`, up, on the bridge with index `master`; `peer`, down, in `namespace` (a descriptor).

    The kernel refuses to make the far end up at once.
    """
    far = _header() + b"".join(
        (
            attribute(_IFNAME, peer),
            attribute(_ADDRESS, _mac(peer_mac)),
            attribute(_MTU, mtu),
            attribute(_NET_NS_FD, namespace),
        )
    )
    parts = [attribute(_IFNAME, name), attribute(_MTU, mtu), attribute(_MASTER, master)]
    return _new(_header(up=True), [*parts, _info("veth", attribute(_VETH_PEER, far))])


def change(index: int, *, up: bool = False, mac: str = "", mtu: int = 0, master: int | None = None) -> Message:
    """Change what is given of an interface; `master` 0 takes it off its bridge."""
    parts = []
    if mac:
        parts.append(attribute(_ADDRESS, _mac(mac)))
    if mtu:
        parts.append(attribute(_MTU, mtu))
    if master is not None:
        parts.append(attribute(_MASTER, master))
    return Message(_SETLINK, _header(index=index, up=up) + b"".join(parts))


def bridge_port(index: int, *, hairpin: bool = False, isolated: bool = False, learning: bool = True) -> Message:
    """How a bridge treats a port: isolated ones reach the bridge itself, but not each other; with `hairpin` a frame
    may leave where it came in (a container that calls its own published port)."""
    return _port(index, {_PORT_HAIRPIN: hairpin, _PORT_ISOLATED: isolated, _PORT_LEARNING: learning})


def disabled_port(index: int) -> Message:
    """A bridge drops what comes from and goes to this port from now on. Unlike removal (20 ms) it costs nothing."""
    return _port(index, {_PORT_STATE: 0})


def _port(index: int, options: Mapping[int, int]) -> Message:
    header = struct.pack("=BxHiII", socket.AF_BRIDGE, 0, index, 0, 0)
    return Message(_SETLINK, header + nest(_PROTINFO, *(attribute(kind, bytes([on])) for kind, on in options.items())))


def delete(name: str) -> Message:
    """Remove an interface, and with it its pair. It is no error when it is gone already."""
    return Message(_DELLINK, _header() + attribute(_IFNAME, name), 0, frozenset({errno.ENODEV}))


def find(netlink: Netlink, name: str) -> Link | None:
    """The interface called `name`."""
    payload = netlink.get(Message(_GETLINK, _header() + attribute(_IFNAME, name)))
    return _parse(payload) if payload else None


def at(netlink: Netlink, index: int) -> Link | None:
    """The interface with this index."""
    payload = netlink.get(Message(_GETLINK, _header(index=index)))
    return _parse(payload) if payload else None


def _parse(payload: bytes) -> Link:
    index = struct.unpack_from("=i", payload, 4)[0]
    found = attributes(payload[16:])
    info = attributes(found.get(_LINKINFO, b""))
    data = attributes(info.get(_INFO_DATA, b""))
    kind = info.get(_INFO_KIND, b"").rstrip(b"\0").decode()
    is_vxlan = kind == "vxlan" and _VXLAN_LOCAL in data
    return Link(
        index=index,
        name=found[_IFNAME].rstrip(b"\0").decode(),
        mtu=int.from_bytes(found.get(_MTU, b""), "little"),
        master=int.from_bytes(found.get(_MASTER, b""), "little"),
        mac=":".join(f"{byte:02x}" for byte in found.get(_ADDRESS, b"")),
        kind=kind,
        local=socket.inet_ntoa(data[_VXLAN_LOCAL]) if is_vxlan else "",
        port=int.from_bytes(data.get(_VXLAN_PORT, b""), "big") if is_vxlan else 0,
    )


def _new(header: bytes, parts: list[bytes]) -> Message:
    return Message(_NEWLINK, header + b"".join(parts), CREATE | EXCL)


def _header(*, index: int = 0, up: bool = False) -> bytes:
    flag = _UP if up else 0
    return struct.pack("=BxHiII", socket.AF_UNSPEC, 0, index, flag, flag)


def _info(kind: str, *data: bytes) -> bytes:
    parts = [attribute(_INFO_KIND, kind)]
    if data:
        parts.append(nest(_INFO_DATA, *data))
    return nest(_LINKINFO, *parts)


def _mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))
