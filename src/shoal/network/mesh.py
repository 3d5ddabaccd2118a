"""The routing mesh and virtual addresses, derived from the managers' snapshots. Pure.

Why a port per ingress node: a client may use one source address and port towards two nodes at once. Both lead to the
same backend, and as nobody changes the client's address (so that the backend sees it), the two connections would be one
and the same there. So each node addresses the backend at a port of its own, and the container's namespace redirects it
to the real one.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network

from shoal.model.netstate import NetworkSnapshot, PeerRecord, ServiceRecord, mac_of
from shoal.model.swarm_spec import PortConfig
from shoal.network import places
from shoal.network.segments import active_of, own_peer
from shoal.network.tables import Gate, MeshPort, MeshRules, VirtualAddress

_FIRST_PORT, _PORTS = 1024, 65536 - 1024
_MARKS = 0x10000
"""Marks and routing tables of ingress nodes are this plus the node's place in the ingress subnet."""


def mesh_rules(snapshot: NetworkSnapshot, node_id: str, mtu: int) -> MeshRules | None:
    """The mesh on the node `node_id`; None while the node has no address on the ingress network."""
    own = own_peer(snapshot, node_id)
    if not own or not own.address:
        return None
    ports = []
    for service in snapshot.services:
        entrances = _entrances(snapshot, service)
        backends = turned([item.address for item in active_of(snapshot, service.id)], node_id)
        for port in _ingress_ports(service):
            entrance = entrances[own.address, port.protocol, port.published_port]
            ports.append(MeshPort(port.protocol, port.published_port, backends, entrance))
    subnet = snapshot.network.ipam.config[0].subnet
    return MeshRules(places.overlay_bridge(snapshot.network.vxlan_id), subnet, mtu, tuple(ports))


def service_at(snapshot: NetworkSnapshot, address: str) -> str:
    """The id of the service whose task has `address`; empty when no task is known to have it."""
    return next((item.service_id for item in snapshot.endpoints if item.address == address), "")


def gates(snapshot: NetworkSnapshot, service_id: str) -> dict[str, Gate]:
    """The ingress nodes, by their address, as the tasks of a service must know them."""
    service = next((item for item in snapshot.services if item.id == service_id), None)
    entrances = _entrances(snapshot, service) if service else {}
    subnet = IPv4Network(snapshot.network.ipam.config[0].subnet)
    found = {}
    for peer in _peers(snapshot):
        ports = tuple(
            (port.protocol, entrances[peer.address, port.protocol, port.published_port], port.target_port)
            for port in (_ingress_ports(service) if service else [])
        )
        mark = _MARKS + int(IPv4Address(peer.address)) - int(subnet.network_address)
        found[peer.address] = Gate(mac_of(peer.address), mark, ports)
    return found


def virtual_addresses(snapshot: NetworkSnapshot) -> list[VirtualAddress]:
    """The services' addresses on a network and their active tasks."""
    return [
        VirtualAddress(service.vip, tuple(item.address for item in active_of(snapshot, service.id)))
        for service in sorted(snapshot.services, key=lambda service: service.id)
        if service.vip
    ]


def turned(backends: Sequence[str], by: str) -> tuple[str, ...]:
    """`backends`, begun at a place that differs between users, else all would call the same one first."""
    if not backends:
        return ()
    start = zlib.crc32(by.encode()) % len(backends)
    return (*backends[start:], *backends[:start])


def _entrances(snapshot: NetworkSnapshot, service: ServiceRecord) -> dict[tuple[str, str, int], int]:
    """Node address, protocol, published port -> the port at which that node addresses the service's tasks.

    All nodes compute the same from the same snapshot, and a node that comes or goes hardly ever moves another's.
    """
    subnet = IPv4Network(snapshot.network.ipam.config[0].subnet)
    taken: set[tuple[str, int]] = set()
    found: dict[tuple[str, str, int], int] = {}
    for port in _ingress_ports(service):
        for peer in _peers(snapshot):
            place = int(IPv4Address(peer.address)) - int(subnet.network_address)
            offset = (place + 257 * port.published_port) % _PORTS
            while (port.protocol, offset) in taken:
                offset = (offset + 1) % _PORTS
            taken.add((port.protocol, offset))
            found[peer.address, port.protocol, port.published_port] = _FIRST_PORT + offset
    return found


def _ingress_ports(service: ServiceRecord) -> Sequence[PortConfig]:
    ports = [port for port in service.ports if port.publish_mode in ("", "ingress") and port.published_port]
    return sorted(ports, key=lambda port: (port.published_port, port.protocol))


def _peers(snapshot: NetworkSnapshot) -> Iterable[PeerRecord]:
    return sorted((peer for peer in snapshot.peers if peer.address), key=lambda peer: IPv4Address(peer.address))
