"""Who is at the other end of a TLS connection, as its certificate says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cryptography import x509
from cryptography.x509.oid import NameOID

from shoal.ca.issue import MANAGER_OU, WORKER_OU

_ROLES = {MANAGER_OU: "manager", WORKER_OU: "worker"}


@dataclass(frozen=True)
class Identity:
    """A node of a swarm: `role` is `worker` or `manager`."""

    node_id: str
    role: str
    cluster_id: str

    @property
    def is_manager(self) -> bool:
        """Whether its certificate is a manager's."""
        return self.role == "manager"


def peer_identity(certificate: Mapping[str, Any] | None) -> Identity | None:
    """The identity in what `ssl` and grpclib (`stream.peer.cert()`) give for a verified peer; None without one."""
    if not certificate:
        return None
    facts = {key: value for part in certificate.get("subject", ()) for key, value in part}
    role = _ROLES.get(facts.get("organizationalUnitName", ""))
    node_id, cluster_id = facts.get("commonName", ""), facts.get("organizationName", "")
    return Identity(node_id, role, cluster_id) if role and node_id and cluster_id else None


def identity_of(pem: bytes) -> Identity:
    """The identity in a node's own certificate. Raises ValueError when it is no node's."""
    subject = x509.load_pem_x509_certificate(pem).subject

    def one(oid: x509.ObjectIdentifier) -> str:
        values = subject.get_attributes_for_oid(oid)
        return str(values[0].value) if values else ""

    role = _ROLES.get(one(NameOID.ORGANIZATIONAL_UNIT_NAME))
    if role is None:
        raise ValueError("not the certificate of a swarm's node")
    return Identity(one(NameOID.COMMON_NAME), role, one(NameOID.ORGANIZATION_NAME))
