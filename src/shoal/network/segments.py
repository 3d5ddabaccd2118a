"""An overlay on one node: what the kernel must know of it, derived from the manager's snapshot. Pure."""

from __future__ import annotations

import socket
from dataclasses import dataclass

from shoal.model.netstate import EndpointRecord, NetworkSnapshot, NetworkUpdate, PeerRecord, mac_of
from shoal.network import places, pools
from shoal.network.kernel.routes import Forwarding, Neighbour
from shoal.network.local import mtu_of

VXLAN_OVERHEAD = 50
"""Outer Ethernet, IPv4, UDP and VXLAN headers."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A bridge, the VXLAN behind it, and who is where."""

    network_id: str
    vni: int
    mtu: int
    port: int
    """UDP port of the data path."""
    local: str = ""
    """The node's address between the nodes; empty while it is unknown: then there is no VXLAN yet."""
    address: str = ""
    """Of the ingress network: the node's own address in it, with prefix length. Its bridge is in the node's namespace,
    all others are in one of their own."""
    ingress: bool = False
    neighbours: frozenset[Neighbour] = frozenset()
    forwardings: frozenset[Forwarding] = frozenset()

    @property
    def bridge(self) -> str:
        """The bridge's interface."""
        return places.overlay_bridge(self.vni)

    @property
    def vxlan(self) -> str:
        """The VXLAN's interface."""
        return f"vx-{self.vni:06x}"


@dataclass(frozen=True, slots=True)
class SegmentChange:
    """How to get from one segment to another. With `remake`, bridge or VXLAN themselves differ."""

    remake: bool
    gone_neighbours: tuple[Neighbour, ...]
    gone_forwardings: tuple[Forwarding, ...]
    new_neighbours: tuple[Neighbour, ...]
    new_forwardings: tuple[Forwarding, ...]

    def __bool__(self) -> bool:
        return any(
            (self.remake, self.gone_neighbours, self.gone_forwardings, self.new_neighbours, self.new_forwardings)
        )


def own_peer(snapshot: NetworkSnapshot, node_id: str) -> PeerRecord | None:
    """This node's own entry."""
    return next((peer for peer in snapshot.peers if peer.node_id == node_id), None)


def segment(snapshot: NetworkSnapshot, node_id: str, port: int, mtu: int) -> Segment:
    """What `snapshot` means on the node `node_id`."""
    network = snapshot.network
    own = own_peer(snapshot, node_id)
    underlay = {peer.node_id: peer.underlay for peer in snapshot.peers if peer.underlay and peer.node_id != node_id}
    far = [(endpoint.address, underlay.get(endpoint.node_id)) for endpoint in snapshot.endpoints]
    far += [(peer.address, underlay.get(peer.node_id)) for peer in snapshot.peers]
    known = [(address, host) for address, host in far if address and host]
    address = ""
    if network.spec.ingress and own and own.address:
        prefix = pools.parse_subnet(network.ipam.config[0].subnet).prefixlen
        address = f"{own.address}/{prefix}"
    return Segment(
        network_id=network.id,
        vni=network.vxlan_id,
        mtu=mtu,
        port=port,
        local=own.underlay if own else "",
        address=address,
        ingress=network.spec.ingress,
        neighbours=frozenset(Neighbour(address, mac_of(address)) for address, _ in known),
        forwardings=frozenset(Forwarding(mac_of(address), host) for address, host in known),
    )


def change(old: Segment, new: Segment) -> SegmentChange:
    """The difference. A MAC that moved to another host is only set anew, never absent in between."""
    macs = {entry.mac for entry in new.forwardings}
    return SegmentChange(
        remake=(old.vni, old.mtu, old.port, old.local, old.address)
        != (new.vni, new.mtu, new.port, new.local, new.address),
        gone_neighbours=tuple(sorted(old.neighbours - new.neighbours)),
        gone_forwardings=tuple(sorted(entry for entry in old.forwardings - new.forwardings if entry.mac not in macs)),
        new_neighbours=tuple(sorted(new.neighbours - old.neighbours)),
        new_forwardings=tuple(sorted(new.forwardings - old.forwardings)),
    )


def overlay_mtu(snapshot: NetworkSnapshot, underlay_mtu: int) -> int:
    """What the network's options ask for, else what the way between the nodes leaves over; 1450 at most."""
    return mtu_of(snapshot.network.spec.options, min(1500, underlay_mtu) - VXLAN_OVERHEAD)


def merged(held: dict[str, NetworkSnapshot], update: NetworkUpdate) -> dict[str, NetworkSnapshot]:
    """The networks after `update`."""
    kept = {} if update.complete else {key: value for key, value in held.items() if key not in update.removed}
    return kept | {snapshot.network.id: snapshot for snapshot in update.snapshots}


def withdrawn(old: NetworkSnapshot | None, new: NetworkSnapshot | None) -> set[str]:
    """Addresses that were active and are so no more."""
    before = {endpoint.address for endpoint in old.endpoints if endpoint.active} if old else set()
    after = {endpoint.address for endpoint in new.endpoints if endpoint.active} if new else set()
    return before - after


def active_of(snapshot: NetworkSnapshot, service_id: str) -> list[EndpointRecord]:
    """A service's active endpoints, by address."""
    found = [item for item in snapshot.endpoints if item.active and item.service_id == service_id]
    return sorted(found, key=lambda item: socket.inet_aton(item.address))
