"""Certificates for etcd's connections between managers: each manager issues its own from the store's root, and those of
managers that are about to join."""

from __future__ import annotations

import asyncio
from typing import Any

from shoal.ca.files import KeyPair
from shoal.ca.issue import expiry_of, issue_peer, new_csr
from shoal.ca.renewal import validity
from shoal.kit.clock import Clock
from shoal.manager.callers import authorize
from shoal.model.errors import Unavailable
from shoal.model.objects import Cluster
from shoal.node.local import Local
from shoal.store.base import Store
from shoal.wire.grpc import rpc
from shoal.wire.pb import managers_pb2
from shoal.wire.pb.managers_grpc import PeersBase


class PeersService(PeersBase):
    """`shoal.v1.Peers`, for holders of a manager's certificate."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    @rpc
    async def IssuePeerCertificate(self, stream: Any) -> None:
        """See the proto."""
        request = await stream.recv_message()
        caller = authorize(stream, self._store.view, "manager")
        cluster = self._store.view.cluster
        if cluster is None:
            raise Unavailable("the swarm is being prepared")
        pem = await asyncio.to_thread(_issue, cluster, request.csr, caller.node_id, self._clock)
        await stream.send_message(managers_pb2.IssuePeerCertificateResponse(certificate=pem))


async def renew_peer_certificate(local: Local, cluster: Cluster) -> None:
    """Issue and save a certificate for this manager's etcd, unless the one it has will do for a while."""
    known = local.state.peer_certificates.load()
    if known is not None and _is_young(known.certificate, local.clock):
        return
    pair = await asyncio.to_thread(make_peer_certificate, cluster, local.node_id, local.clock)
    local.state.peer_certificates.save(pair)


def make_peer_certificate(cluster: Cluster, node_id: str, clock: Clock) -> KeyPair:
    """A key and certificate for the etcd of this node."""
    key, csr = new_csr()
    return KeyPair(_issue(cluster, csr, node_id, clock), key)


def _issue(cluster: Cluster, csr: bytes, node_id: str, clock: Clock) -> bytes:
    return issue_peer(
        cluster.root_ca,
        csr,
        node_id=node_id,
        cluster_id=cluster.id,
        now=clock.now(),
        expiry=expiry_of(cluster.spec.ca_config),
    )


def _is_young(pem: bytes, clock: Clock) -> bool:
    start, end = validity(pem)
    return clock.now() < start + (end - start) / 2
