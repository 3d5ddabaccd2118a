"""Overlays in the kernel: a bridge and a VXLAN each. Blocks; runs in threads.

The ingress network's bridge is in the node's namespace, where the mesh needs it. All others are in one namespace of
their own: their subnets cannot clash with the host's, and no firewall of the host looks into their frames. The VXLANs'
UDP sockets are the node's in either case.
"""

from __future__ import annotations

import errno
import threading
from pathlib import Path

from shoal.model.netstate import mac_of
from shoal.network import segments
from shoal.network.kernel import links, namespaces, routes, sysctl
from shoal.network.kernel.namespaces import Namespace
from shoal.network.kernel.netlink import Message
from shoal.network.segments import Segment, SegmentChange
from shoal.network.wiring import Home


class Overlays:
    """Makes, changes and removes segments. `path` is where the overlays' namespace is mounted."""

    def __init__(self, node: Home, path: Path) -> None:
        self._node = node
        self._path = path
        self._home: Home | None = None
        self._lock = threading.Lock()

    def home(self, *, ingress: bool) -> Home:
        """The namespace that a segment's bridge is in; the overlays' own is made when there is none."""
        if ingress:
            return self._node
        with self._lock:
            if self._home is None:
                found = namespaces.exists(self._path)
                self._home = Home(Namespace.at(self._path) if found else namespaces.create(self._path))
                self._home.netlink.run([links.change(links.LOOPBACK, up=True)])
            return self._home

    def present(self, *, ingress: bool) -> Home | None:
        """`home`, but None instead of making one."""
        return self.home(ingress=ingress) if ingress or self._home or namespaces.exists(self._path) else None

    def underlay_mtu(self, address: str) -> int:
        """The MTU of the node's interface that has `address`; 1500 when none has it."""
        for index, item in routes.addresses(self._node.netlink):
            if str(item.ip) == address and (link := links.at(self._node.netlink, index)):
                return link.mtu
        return 1500

    def make(self, segment: Segment) -> None:
        """Bring the kernel to `segment`, whatever it has of it already; running traffic is not disturbed."""
        home = self.home(ingress=segment.ingress)
        bridge = self._make_bridge(home, segment)
        if not segment.local:
            return
        found = links.find(home.netlink, segment.vxlan)
        if found and (found.local, found.port) != (segment.local, segment.port):
            home.netlink.run([links.delete(segment.vxlan)])
            found = None
        if not found:
            self._node.netlink.run(
                [
                    links.vxlan(
                        segment.vxlan,
                        segment.vni,
                        segment.local,
                        segment.port,
                        segment.mtu,
                        namespace=None if segment.ingress else home.namespace.descriptor,
                    )
                ]
            )
            found = links.find(home.netlink, segment.vxlan)
            assert found
        home.netlink.run([links.change(found.index, mtu=segment.mtu, master=bridge.index, up=True)])
        home.netlink.run([links.bridge_port(found.index, learning=False)])
        present = Segment(
            network_id=segment.network_id,
            vni=segment.vni,
            mtu=segment.mtu,
            port=segment.port,
            neighbours=frozenset(routes.neighbours(home.netlink, found.index)),
            forwardings=frozenset(routes.forwardings(home.netlink, found.index)),
        )
        home.netlink.run(_messages(found.index, segments.change(present, segment)))

    def update(self, old: Segment, new: Segment) -> None:
        """Change what differs between `old`, which is in the kernel, and `new`."""
        difference = segments.change(old, new)
        if difference.remake:
            if old.address and old.address != new.address:
                self._forget_address(old)
            self.make(new)
        elif difference and new.local:
            home = self.home(ingress=new.ingress)
            found = links.find(home.netlink, new.vxlan)
            if found:
                home.netlink.run(_messages(found.index, difference))
            else:
                self.make(new)

    def remove(self, segment: Segment) -> None:
        """Take a segment away. Idempotent."""
        if home := self.present(ingress=segment.ingress):
            home.netlink.run([links.delete(segment.vxlan), links.delete(segment.bridge)])

    def end(self) -> None:
        """Remove the overlays' namespace with all that is in it. Idempotent."""
        self.close()
        namespaces.delete(self._path)

    def close(self) -> None:
        """Close sockets; what the kernel has stays."""
        with self._lock:
            home, self._home = self._home, None
            if home:
                home.close()
                home.namespace.close()

    def _make_bridge(self, home: Home, segment: Segment) -> links.Link:
        own = segment.address.split("/")[0]
        mac = (
            mac_of(own)
            if own
            else f"02:42:fe:{segment.vni >> 16:02x}:{segment.vni >> 8 & 255:02x}:{segment.vni & 255:02x}"
        )
        if not links.find(home.netlink, segment.bridge):
            home.netlink.run([links.bridge(segment.bridge, mac, segment.mtu).but(errno.EEXIST)])
        bridge = links.find(home.netlink, segment.bridge)
        assert bridge
        messages = [links.change(bridge.index, mac=mac, mtu=segment.mtu, up=True)]
        if segment.address:
            messages.append(routes.address(bridge.index, segment.address))
        home.netlink.run(messages)
        with home.namespace.entered():
            sysctl.write(f"ipv6/conf/{segment.bridge}/disable_ipv6", 1)
            if segment.address:
                sysctl.write("ipv4/ip_forward", 1)
                sysctl.write(f"ipv4/conf/{segment.bridge}/route_localnet", 1)
        return bridge

    def _forget_address(self, old: Segment) -> None:
        home = self.home(ingress=old.ingress)
        if bridge := links.find(home.netlink, old.bridge):
            home.netlink.run([routes.no_address(bridge.index, old.address)])


def _messages(index: int, difference: SegmentChange) -> list[Message]:
    """New ways first, so that nothing is unreachable in between."""
    messages: list[Message] = []
    for come in difference.new_forwardings:
        messages += routes.forwarding(index, come)
    messages += [routes.neighbour(index, entry) for entry in difference.new_neighbours]
    for gone in difference.gone_forwardings:
        messages += routes.no_forwarding(index, gone)
    messages += [routes.no_neighbour(index, entry) for entry in difference.gone_neighbours]
    return messages
