"""Commands on nodes: availability, labels, promotion and demotion, removal."""

from __future__ import annotations

from datetime import datetime, timedelta

from msgspec.structs import replace

from shoal.ca.issue import expiry_of
from shoal.kit.clock import Clock
from shoal.manager.control.commit import across_the_wire, check_version, commit_newest
from shoal.model import names
from shoal.model.errors import FailedPrecondition, InvalidArgument
from shoal.model.objects import Cluster, Node, Task, TaskStatus
from shoal.model.states import TaskState
from shoal.model.swarm_spec import NodeSpec
from shoal.store.base import Delete, Put, Store, Write
from shoal.store.view import View

GRACE = timedelta(days=7)
"""How long a removed node is remembered after its certificate must have expired."""


class Nodes:
    """Nodes of the swarm, as users see and change them."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store, self._clock = store, clock

    def every(self) -> list[Node]:
        """Every node, by id."""
        return self._store.view.all(Node)

    def get(self, wanted: str) -> Node:
        """By id, hostname, or beginning of an id. Raises NotFound, InvalidArgument when ambiguous."""
        found = self._store.view.get(Node, wanted)
        return found or names.find("node", self.every(), wanted, "description.hostname")

    async def update(self, wanted: str, version: int, spec: NodeSpec) -> None:
        """Replace the spec. Raises NotFound, InvalidArgument, FailedPrecondition, OutOfSequence."""
        node_id = self.get(wanted).id

        def decide() -> list[Write]:
            node = self.get(node_id)
            check_version(node, version)
            if spec.role not in ("worker", "manager"):
                raise InvalidArgument(f'invalid Role: "{spec.role}"')
            if spec.availability not in ("active", "pause", "drain"):
                raise InvalidArgument(f'invalid Availability: "{spec.availability}"')
            if node.spec.role == "manager" and spec.role == "worker":
                _check_demotion(self._store.view, node)
            elif node.spec.role == "worker" and spec.role == "manager":
                _check_promotion(node)
            return [Put(thing=replace(node, spec=spec))]

        with across_the_wire():
            await commit_newest(self._store, decide)

    async def remove(self, wanted: str, *, force: bool) -> None:
        """Forget a node: its certificate is refused from now on, its tasks are orphaned.

        Raises NotFound; FailedPrecondition for a manager, and for a node that is up unless `force`.
        """
        node_id = self.get(wanted).id

        def decide() -> list[Write]:
            view, now = self._store.view, self._clock.now()
            node = view.get(Node, node_id)
            if node is None:
                return []
            if "manager" in (node.role, node.spec.role):
                raise FailedPrecondition(
                    f"node {node_id} is a cluster manager and is a member of the raft cluster. It must be demoted to "
                    "worker before removal"
                )
            if node.status.state == "ready" and not force:
                raise FailedPrecondition(f"node {node_id} is not down and can't be removed")
            orphans = [Put(thing=_orphaned(t, now)) for t in view.tasks_of_node(node_id) if not t.status.state.terminal]
            return [*_refused(view.cluster, node_id, now), *orphans, Delete(thing=node)]

        with across_the_wire():
            await commit_newest(self._store, decide)


def _check_promotion(node: Node) -> None:
    if node.description.hostname and not node.is_shoal:
        raise FailedPrecondition(f"node {node.id} is a Docker Engine: it can be a worker, but not a manager")


def _check_demotion(view: View, node: Node) -> None:
    managers = [one for one in view.all(Node) if one.spec.role == "manager"]
    if len(managers) == 1:
        raise FailedPrecondition("attempting to demote the last manager of the swarm")
    members = [one for one in managers if one.role == "manager"]
    rest = [one for one in members if one.id != node.id]
    reachable = [one for one in rest if one.manager_status and one.manager_status.reachability == "reachable"]
    if rest and len(reachable) < len(rest) // 2 + 1:
        raise FailedPrecondition("can't remove member from the raft: this would result in a loss of quorum")


def _refused(cluster: Cluster | None, node_id: str, now: datetime) -> list[Write]:
    if cluster is None:
        return []
    until = now + expiry_of(cluster.spec.ca_config) + GRACE
    known = {id: moment for id, moment in cluster.removed_nodes.items() if moment > now}
    return [Put(thing=replace(cluster, removed_nodes=known | {node_id: until}))]


def _orphaned(task: Task, now: datetime) -> Task:
    status: TaskStatus = replace(
        task.status,
        state=TaskState.ORPHANED,
        message="Task belonged to a node that has been deleted",
        timestamp=now,
        applied_at=now,
    )
    return replace(task, status=status)
