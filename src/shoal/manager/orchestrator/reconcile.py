"""The pass over one service: what it should have, against what it has."""

from __future__ import annotations

from shoal.manager.changes import SetDesired
from shoal.manager.draft import Draft
from shoal.manager.orchestrator import global_, replicated
from shoal.manager.orchestrator.reaper import reap
from shoal.manager.orchestrator.restart import start_waiting
from shoal.manager.orchestrator.update import update
from shoal.manager.slots import slots
from shoal.model.objects import Service
from shoal.model.states import TaskState


def reconcile(draft: Draft, service_id: str) -> None:
    """Everything that the tasks of one service need now; its later needs become wakes."""
    service = draft.get(Service, service_id)
    if service is None:
        for task in draft.tasks_of_service(service_id):
            draft.do(SetDesired(task_id=task.id, state=TaskState.REMOVE, because="its service was removed"))
        reap(draft, None, draft.tasks_of_service(service_id))
        return
    fill = global_.fill if service.spec.mode.global_ is not None else replicated.fill
    update(draft, service, fill(draft, service))
    tasks = draft.tasks_of_service(service_id)
    for slot in slots(tasks).values():
        start_waiting(draft, service, slot)
    reap(draft, draft.get(Service, service_id), draft.tasks_of_service(service_id))
