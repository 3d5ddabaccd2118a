"""The reaper: forgets tasks that are to be removed once they ended, and history beyond the limit (as in SwarmKit)."""

from __future__ import annotations

from itertools import pairwise

from shoal.manager.changes import DeleteTask
from shoal.manager.draft import Draft
from shoal.manager.orchestrator.restart import policy_of
from shoal.manager.slots import ended, slots, wanted
from shoal.model.objects import Service, Task
from shoal.model.states import TaskState

DEFAULT_LIMIT = 5


def reap(draft: Draft, service: Service | None, tasks: list[Task]) -> None:
    """Delete what need not be kept of `tasks`, all those of one service (None when that is gone)."""
    for task in tasks:
        if task.desired_state >= TaskState.REMOVE and _over(task):
            draft.do(DeleteTask(task_id=task.id, because="it was to be removed and has ended"))
    if service is None:
        return
    for slot in slots(tasks).values():
        limit = _limit(draft, slot[-1])
        if 0 <= limit < len(slot):
            _prune(draft, service, slot, limit)


def _limit(draft: Draft, newest: Task) -> int:
    """How many tasks a slot may keep, the living one included; negative keeps all."""
    attempts = policy_of(newest).attempts
    if attempts:
        return attempts + 1
    cluster = draft.cluster
    asked = cluster.spec.orchestration.task_history_retention_limit if cluster else None
    return DEFAULT_LIMIT if asked is None else asked


def _prune(draft: Draft, service: Service, slot: list[Task], limit: int) -> None:
    """Forget the oldest ended tasks, but never those that a decision still measures by: the newest, the one before a
    task that waits out its delay, and during an update the last one of the version before."""
    kept = {slot[-1].id}
    kept |= {before.id for before, task in pairwise(slot) if task.desired_state == TaskState.READY}
    status = service.update_status
    if status is not None and status.state in ("updating", "rollback_started"):
        older = [task for task in slot if task.spec_version != service.spec_version]
        kept |= {task.id for task in older[-1:]}
    prunable = [task for task in slot if task.id not in kept and not wanted(task) and _over(task)]
    for task in prunable[: len(slot) - limit]:
        draft.do(DeleteTask(task_id=task.id, because=f"{limit} tasks of a slot are kept"))


def _over(task: Task) -> bool:
    return ended(task) or task.status.state < TaskState.ASSIGNED
