"""Making and undoing: namespaces, bridges and the interfaces between them. Blocks; runs in threads."""

from __future__ import annotations

import errno
from ipaddress import IPv4Address
from pathlib import Path

from shoal.model.netstate import mac_of
from shoal.network.kernel import links, namespaces, nft, routes, sysctl
from shoal.network.kernel.namespaces import Namespace
from shoal.network.kernel.netlink import Netlink, NetlinkError
from shoal.network.places import Place
from shoal.network.sandbox import Attachment


class Home:
    """A namespace with bridges in it, and the sockets to command it: the node's own, and the overlays'."""

    def __init__(self, namespace: Namespace) -> None:
        self.namespace = namespace
        with namespace.entered():
            self.netlink = Netlink()
        self.nft = nft.Nft(namespace)

    def close(self) -> None:
        """Close the sockets; what they made stays."""
        self.netlink.close()
        self.nft.close()


def make_bridge(home: Home, place: Place) -> None:
    """A local bridge with its gateway address; one that is there already is put right."""
    found = links.find(home.netlink, place.device)
    if found is None:
        home.netlink.run([links.bridge(place.device, _bridge_mac(place), place.mtu).but(errno.EEXIST)])
        found = links.find(home.netlink, place.device)
        assert found
    messages = [links.change(found.index, up=True)]
    if place.gateway:
        messages.append(routes.address(found.index, f"{place.gateway}/{place.subnet.prefixlen}"))
    home.netlink.run(messages)
    with home.namespace.entered():
        sysctl.write("ipv4/ip_forward", 1)
        sysctl.write(f"ipv4/conf/{place.device}/route_localnet", 1)
        sysctl.write(f"ipv6/conf/{place.device}/disable_ipv6", 1)


def make_namespace(path: Path) -> Namespace:
    """A container's namespace at `path`: loopback up, no IPv6 but ::1, any route in (see the mesh), low ports free."""
    if namespaces.exists(path):
        namespaces.delete(path)
    namespace = namespaces.create(path)
    with namespace.entered():
        for key, value in _SYSCTLS.items():
            sysctl.write(key, value)
        netlink = Netlink()
    netlink.run([links.change(links.LOOPBACK, up=True)])
    netlink.close()
    return namespace


_SYSCTLS = {
    "ipv6/conf/default/disable_ipv6": "1",
    "ipv4/conf/all/rp_filter": "0",
    "ipv4/conf/default/rp_filter": "0",
    "ipv4/ip_unprivileged_port_start": "0",
    "ipv4/ping_group_range": "0 2147483647",
}


def plug(home: Home, namespace: Namespace, place: Place, attachment: Attachment) -> None:
    """Give the container its interface on a bridge of `home`."""
    bridge = links.find(home.netlink, place.device)
    if bridge is None:
        raise NetlinkError(errno.ENODEV, f"the bridge {place.device} of network {place.name} is gone")
    settings = attachment.settings
    home.netlink.run(
        [
            links.veth(
                attachment.host_interface,
                bridge.index,
                place.mtu,
                peer=attachment.interface,
                peer_mac=settings.mac_address,
                namespace=namespace.descriptor,
            )
        ]
    )
    if place.kind == "bridge" and (port := links.find(home.netlink, attachment.host_interface)):
        home.netlink.run([links.bridge_port(port.index, hairpin=place.talk, isolated=not place.talk)])
    with namespace.entered():
        inside = Netlink()
    try:
        found = links.find(inside, attachment.interface)
        assert found
        address = f"{settings.ip_address}/{settings.ip_prefix_len}"
        inside.run([links.change(found.index, up=True), routes.address(found.index, address)])
    finally:
        inside.close()


def unplug(home: Home, attachment: Attachment) -> None:
    """Take an interface of a running container away. Idempotent."""
    home.netlink.run([links.delete(attachment.host_interface)])


def silence(home: Home, attachment: Attachment) -> None:
    """Cut an interface off whose namespace is about to end; the kernel removes it then, at its leisure. Idempotent."""
    if port := links.find(home.netlink, attachment.host_interface):
        home.netlink.run([links.disabled_port(port.index).but(errno.ENETDOWN, errno.ENODEV, errno.EOPNOTSUPP)])


def set_default_route(namespace: Namespace, attachment: Attachment | None) -> None:
    """Everything else goes out through `attachment`, or nowhere."""
    with namespace.entered():
        inside = Netlink()
    try:
        if attachment is None or not attachment.settings.gateway:
            inside.run([routes.no_default_route()])
        elif found := links.find(inside, attachment.interface):
            inside.run([routes.default_route(found.index, attachment.settings.gateway)])
    finally:
        inside.close()


def _bridge_mac(place: Place) -> str:
    """Fixed, else a bridge takes the lowest of its ports and changes it under way."""
    return mac_of(place.gateway or str(IPv4Address(int(place.subnet.network_address) + 1)))
