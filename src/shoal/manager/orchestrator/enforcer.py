"""The constraint enforcer: tasks that their node may no longer run are rejected, so that they run elsewhere."""

from __future__ import annotations

from shoal.manager.changes import SetStatus
from shoal.manager.draft import Draft
from shoal.manager.scheduler.filters import fits
from shoal.manager.scheduler.load import Load, share_of
from shoal.manager.slots import wanted
from shoal.model import constraint
from shoal.model.objects import Node, Service, Task, requirements
from shoal.model.states import TaskState
from shoal.model.swarm_spec import Placement, Resources


def enforce(draft: Draft, node: Node) -> None:
    """Reject the tasks on `node` whose service's constraints, or whose reservations, it does not meet any more.

    Observed state is written, not desired: that is what makes the orchestrators run the tasks elsewhere.
    """
    if node.spec.availability != "active" or node.status.state == "down":
        return
    load = Load()
    for task in sorted(draft.tasks_of_node(node.id), key=lambda one: (one.created_at, one.id)):
        if not wanted(task) or not TaskState.ASSIGNED <= task.status.state <= TaskState.RUNNING:
            continue
        reserved = requirements(task).reservations or Resources()
        if _allowed(draft, task, node) and fits(reserved, node, load):
            load.add(share_of(task), 1)
            continue
        change = SetStatus(
            task_id=task.id,
            state=TaskState.REJECTED,
            message="task rejected by constraint enforcer",
            err="assigned node no longer meets constraints",
            because=f"{node.description.hostname or node.id} no longer meets its constraints or reservations",
        )
        draft.do(change)


def _allowed(draft: Draft, task: Task, node: Node) -> bool:
    service = draft.get(Service, task.service_id)
    spec = service.spec.task_template if service else task.spec
    return constraint.satisfied((spec.placement or Placement()).constraints, node)
