"""Slots: the tasks of a service by the place they fill, and the questions that every orchestrator asks of them.

A slot is a number (replicated services) or a node's id (global ones). Its tasks stand oldest first: at most one is
meant to live, the others are its history.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime

from msgspec.structs import replace

from shoal.manager.draft import Draft
from shoal.model import constraint
from shoal.model.objects import Node, Service, Task, TaskStatus
from shoal.model.states import TaskState
from shoal.model.swarm_spec import EndpointSpec, Placement, TaskSpec

Slots = dict[str, list[Task]]
"""Tasks by slot, oldest first. Numbers are keys with leading zeros, so that they sort as numbers do."""


def slots(tasks: Iterable[Task]) -> Slots:
    """The tasks by slot, in the order of the slots; tasks that are to be removed no longer count."""
    found: defaultdict[str, list[Task]] = defaultdict(list)
    for task in tasks:
        if task.desired_state < TaskState.REMOVE:
            found[key_of(task)].append(task)
    for group in found.values():
        if len(group) > 1:
            group.sort(key=_age)
    return {key: found[key] for key in sorted(found)}


def key_of(task: Task) -> str:
    """The slot that a task is in."""
    return f"{task.slot:010}" if task.slot else task.node_id


def _age(task: Task) -> tuple[bool, datetime, int, str]:
    """What is meant to live is newer than what is not, even if a new leader's clock is behind the old one's."""
    return wanted(task), task.created_at, -task.desired_state, task.id


def wanted(task: Task) -> bool:
    """Whether a task is meant to live."""
    return task.desired_state <= TaskState.RUNNING


def living(tasks: Iterable[Task]) -> list[Task]:
    """Those that are meant to live."""
    return [task for task in tasks if wanted(task)]


def ended(task: Task) -> bool:
    """Whether a task has ended, or will never start."""
    return task.status.state.terminal


def moment(task: Task) -> datetime:
    """When its state was last reported, by a manager's clock where that is known."""
    return task.status.applied_at or task.status.timestamp


def node_gone(draft: Draft, task: Task) -> bool:
    """Whether the task's node is missing, down or drained: a task may not stay there."""
    if not task.node_id:
        return False
    node = draft.get(Node, task.node_id)
    return node is None or node.status.state == "down" or node.spec.availability == "drain"


def node_silent(draft: Draft, task: Task) -> bool:
    """Whether nobody can tell any more how the task fares: its node is missing or down."""
    node = draft.get(Node, task.node_id)
    return node is None or node.status.state == "down"


def dirty(draft: Draft, service: Service, task: Task) -> bool:
    """Whether `task` must be replaced to be what `service` asks for now (as SwarmKit's updater)."""
    node = draft.get(Node, task.node_id) if task.node_id else None
    return differs(service, task, node)


def differs(service: Service, task: Task, node: Node | None) -> bool:
    """`dirty`, for a task on `node`."""
    if task.spec_version == service.spec_version:
        return False
    if task.registry_auth != service.registry_auth and task.status.state < TaskState.READY:
        return True
    if _endpoint(task.endpoint_spec) != _endpoint(service.spec.endpoint_spec):
        return True
    new = service.spec.task_template
    if task.spec == new:
        return False
    if _unconstrained(task.spec) != _unconstrained(new):
        return True
    return node is None or not constraint.satisfied((new.placement or Placement()).constraints, node)


def _endpoint(spec: EndpointSpec | None) -> EndpointSpec:
    spec = spec or EndpointSpec()
    return replace(spec, mode=spec.mode or "vip")


def _unconstrained(spec: TaskSpec) -> TaskSpec:
    return replace(spec, placement=replace(spec.placement or Placement(), constraints=[]))


def new_task(
    draft: Draft, service: Service, *, slot: int = 0, node_id: str = "", desired: TaskState = TaskState.RUNNING
) -> Task:
    """A task of `service` as it is now, for a slot or a node."""
    cluster = draft.cluster
    default_driver = cluster.spec.task_defaults.log_driver if cluster else None
    return Task(
        id=draft.ids.object_id(),
        created_at=draft.now,
        spec=service.spec.task_template,
        service_id=service.id,
        slot=slot,
        node_id=node_id,
        status=TaskStatus(state=TaskState.NEW, message="created", timestamp=draft.now, applied_at=draft.now),
        desired_state=desired,
        spec_version=service.spec_version,
        service_name=service.spec.name,
        service_labels=service.spec.labels,
        endpoint_spec=service.spec.endpoint_spec,
        registry_auth=service.registry_auth,
        log_driver=service.spec.task_template.log_driver or default_driver,
    )
