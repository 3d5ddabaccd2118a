"""What a session message says: the node's own record, all managers, keys, the root certificate."""

from __future__ import annotations

from datetime import datetime

from shoal.manager.network_keys import network_keys
from shoal.model.objects import Network, Node
from shoal.store.view import View
from shoal.wire.convert_node import node_to_wire
from shoal.wire.pb import swarmkit_pb2 as pb

LEADER_WEIGHT = 100
"""Agents try managers at random by weight; only the leader serves them, so it weighs most."""
MANAGER_WEIGHT = 10
UNREACHABLE_WEIGHT = 1


def managers(view: View, own: tuple[str, str]) -> list[pb.WeightedPeer]:
    """All managers with their weights. `own` is the node id and address of this one, which leads: it is listed even
    before its record says so."""
    peers = {own[0]: (own[1], LEADER_WEIGHT)}
    for node in view.all(Node):
        status = node.manager_status
        if status is None or not status.addr or node.id == own[0]:
            continue
        peers[node.id] = (
            status.addr,
            UNREACHABLE_WEIGHT if status.reachability == "unreachable" else MANAGER_WEIGHT,
        )
    return [
        pb.WeightedPeer(peer=pb.Peer(node_id=node_id, addr=addr), weight=weight)
        for node_id, (addr, weight) in sorted(peers.items())
    ]


def session_message(view: View, node: Node, session_id: str, own: tuple[str, str], now: datetime) -> pb.SessionMessage:
    """The message for `node`."""
    cluster = view.cluster
    return pb.SessionMessage(
        session_id=session_id,
        node=node_to_wire(node, lambda id: view.get(Network, id), cluster.data_path_port if cluster else 4789),
        managers=managers(view, own),
        network_bootstrap_keys=network_keys(cluster, now) if cluster else [],
        root_ca=cluster.root_ca.certificate if cluster else b"",
    )


def differs(old: pb.SessionMessage | None, new: pb.SessionMessage) -> bool:
    """Whether `new` tells the agent anything: times, versions and what the agent itself reports do not count."""
    return old is None or _essence(old) != _essence(new)


def _essence(message: pb.SessionMessage) -> bytes:
    bare = pb.SessionMessage()
    bare.CopyFrom(message)
    for field in ("meta", "status", "description"):
        bare.node.ClearField(field)
    for attachment in bare.node.attachments:
        attachment.network.ClearField("meta")
    bare.node.attachment.network.ClearField("meta")
    return bare.SerializeToString(deterministic=True)
