"""This node's part in a swarm, as `/info` and the `Swarm` header of `/_ping` show it."""

from __future__ import annotations

from shoal.model.base import Full
from shoal.model.objects import Cluster

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
