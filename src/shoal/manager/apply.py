"""From a decision to the store: the one place where the deciding half writes."""

from __future__ import annotations

import logging

from shoal.manager.brain import Decision
from shoal.manager.changes import Assign, Change, CreateTask, DeleteTask, Equip, SetDesired, SetStatus, Update
from shoal.store.base import Fence, Store

log = logging.getLogger(__name__)

MOST_WRITES = 1000
"""How many objects one commit changes at most. Decisions are level-triggered: half of one is as good as a start."""


async def apply(store: Store, decision: Decision, fence: Fence | None) -> None:
    """Commit a decision. Raises what `Store.commit` raises; then some of it may have been committed."""
    for start in range(0, len(decision.writes), MOST_WRITES):
        await store.commit(decision.writes[start : start + MOST_WRITES], fence=fence)
    if log.isEnabledFor(logging.DEBUG):
        for change in decision.changes:
            log.debug("%s", sentence(change))


def sentence(change: Change) -> str:
    """A change and its reason as one line of the log."""
    match change:
        case CreateTask(task=task):
            what = f"create task {task.id} of {task.service_name}"
        case SetDesired(task_id=id, state=state):
            what = f"task {id} is to be {state.word}"
        case SetStatus(task_id=id, state=state):
            what = f"task {id} is {state.word}"
        case Equip(task_id=id):
            what = f"task {id} is pending"
        case Assign(task_id=id, node_id=node_id):
            what = f"task {id} goes to node {node_id}"
        case DeleteTask(task_id=id):
            what = f"forget task {id}"
        case Update(thing=thing):
            what = f"update {type(thing).__name__.lower()} {thing.id}"
    return f"{what}: {change.because}"
