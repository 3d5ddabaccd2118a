"""Replicated services: so many slots are filled, wherever the scheduler puts them (as in SwarmKit)."""

from __future__ import annotations

from collections import Counter
from itertools import count, islice

from shoal.manager.changes import CreateTask, SetDesired
from shoal.manager.draft import Draft
from shoal.manager.orchestrator.restart import restart_ended, updatable
from shoal.manager.slots import Slots, living, new_task, slots
from shoal.model.objects import Service, Task
from shoal.model.states import TaskState


def replicas(service: Service) -> int:
    """How many tasks a replicated service wants."""
    mode = service.spec.mode.replicated
    return 1 if mode is None or mode.replicas is None else mode.replicas


def fill(draft: Draft, service: Service) -> Slots:
    """Restart what ended, fill or empty slots until there are as many as asked; returns the filled ones."""
    for slot in slots(draft.tasks_of_service(service.id)).values():
        restart_ended(draft, service, slot)
    every = slots(draft.tasks_of_service(service.id))
    filled = {key: slot for key, slot in every.items() if updatable(service, slot, draft.now)}
    for key, slot in every.items():
        if key not in filled:
            _remove(draft, slot, "its slot is filled anew")
    missing = replicas(service) - len(filled)
    if missing > 0:
        _grow(draft, service, filled, missing)
    elif missing < 0:
        kept = _keep(filled, replicas(service))
        for key in filled.keys() - kept:
            _remove(draft, filled[key], f"service {service.spec.name} wants {replicas(service)} tasks")
        filled = {key: slot for key, slot in filled.items() if key in kept}
    return filled


def _grow(draft: Draft, service: Service, filled: Slots, missing: int) -> None:
    taken = {slot[0].slot for slot in filled.values()}
    free = (number for number in count(1) if number not in taken)
    because = f"service {service.spec.name} wants {replicas(service)} tasks and has {len(filled)}"
    for number in islice(free, missing):
        draft.do(CreateTask(task=new_task(draft, service, slot=number), because=because))


def _remove(draft: Draft, slot: list[Task], because: str) -> None:
    for task in slot:
        draft.do(SetDesired(task_id=task.id, state=TaskState.REMOVE, because=because))


def _keep(filled: Slots, wanted: int) -> set[str]:
    """The slots that stay: those that run before those that do not, and as many from each node as from the others."""
    ordered = sorted(filled, key=lambda key: (not _runs(filled[key]), key))
    seen: Counter[str] = Counter()
    ranks: dict[str, float] = {}
    for key in ordered:
        alive = living(filled[key])
        node_id = alive[0].node_id if len(alive) == 1 else ""
        seen[node_id] += 1
        ranks[key] = seen[node_id] if node_id else float("inf")
    return set(sorted(ordered, key=lambda key: ranks[key])[:wanted])


def _runs(slot: list[Task]) -> bool:
    return any(task.status.state == TaskState.RUNNING for task in living(slot))
