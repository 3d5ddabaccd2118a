"""Connection tracking: forgetting flows that would go on to somebody who is gone (linux/nfnetlink_conntrack.h)."""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Set

from shoal.network.kernel.namespaces import Namespace
from shoal.network.kernel.netlink import NESTED, NETFILTER, Message, Netlink, attribute, attributes
from shoal.network.kernel.nft import Reaper

_GET, _DELETE = 0x101, 0x102
_ORIGINAL, _REPLY = 1, 2
_TUPLE_IP, _TUPLE_PROTO = 1, 2
_HEADER = struct.pack("=BBH", socket.AF_INET, 0, 0)


def forget_datagrams(namespace: Namespace, addresses: Set[str], reaper: Reaper) -> int:
    """Forget the UDP flows that lead to one of `addresses`, so that their next packet chooses anew; how many.

    TCP needs no such thing: a connection ends when its end does.
    """
    with namespace.entered():
        netlink = Netlink(NETFILTER)
    try:
        doomed = []
        for payload in netlink.dump(_GET, _HEADER):
            found = attributes(payload[4:])
            reply = attributes(found.get(_REPLY, b""))
            protocol = attributes(reply.get(_TUPLE_PROTO, b"")).get(1, b"\0")[0]
            source = attributes(reply.get(_TUPLE_IP, b"")).get(1, b"")
            if protocol == socket.IPPROTO_UDP and len(source) == 4 and socket.inet_ntoa(source) in addresses:
                original = attribute(_ORIGINAL | NESTED, found[_ORIGINAL])
                doomed.append(Message(_DELETE, _HEADER + original, 0, frozenset({errno.ENOENT})))
        netlink.run(doomed)
        return len(doomed)
    finally:
        reaper.later(netlink.close)
