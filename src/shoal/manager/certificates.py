"""The CA service, on every manager: the root for anybody, node certificates for joining and renewing nodes.

A certificate is signed in the same step that records it, so a node's status is ISSUED as soon as its request is
answered. A node object is born here: joining is getting a first certificate.
"""

from __future__ import annotations

import asyncio
from typing import Any

from msgspec.structs import replace

from shoal.ca.identity import peer_identity
from shoal.ca.issue import expiry_of, issue_node
from shoal.ca.tokens import role_of
from shoal.kit.clock import Clock
from shoal.kit.ids import Ids
from shoal.manager.callers import authorize
from shoal.model.errors import InvalidArgument, NotFound, OutOfSequence, Unavailable
from shoal.model.objects import Certificate, Cluster, Node
from shoal.model.swarm_spec import NodeSpec
from shoal.store.base import Put, Store
from shoal.wire.basics import from_enum
from shoal.wire.convert_node import certificate_to_wire
from shoal.wire.grpc import rpc
from shoal.wire.pb import swarmkit_pb2 as pb
from shoal.wire.pb.swarmkit_grpc import CABase, NodeCABase

_SETTLED = ("issued", "failed")


class RootService(CABase):
    """`CA`: the root certificate, unauthenticated; the join token's digest proves it."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @rpc
    async def GetRootCACertificate(self, stream: Any) -> None:
        """The exact bytes whose digest is in the join tokens."""
        await stream.recv_message()
        await stream.send_message(
            pb.GetRootCACertificateResponse(certificate=_cluster(self._store).root_ca.certificate)
        )


class NodeCertificates(NodeCABase):
    """`NodeCA`: issues node certificates from CSRs."""

    def __init__(self, store: Store, clock: Clock, ids: Ids) -> None:
        self._store = store
        self._clock = clock
        self._ids = ids

    @rpc
    async def IssueNodeCertificate(self, stream: Any) -> None:
        """A first certificate for the holder of a join token, or a new one for the holder of a certificate."""
        request = await stream.recv_message()
        if not request.csr:
            raise InvalidArgument("a certificate signing request is needed")
        if peer_identity(stream.peer.cert()) is not None and not request.token:
            caller = authorize(stream, self._store.view)
            node_id = await self.renew(caller.node_id, request.csr)
        else:
            availability = from_enum(pb.NodeSpec.Availability, request.availability)
            node_id = await self.admit(request.token, request.csr, availability)
        await stream.send_message(pb.IssueNodeCertificateResponse(node_id=node_id, node_membership="ACCEPTED"))

    @rpc
    async def NodeCertificateStatus(self, stream: Any) -> None:
        """How far a certificate is; answers when it is issued, or has failed."""
        request = await stream.recv_message()
        if not request.node_id:
            raise InvalidArgument("a node id is needed")
        with self._store.subscribe() as changes:
            while (node := self._store.view.get(Node, request.node_id)) is not None:
                if node.certificate.state in _SETTLED:
                    certificate = certificate_to_wire(node)
                    await stream.send_message(
                        pb.NodeCertificateStatusResponse(status=certificate.status, certificate=certificate)
                    )
                    return
                await anext(aiter(changes))
        raise NotFound(f"node {request.node_id} not found")

    async def admit(self, token: str, csr: bytes, availability: str = "active") -> str:
        """Make a node of the token's role, with its certificate; returns its id. Raises InvalidArgument."""
        cluster = _cluster(self._store)
        role = role_of(token, cluster.join_tokens)
        if role is None:
            raise InvalidArgument("A valid join token is necessary to join this cluster")
        node = Node(
            id=self._ids.object_id(),
            spec=NodeSpec(role=role, availability=availability or "active"),
            role=role,
        )
        await self._store.commit([Put(await self._signed(cluster, node, csr))])
        return node.id

    async def renew(self, node_id: str, csr: bytes) -> str:
        """A new certificate for a node, of the role that it has now; returns its id. Raises NotFound."""
        for _ in range(20):
            node = self._store.view.get(Node, node_id)
            if node is None:
                raise NotFound(f"node {node_id} not found")
            try:
                await self._store.commit([Put(await self._signed(_cluster(self._store), node, csr))])
            except OutOfSequence:
                await asyncio.sleep(0)
            else:
                return node_id
        raise Unavailable(f"the record of node {node_id} is changing too fast")

    async def _signed(self, cluster: Cluster, node: Node, csr: bytes) -> Node:
        pem = await asyncio.to_thread(
            issue_node,
            cluster.root_ca,
            csr,
            node_id=node.id,
            role=node.role,
            cluster_id=cluster.id,
            now=self._clock.now(),
            expiry=expiry_of(cluster.spec.ca_config),
        )
        return replace(node, certificate=Certificate(role=node.role, state="issued", csr=csr, pem=pem))


def _cluster(store: Store) -> Cluster:
    cluster = store.view.cluster
    if cluster is None:
        raise Unavailable("the swarm is being prepared")
    return cluster
