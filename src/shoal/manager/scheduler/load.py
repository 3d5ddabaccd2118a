"""How loaded each node is: what its tasks reserve, which host ports they hold, how many there are of each service."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from shoal.model.base import Struct
from shoal.model.objects import Node, Task, requirements
from shoal.model.states import TaskState
from shoal.model.swarm_spec import GenericResource, Resources

FAILURE_MEMORY = timedelta(minutes=5)
"""How long a failure counts against a node (SwarmKit's number)."""
MOST_FAILURES = 20
"""How many failures of one version on one node are remembered; from five on more make no difference in kind."""

Version = tuple[str, int]
"""A service's id and spec version."""


class Share(Struct, frozen=True):
    """What one task takes of its node."""

    node_id: str
    service_id: str
    active: bool
    reserved: Resources
    claimed: list[GenericResource]
    host_ports: list[tuple[str, int]]
    networks: list[str]


@dataclass
class Load:
    """The sum of the shares on one node."""

    nano_cpus: int = 0
    memory_bytes: int = 0
    active: int = 0
    of_service: Counter[str] = field(default_factory=Counter)
    host_ports: Counter[tuple[str, int]] = field(default_factory=Counter)
    networks: Counter[str] = field(default_factory=Counter)
    counted: Counter[str] = field(default_factory=Counter)
    """Discrete generic resources taken, by kind."""
    named: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Named generic resources taken: kind and value."""

    def add(self, share: Share, sign: int) -> None:
        """Count `share` in (1) or out (-1)."""
        self.nano_cpus += sign * share.reserved.nano_cpus
        self.memory_bytes += sign * share.reserved.memory_bytes
        if share.active:
            self.active += sign
            self.of_service[share.service_id] += sign
        for port in share.host_ports:
            self.host_ports[port] += sign
        for network_id in share.networks:
            self.networks[network_id] += sign
        for resource in share.claimed:
            if resource.discrete_resource_spec:
                self.counted[resource.discrete_resource_spec.kind] += sign * resource.discrete_resource_spec.value
            if resource.named_resource_spec:
                self.named[resource.named_resource_spec.kind, resource.named_resource_spec.value] += sign


class Loads:
    """The load of every node, and recent failures.

    `released` is set when anything became free, `moved` names the nodes whose set of networks may have changed;
    whoever acts on them clears them.
    """

    def __init__(self) -> None:
        self.released = False
        self.moved: set[str] = set()
        self._loads: defaultdict[str, Load] = defaultdict(Load)
        self._shares: dict[str, Share] = {}
        self._failures: defaultdict[tuple[str, Version], dict[str, datetime]] = defaultdict(dict)

    def of(self, node_id: str) -> Load:
        """The load of a node."""
        return self._loads[node_id]

    def note_node(self, id: str, node: Node | None) -> None:
        """A node came, changed or went."""
        self.moved.add(id)
        if node is None and not self._loads[id].active:
            del self._loads[id]

    def note_task(self, id: str, task: Task | None) -> None:
        """A task came, changed or went."""
        if task is not None and task.status.state in (TaskState.FAILED, TaskState.REJECTED) and task.slot:
            moment = task.status.applied_at or task.status.timestamp
            failed = self._failures[task.node_id, (task.service_id, task.spec_version)]
            failed[id] = moment
            if len(failed) > MOST_FAILURES:
                del failed[next(iter(failed))]
        share = share_of(task) if task is not None and counts(task) else None
        before = self._shares.get(id)
        if share == before:
            return
        if before is not None:
            self._loads[before.node_id].add(before, -1)
            self.released = True
            if before.networks:
                self.moved.add(before.node_id)
            del self._shares[id]
        if share is not None:
            self._loads[share.node_id].add(share, 1)
            if share.networks:
                self.moved.add(share.node_id)
            self._shares[id] = share

    def failures(self, node_id: str, version: Version, now: datetime) -> int:
        """How often tasks of this version failed on the node in the last five minutes."""
        found = self._failures.get((node_id, version))
        if not found:
            return 0
        recent = {id: moment for id, moment in found.items() if now - moment < FAILURE_MEMORY}
        if recent:
            self._failures[node_id, version] = recent
        else:
            del self._failures[node_id, version]
        return len(recent)


def counts(task: Task) -> bool:
    """Whether a task takes anything of a node: it was assigned and has not ended."""
    return bool(task.node_id) and TaskState.ASSIGNED <= task.status.state <= TaskState.RUNNING


def share_of(task: Task) -> Share:
    """What `task` takes of its node."""
    return Share(
        node_id=task.node_id,
        service_id=task.service_id,
        active=task.desired_state <= TaskState.COMPLETE,
        reserved=requirements(task).reservations or Resources(),
        claimed=task.generic_resources,
        host_ports=host_ports(task),
        networks=[attachment.network_id for attachment in task.networks_attachments if attachment.addresses],
    )


def host_ports(task: Task) -> list[tuple[str, int]]:
    """The fixed ports of the host that `task` publishes: protocol and number."""
    ports = task.endpoint_spec.ports if task.endpoint_spec else []
    return [(p.protocol, p.published_port) for p in ports if p.publish_mode == "host" and p.published_port]
