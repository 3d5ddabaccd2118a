"""The scheduler's pass: every task that waits for a node gets one, or an explanation."""

from __future__ import annotations

from collections import defaultdict

from shoal.manager.changes import Assign, SetStatus
from shoal.manager.draft import Draft
from shoal.manager.scheduler.filters import Filters, explain
from shoal.manager.scheduler.load import Load
from shoal.manager.scheduler.spread import spread
from shoal.model.errors import ShoalError
from shoal.model.objects import Network, Node, Task, requirements
from shoal.model.states import TaskState
from shoal.model.swarm_spec import GenericResource, Resources


def schedule(draft: Draft) -> None:
    """Assign what is pending: first tasks whose node is given (global services), then the others, group by group."""
    nodes = draft.all(Node)
    groups: defaultdict[tuple[str, int], list[Task]] = defaultdict(list)
    for id in sorted(draft.books.unassigned):
        task = draft.get(Task, id)
        if task is None:
            continue
        if task.desired_state > TaskState.COMPLETE:
            change = SetStatus(task_id=id, state=TaskState.SHUTDOWN, message="shutdown", because="no node ever saw it")
            draft.do(change)
        elif task.status.state == TaskState.PENDING:
            if task.node_id:
                _confirm(draft, task)
            else:
                groups[task.service_id, task.spec_version].append(task)
    for key in sorted(groups):
        group = sorted(groups[key], key=lambda task: (task.slot, task.id))
        try:
            _place(draft, group, nodes)
        except ShoalError as fault:  # a constraint that cannot be read, say: its tasks wait, the others do not
            for task in group:
                _leave(draft, task, fault.message)


def _confirm(draft: Draft, task: Task) -> None:
    node = draft.get(Node, task.node_id)
    if node is None:
        return
    reason = Filters(task, _networks(draft, task)).rejects(node, draft.books.loads.of(node.id))
    if reason:
        _leave(draft, task, explain([reason]))
    else:
        _assign(draft, task, node, "scheduler confirmed task can run on preassigned node")


def _place(draft: Draft, group: list[Task], nodes: list[Node]) -> None:
    filters = Filters(group[0], _networks(draft, group[0]))

    def place(task: Task, node: Node) -> None:
        _assign(draft, task, node, "scheduler assigned task to node")

    rest = spread(draft, group, nodes, filters, place)
    if rest:
        reasons = [reason for node in nodes if (reason := filters.rejects(node, draft.books.loads.of(node.id)))]
        saying = explain(reasons)
        for task in rest:
            _leave(draft, task, saying)


def _assign(draft: Draft, task: Task, node: Node, message: str) -> None:
    reserved = requirements(task).reservations or Resources()
    claimed = claim(reserved, node, draft.books.loads.of(node.id)) if reserved.generic_resources else []
    because = f"{node.description.hostname or node.id} has the fewest tasks of those that fit"
    draft.do(Assign(task_id=task.id, node_id=node.id, message=message, claimed=claimed, because=because))


def _leave(draft: Draft, task: Task, saying: str) -> None:
    state, message = task.status.state, task.status.message
    draft.do(SetStatus(task_id=task.id, state=state, message=message, err=saying, because=saying))


def claim(reserved: Resources, node: Node, load: Load) -> list[GenericResource]:
    """The particular generic resources of `node` that a task gets: counted ones first, then named ones by name."""
    got: list[GenericResource] = []
    for wanted in reserved.generic_resources:
        spec = wanted.discrete_resource_spec
        if spec is None:
            continue
        offered = node.description.resources.generic_resources
        names = sorted(
            one.named_resource_spec.value
            for one in offered
            if one.named_resource_spec and one.named_resource_spec.kind == spec.kind
        )
        if not names:
            got.append(wanted)
            continue
        free = [name for name in names if not load.named[spec.kind, name]][: spec.value]
        got += [GenericResource(named_resource_spec=GenericResource.Named(kind=spec.kind, value=name)) for name in free]
    return got


def _networks(draft: Draft, task: Task) -> list[Network]:
    found = (draft.get(Network, attachment.network_id) for attachment in task.networks_attachments)
    return [network for network in found if network is not None]
