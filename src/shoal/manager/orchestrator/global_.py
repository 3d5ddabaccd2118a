"""Global services: one task on every node that may have it (as SwarmKit's global one)."""

from __future__ import annotations

from shoal.manager.changes import CreateTask, DeleteTask, SetDesired
from shoal.manager.draft import Draft
from shoal.manager.orchestrator.restart import restart_ended, updatable
from shoal.manager.slots import Slots, ended, living, new_task, slots
from shoal.model import constraint
from shoal.model.objects import Node, Service, Task
from shoal.model.states import TaskState
from shoal.model.swarm_spec import Placement


def fill(draft: Draft, service: Service) -> Slots:
    """Create, restart and stop tasks until every eligible node has one; returns the slots that updates may change."""
    constraints = constraint.parse((service.spec.task_template.placement or Placement()).constraints)
    found = slots(draft.tasks_of_service(service.id))
    nodes = {node.id: node for node in draft.all(Node)}
    open_slots: set[str] = set()
    for node_id, slot in found.items():
        if node_id not in nodes:
            for task in slot:
                draft.do(DeleteTask(task_id=task.id, because="its node was removed"))
    for node_id, node in nodes.items():
        slot = found.get(node_id, [])
        if node.status.state == "down" or node.spec.availability == "drain":
            _stop(draft, living(slot), f"its node is {'down' if node.status.state == 'down' else 'drained'}")
        elif not all(one.holds(node) for one in constraints):
            _stop(draft, living(slot), "its node does not satisfy the constraints any more")
        elif node.spec.availability == "pause":
            _stop(draft, [task for task in living(slot) if ended(task)], "it ended, and its node is paused")
        else:
            open_slots.add(node_id)
            _fill_node(draft, service, slot, node_id)
    every = slots(draft.tasks_of_service(service.id))
    return {key: slot for key, slot in every.items() if key in open_slots}


def _fill_node(draft: Draft, service: Service, slot: list[Task], node_id: str) -> None:
    restart_ended(draft, service, slot)
    if not slot or not updatable(service, slot, draft.now):
        task = new_task(draft, service, node_id=node_id)
        draft.do(CreateTask(task=task, because=f"service {service.spec.name} runs on every node"))


def _stop(draft: Draft, tasks: list[Task], because: str) -> None:
    for task in tasks:
        draft.do(SetDesired(task_id=task.id, state=TaskState.SHUTDOWN, because=because))
