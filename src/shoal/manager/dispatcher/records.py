"""What the dispatcher writes about nodes and tasks: pure functions from an object to its next form."""

from __future__ import annotations

from datetime import datetime, timedelta
from ipaddress import ip_address

from msgspec.structs import replace

from shoal.model.objects import Node, NodeDescription, NodeStatus, Task, TaskStatus
from shoal.model.states import TaskState
from shoal.store.view import View

ORPHAN_AFTER = timedelta(hours=24)
"""A node that is down so long does not run its tasks any more, as far as the swarm is concerned."""


def registered(node: Node, description: NodeDescription, address: str, is_shoal: bool) -> Node:
    """A node whose session has begun."""
    return replace(
        node,
        description=description,
        status=NodeStatus(state="ready", addr=underlay(node, address)),
        is_shoal=is_shoal,
        down_since=None,
    )


def underlay(node: Node, address: str) -> str:
    """The address at which other nodes reach this one, given that its session comes from `address`.

    A manager's own agent comes over loopback: then it is the address that the manager announces, else the last known.
    """
    if address and not ip_address(address).is_loopback:
        return address
    announced = node.manager_status.addr.rpartition(":")[0].strip("[]") if node.manager_status else ""
    return announced or node.status.addr or address


def described(node: Node, description: NodeDescription) -> Node:
    """A node that described itself again."""
    return node if node.description == description else replace(node, description=description)


def down(node: Node, message: str, now: datetime) -> Node:
    """A node that is not heard from any more."""
    if node.status.state == "down":
        return node
    return replace(node, status=replace(node.status, state="down", message=message), down_since=now)


def unknown(node: Node) -> Node:
    """A node right after a change of leaders."""
    if node.status.state == "down":
        return node
    message = 'Node moved to "unknown" state due to leadership change in cluster'
    return replace(node, status=replace(node.status, state="unknown", message=message))


def reported(task: Task, status: TaskStatus, now: datetime) -> Task:
    """A task after its agent reported `status`: an older state than the known one is an old report, and dropped."""
    known = task.status
    if status.state < known.state or replace(status, applied_at=None) == replace(known, applied_at=None):
        return task
    return replace(task, status=replace(status, applied_at=now))


def orphaned(task: Task, now: datetime) -> Task:
    """A task that is given up because its node has been away for too long."""
    if not TaskState.ASSIGNED <= task.status.state <= TaskState.RUNNING:
        return task
    message = "node has been down for too long"
    return replace(
        task,
        status=replace(task.status, state=TaskState.ORPHANED, message=message, timestamp=now, applied_at=now),
    )


def orphans(view: View, now: datetime) -> tuple[list[Task], datetime | None]:
    """The tasks to give up now, and when to look again (None: when something changes)."""
    given_up: list[Task] = []
    moments: list[datetime] = []
    for node in view.all(Node):
        if node.status.state != "down" or node.down_since is None:
            continue
        alive = [task for task in view.tasks_of_node(node.id) if orphaned(task, now) is not task]
        if node.down_since + ORPHAN_AFTER <= now:
            given_up += alive
        elif alive:
            moments.append(node.down_since + ORPHAN_AFTER)
    return given_up, min(moments, default=None)
