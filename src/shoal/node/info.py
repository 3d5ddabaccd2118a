"""This node's part in a swarm, as `/info` and the `Swarm` header of `/_ping` show it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from shoal.model.base import Full
from shoal.model.objects import Cluster, Node

if TYPE_CHECKING:
    from shoal.node.life import Life

INACTIVE, PENDING, ACTIVE, ERROR, LOCKED = "inactive", "pending", "active", "error", "locked"
"""The words for the local node state."""


class RemoteManager(Full, frozen=True):
    """A manager that this node knows."""

    node_id: str
    addr: str


class SwarmInfo(Full, frozen=True):
    """The `Swarm` part of GET /info. `cluster` is known to managers only; its private fields are not for printing."""

    node_id: str = ""
    node_addr: str = ""
    local_node_state: str = INACTIVE
    control_available: bool = False
    error: str = ""
    remote_managers: list[RemoteManager] = []
    nodes: int = 0
    managers: int = 0
    cluster: Cluster | None = None
    warnings: list[str] = []
    """For the daemon's own list of warnings: two managers are worse than one."""


def info_of(life: Life) -> SwarmInfo:
    """What a node that has a life shows."""
    local, side = life.local, life.manager
    nodes = side.store.view.all(Node) if side is not None else []
    managers = [node for node in nodes if node.spec.role == "manager"]
    shown = life.error if not life.active or "removed" in life.error or "expired" in life.error else ""
    return SwarmInfo(
        node_id=local.node_id,
        node_addr=local.addresses.advertise,
        local_node_state=ERROR if shown else ACTIVE if life.active else PENDING,
        control_available=side is not None,
        error=shown,
        remote_managers=[RemoteManager(node_id=one.node_id, addr=one.addr) for one in local.remotes.all if one.node_id],
        nodes=len(nodes),
        managers=len(managers),
        cluster=side.store.view.cluster if side is not None else None,
        warnings=[TWO_MANAGERS] if len(managers) == 2 else [],
    )


def joining_info(fault: Exception | None = None) -> SwarmInfo:
    """A join is under way; `fault` is what the last attempt failed with."""
    return SwarmInfo(local_node_state=PENDING, error=str(fault) if fault else "")


def refused_info(fault: Exception) -> SwarmInfo:
    """A join that went on in the background was refused. Clients show no error of an inactive node, but warnings."""
    return SwarmInfo(error=str(fault), warnings=[f"WARNING: This node could not join the swarm: {fault}"])


def damaged_info(fault: Exception, path: Path) -> SwarmInfo:
    """What `path` holds of this node's membership cannot be used. It may be all there is of a swarm: it stays."""
    remedy = f"Restore {path} from a copy, or leave the swarm and join again."
    return SwarmInfo(local_node_state=ERROR, error=f"This node's part in its swarm cannot be read: {fault}. {remedy}")


def swarm_header(info: SwarmInfo) -> str:
    """The `Swarm` header: `inactive`, `pending`, `error`, `locked`, `active/worker` or `active/manager`."""
    if info.local_node_state != ACTIVE:
        return info.local_node_state
    return "active/manager" if info.control_available else "active/worker"


TWO_MANAGERS = (
    "WARNING: Running Swarm in a two-manager configuration. This configuration provides\n"
    "         no fault tolerance, and poses a high risk to lose control over the cluster.\n"
    "         Refer to https://docs.docker.com/engine/swarm/admin_guide/ to configure the\n"
    "         Swarm for fault-tolerance."
)
