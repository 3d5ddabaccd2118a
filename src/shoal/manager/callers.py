"""Who is calling a service of the node protocol, and whether they may."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Any

from shoal.ca.identity import peer_identity
from shoal.model.errors import PermissionDenied
from shoal.store.view import View


@dataclass(frozen=True)
class Caller:
    """A node of this swarm at the other end: its id and role from its certificate, and the address it comes from."""

    node_id: str
    role: str
    address: str


def authorize(stream: Any, view: View, *roles: str) -> Caller:
    """The caller of a gRPC `stream`; of one of `roles` if any are named.

    Raises PermissionDenied: no certificate, one of another swarm, the wrong role, or a node that was removed.
    """
    identity = peer_identity(stream.peer.cert())
    if identity is None:
        raise PermissionDenied("Permission denied: unauthorized peer: a certificate of this swarm is needed")
    cluster = view.cluster
    if cluster is None or identity.cluster_id != cluster.id:
        raise PermissionDenied(f"Permission denied: unauthorized peer organization: {identity.cluster_id}")
    if identity.node_id in cluster.removed_nodes:
        raise PermissionDenied(f"node {identity.node_id} was removed from swarm")
    if roles and identity.role not in roles:
        raise PermissionDenied(f"Permission denied: unauthorized peer role: swarm-{identity.role}")
    return Caller(identity.node_id, identity.role, address_of(stream))


def address_of(stream: Any) -> str:
    """The IP address that a gRPC `stream` comes from; empty when it does not come over IP."""
    name = stream.peer.addr()
    if not isinstance(name, tuple) or not name:
        return ""
    try:
        address = ipaddress.ip_address(str(name[0]).partition("%")[0])
    except ValueError:
        return ""
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)
