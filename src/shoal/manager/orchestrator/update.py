"""The rolling update: out-of-date slots are replaced a few at a time, and watched (as SwarmKit's updater).

How far an update is can be read from the store at any moment: a slot was updated when it has a task of the new
version that was created since the update began and follows one of another version. Such a task occupies one of the
update's workers until it runs, and `delay` longer.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

from msgspec.structs import replace

from shoal.manager.changes import CreateTask, SetDesired, Update
from shoal.manager.draft import Draft
from shoal.manager.slots import Slots, dirty, ended, living, moment, new_task, wanted
from shoal.model.objects import Service, Task, UpdateStatus
from shoal.model.states import TaskState
from shoal.model.swarm_spec import UpdateConfig

DEFAULT_MONITOR = timedelta(seconds=5)
UNSEEN_RUN = timedelta(seconds=60)
"""A task that ended this much (and the monitoring time) after its creation, unobserved, is taken to have run."""


@dataclass(frozen=True)
class Plan:
    """An update config with its defaults filled in. `parallelism` 0 is all at once."""

    parallelism: int
    delay: timedelta
    monitor: timedelta
    action: str
    ratio: float
    start_first: bool


def plan_of(service: Service) -> Plan:
    """How `service` is to be updated, or rolled back when that is going on."""
    rollback = service.update_status is not None and service.update_status.state.startswith("rollback")
    config = service.spec.rollback_config if rollback else service.spec.update_config
    config = config or UpdateConfig(parallelism=1)
    return Plan(
        parallelism=config.parallelism,
        delay=timedelta(microseconds=config.delay / 1000),
        monitor=timedelta(microseconds=config.monitor / 1000) if config.monitor else DEFAULT_MONITOR,
        action=config.failure_action or "pause",
        ratio=config.max_failure_ratio,
        start_first=config.order == "start-first",
    )


def update(draft: Draft, service: Service, slots: Slots) -> None:
    """One step of the update of `service`, whose filled slots are `slots`."""
    status = service.update_status
    if status is not None and status.state in ("paused", "rollback_paused"):
        return
    todo = [key for key, slot in slots.items() if _dirty(draft, service, slot)]
    active = status is not None and status.state in ("updating", "rollback_started")
    if not todo and not active:
        return
    if status is None:
        status = UpdateStatus(state="updating", started_at=draft.now, message="update in progress")
        service = replace(service, update_status=status)
        draft.do(Update(thing=service, because=f"{len(todo)} of its slots are out of date"))
        active = True
    elif active and status.started_at is None:
        # A rollback by hand. When it began must be said by the clock that dates its tasks: the leader's.
        status = replace(status, started_at=draft.now)
        service = replace(service, update_status=status)
        draft.do(Update(thing=service, because=status.message))
    _Step(draft, service, slots, todo, active).go()


class _Step:
    """One look at an update that is going on."""

    def __init__(self, draft: Draft, service: Service, slots: Slots, todo: list[str], active: bool) -> None:
        self.draft, self.service, self.slots = draft, service, slots
        self.plan = plan_of(service)
        self.active = active
        started = service.update_status.started_at if service.update_status else None
        since = started or draft.now
        self.updated = {key: task for key, slot in slots.items() if (task := _first_new(service, slot, since))}
        self.todo = [key for key in todo if key not in self.updated]

    def go(self) -> None:
        """Act on failures, finish what was begun, begin as much as the parallelism allows, or end."""
        if self.active and self._act_on_failures():
            return
        for key in self.updated:
            self._tidy(key)
        free_at = {key: self._free_at(task) for key, task in self.updated.items()}
        busy = [at for at in free_at.values() if at is None or at > self.draft.now]
        room = self.plan.parallelism - len(busy) if self.plan.parallelism else len(self.todo)
        for key in self.todo[: max(room, 0)]:
            self._begin(key)
        waits = [at for at in busy if at is not None]
        if waits and len(self.todo) > max(room, 0):
            self.draft.wake(min(waits), self.service.id, "the update waits out its delay")
        if self.active and not self.todo and not any(at is None for at in free_at.values()):
            self._end([at for at in free_at.values() if at is not None])

    def _act_on_failures(self) -> bool:
        """Pause or roll back when too many updated slots failed; whether that was so."""
        failed = [task for task in self.updated.values() if self._failed(task)]
        total = len(self.updated) + len(self.todo)
        if self.plan.action == "continue" or not failed or len(failed) / total <= self.plan.ratio:
            return False
        status = self.service.update_status
        assert status is not None
        task_id = min(failed, key=lambda task: (moment(task), task.id)).id
        cause = f"due to failure or early termination of task {task_id}"
        rolling_back = status.state == "rollback_started"
        if self.plan.action == "rollback" and not rolling_back and self.service.previous_spec is not None:
            message = f"update rolled back {cause}"
            status = UpdateStatus(state="rollback_started", started_at=self.draft.now, message=message)
            service = rolled_back(self.service, status)
        else:
            message = f"rollback paused {cause}" if rolling_back else f"update paused {cause}"
            status = replace(status, state="rollback_paused" if rolling_back else "paused", message=message)
            service = replace(self.service, update_status=status)
        self.draft.do(Update(thing=service, because=message))
        return True

    def _failed(self, task: Task) -> bool:
        """Whether an updated task ended before it ran, or within the monitoring time after."""
        if task.status.state not in (TaskState.COMPLETE, TaskState.FAILED, TaskState.REJECTED):
            return False
        books = self.draft.books
        ran = books.running_at.get(task.id)
        if ran is not None:
            return moment(task) - ran <= self.plan.monitor
        if task.created_at >= books.since:
            return True
        return moment(task) - task.created_at <= self.plan.monitor + UNSEEN_RUN

    def _free_at(self, task: Task) -> datetime | None:
        """When the worker that is at `task` takes the next slot; None while the task is on its way."""
        if task.status.state < TaskState.RUNNING and wanted(task):
            return None
        return self.draft.books.running_at.get(task.id, moment(task)) + self.plan.delay

    def _tidy(self, key: str) -> None:
        """In an updated slot, stop the tasks that the new one replaces as soon as it runs (or at once, stop-first)."""
        alive = living(self.slots[key])
        clean = [task for task in alive if not dirty(self.draft, self.service, task)]
        running = [task for task in clean if task.status.state == TaskState.RUNNING]
        keep = (running or ([] if self.plan.start_first else clean))[:1]
        if keep:
            self._stop([task for task in alive if task.id != keep[0].id], f"{keep[0].id} takes its place")

    def _begin(self, key: str) -> None:
        alive = living(self.slots[key])
        clean = [task for task in alive if not dirty(self.draft, self.service, task) and not ended(task)]
        if clean:
            keep = max(clean, key=lambda task: (task.desired_state, task.id))
            self._stop([task for task in alive if task.id != keep.id], f"{keep.id} is up to date already")
            return
        last = self.slots[key][-1]
        desired = TaskState.RUNNING if self.plan.start_first else TaskState.READY
        node_id = "" if last.slot else last.node_id
        task = new_task(self.draft, self.service, slot=last.slot, node_id=node_id, desired=desired)
        self.draft.do(CreateTask(task=task, because=f"{last.id} is out of date"))
        if not self.plan.start_first:
            self._stop(alive, f"{task.id} takes its place")

    def _stop(self, tasks: list[Task], because: str) -> None:
        for task in tasks:
            self.draft.do(SetDesired(task_id=task.id, state=TaskState.SHUTDOWN, because=because))

    def _end(self, free_at: list[datetime]) -> None:
        """Complete the update, once the last updated task was watched long enough."""
        monitor, delay = self.plan.monitor, self.plan.delay
        watch = delay + timedelta(seconds=1) if delay >= monitor else monitor
        end = max(free_at) + watch if free_at else self.draft.now
        if end > self.draft.now:
            self.draft.wake(end, self.service.id, "the update is watched a little longer")
            return
        status = self.service.update_status
        assert status is not None
        rollback = status.state == "rollback_started"
        state, message = ("rollback_completed", "rollback completed") if rollback else ("completed", "update completed")
        status = replace(status, state=state, message=message, completed_at=self.draft.now)
        self.draft.do(Update(thing=replace(self.service, update_status=status), because=message))


def rolled_back(service: Service, status: UpdateStatus) -> Service:
    """`service` with the spec it had before, and none before that."""
    assert service.previous_spec is not None
    return replace(
        service,
        spec=service.previous_spec,
        spec_version=service.previous_spec_version,
        registry_auth=service.previous_registry_auth,
        previous_spec=None,
        previous_spec_version=0,
        previous_registry_auth="",
        update_status=status,
    )


def _dirty(draft: Draft, service: Service, slot: list[Task]) -> bool:
    alive = living(slot)
    return len(alive) > 1 or dirty(draft, service, alive[0] if alive else slot[-1])


def _first_new(service: Service, slot: list[Task], since: datetime) -> Task | None:
    """The task by which an update that began at `since` replaced what was in the slot."""
    for before, task in pairwise(slot):
        new = task.spec_version == service.spec_version != before.spec_version
        if new and task.created_at >= since:
            return task
    return None
