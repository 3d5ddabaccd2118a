"""Restart supervision: a task that ended, or lost its node, is replaced if its policy says so, after a delay.

Nothing is remembered: attempts are counted, and delays measured, from the tasks in the slot (as in SwarmKit). A
replacement is created at once, meant to become READY; its image is pulled during the delay.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from shoal.manager.changes import CreateTask, SetDesired
from shoal.manager.draft import Draft
from shoal.manager.slots import ended, living, moment, new_task, node_gone, node_silent, wanted
from shoal.model.objects import Service, Task
from shoal.model.states import TaskState
from shoal.model.swarm_spec import RestartPolicy

DEFAULT_DELAY = timedelta(seconds=5)
OLD_TASK_PATIENCE = timedelta(seconds=60)
"""How long a replacement waits at most for the task before it to stop."""


@dataclass(frozen=True)
class Policy:
    """A restart policy with its defaults filled in. `window` zero is unbounded, `attempts` 0 unlimited."""

    condition: str
    delay: timedelta
    attempts: int
    window: timedelta


def policy_of(task: Task) -> Policy:
    """The policy that a task was created with."""
    asked = task.spec.restart_policy or RestartPolicy()
    return Policy(
        condition=asked.condition or "any",
        delay=DEFAULT_DELAY if asked.delay is None else timedelta(microseconds=asked.delay / 1000),
        attempts=asked.max_attempts or 0,
        window=timedelta(microseconds=(asked.window or 0) / 1000),
    )


def should_restart(task: Task, slot: list[Task], now: datetime) -> bool:
    """Whether `task`, in its slot, is to be replaced when it ends."""
    policy = policy_of(task)
    if policy.condition == "none" or (policy.condition == "on-failure" and task.status.state == TaskState.COMPLETE):
        return False
    if not policy.attempts:
        return True
    restarts = _restarts(slot, task.spec_version)
    if policy.window:
        end = moment(task) if ended(task) else now
        restarts = [one for one in restarts if end - policy.window <= one.created_at <= end]
    return len(restarts) < policy.attempts


def _restarts(slot: list[Task], spec_version: int) -> list[Task]:
    """The newest tasks of the slot that have this version, but for the first of them."""
    run = 0
    while run < len(slot) and slot[-1 - run].spec_version == spec_version:
        run += 1
    return slot[len(slot) - run + 1 :] if run else []


def updatable(service: Service, slot: list[Task], now: datetime) -> bool:
    """Whether a slot counts as filled: something in it is meant to live, or its newest task ended for good."""
    if any(wanted(task) for task in slot):
        return True
    if service.update_status is not None and service.update_status.state == "rollback_started":
        return False
    return not should_restart(slot[-1], slot, now)


def restart_ended(draft: Draft, service: Service, slot: list[Task]) -> None:
    """Replace what ended, or lost its node, in one slot."""
    for task in living(slot):
        if ended(task) or node_gone(draft, task):
            _restart(draft, service, slot, task)


def _restart(draft: Draft, service: Service, slot: list[Task], task: Task) -> None:
    gone = node_gone(draft, task)
    if task.desired_state == TaskState.READY and not gone:
        start = starts_at(draft, slot, task)
        if start > draft.now:
            draft.wake(start, service.id, f"task {task.id} ended while it waited to be started")
            return
    why = task.status.err or ("its node cannot run it any more" if gone else f"it is {task.status.state.word}")
    draft.do(SetDesired(task_id=task.id, state=TaskState.SHUTDOWN, because=why))
    if should_restart(task, slot, draft.now):
        node_id = "" if task.slot else task.node_id
        replacement = new_task(draft, service, slot=task.slot, node_id=node_id, desired=TaskState.READY)
        draft.do(CreateTask(task=replacement, because=f"{task.id} is to be restarted: {why}"))


def start_waiting(draft: Draft, service: Service, slot: list[Task]) -> None:
    """Let a replacement run whose delay is over, or wake up when it is."""
    for task in slot:
        if task.desired_state != TaskState.READY or ended(task):
            continue
        start = starts_at(draft, slot, task)
        if start <= draft.now:
            draft.do(SetDesired(task_id=task.id, state=TaskState.RUNNING, because="its delay is over"))
        else:
            draft.wake(start, service.id, f"task {task.id} waits to be started")


def starts_at(draft: Draft, slot: list[Task], task: Task) -> datetime:
    """When a replacement may run: after the restart delay, and once the tasks before it have stopped.

    An update's replacement (its predecessor has another version) and one whose predecessor lost its node have no
    delay. Nobody waits for a task whose node is silent, nor longer than a minute.
    """
    start = task.created_at
    before = slot[: next(index for index, one in enumerate(slot) if one.id == task.id)]
    if before and before[-1].spec_version == task.spec_version and not node_gone(draft, before[-1]):
        start += policy_of(before[-1]).delay
    if any(_stopping(draft, one) for one in before):
        start = max(start, task.created_at + OLD_TASK_PATIENCE)
    return start


def _stopping(draft: Draft, task: Task) -> bool:
    """Whether a task was told to stop and an agent is still at it."""
    if wanted(task) or ended(task) or task.status.state < TaskState.ASSIGNED:
        return False
    return not node_silent(draft, task)
