"""A new swarm: its root, tokens, keys, and the first objects of its store."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from shoal.ca.files import KeyPair
from shoal.ca.issue import expiry_of, issue_node, new_csr
from shoal.ca.root import new_root, tls_info
from shoal.ca.tokens import new_tokens
from shoal.kit.ids import Ids
from shoal.manager.control import initial_objects
from shoal.model.errors import InvalidArgument, Unimplemented
from shoal.model.objects import Certificate, Cluster, ManagerStatus, Network, Node
from shoal.model.swarm_spec import NodeSpec
from shoal.node.requests import InitRequest
from shoal.store.codec import StoreKeys, new_store_keys


@dataclass(frozen=True)
class Founding:
    """Everything that a first manager starts with."""

    cluster: Cluster
    node: Node
    others: list[Cluster | Network]
    """What else is in the store's first commit, `cluster` included."""
    pair: KeyPair = field(repr=False)
    keys: StoreKeys = field(repr=False)


def found(request: InitRequest, manager_addr: str, now: datetime, ids: Ids) -> Founding:
    """Make a swarm. Raises InvalidArgument or Unimplemented when the request cannot be met."""
    if request.auto_lock_managers:
        raise Unimplemented("autolock is not supported by this version of Shoal: it comes in a later version")
    root = new_root(now)
    objects = initial_objects(
        ids,
        cluster_id=ids.object_id(),
        root_ca=root,
        tls_info=tls_info(root.certificate),
        join_tokens=new_tokens(root.certificate),
        spec=request.spec,
        default_addr_pool=request.default_addr_pool,
        subnet_size=request.subnet_size,
        data_path_port=request.data_path_port,
    )
    cluster = next(thing for thing in objects if isinstance(thing, Cluster))
    node_id = ids.object_id()
    key, csr = new_csr()
    pem = issue_node(
        root,
        csr,
        node_id=node_id,
        role="manager",
        cluster_id=cluster.id,
        now=now,
        expiry=expiry_of(cluster.spec.ca_config),
    )
    node = Node(
        id=node_id,
        spec=NodeSpec(role="manager", availability=availability(request.availability)),
        role="manager",
        manager_status=ManagerStatus(leader=True, reachability="reachable", addr=manager_addr),
        certificate=Certificate(role="manager", state="issued", csr=csr, pem=pem),
        is_shoal=True,
    )
    return Founding(cluster, node, objects, KeyPair(pem, key), new_store_keys())


def availability(word: str) -> str:
    """`active`, `pause` or `drain`; empty is `active`. Raises InvalidArgument."""
    if word.lower() not in ("", "active", "pause", "drain"):
        raise InvalidArgument(f'invalid Availability: "{word}"')
    return word.lower() or "active"
