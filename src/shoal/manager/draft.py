"""The store's view as it will be: what a decision reads and changes. Nothing here reaches the store by itself."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime
from operator import attrgetter
from typing import TypeVar, cast

from msgspec.structs import replace

from shoal.kit.ids import Ids
from shoal.manager.books import Books
from shoal.manager.changes import Assign, Change, CreateTask, DeleteTask, Equip, SetDesired, SetStatus, Update, Wake
from shoal.model.objects import Cluster, StoreObject, Task, TaskStatus
from shoal.model.states import TaskState, advance
from shoal.store.base import Delete, Put, Write
from shoal.store.view import View

O = TypeVar("O", bound=StoreObject)  # noqa: E741

_by_id = attrgetter("id")


class Draft:
    """A view with the changes decided so far on top, `now`, a source of ids, and the books.

    `do` is the only way to change it. `changes` and `wakes` are the decision; `writes()` is what to commit.
    """

    def __init__(self, view: View, now: datetime, ids: Ids, books: Books) -> None:
        self.now = now
        self.ids = ids
        self.books = books
        self.changes: list[Change] = []
        self.wakes: list[Wake] = []
        self._view = view
        self._overlay: dict[tuple[type[StoreObject], str], StoreObject | None] = {}
        self._tasks_of: defaultdict[str, set[str]] = defaultdict(set)

    @property
    def cluster(self) -> Cluster | None:
        """The swarm itself."""
        return self._view.cluster

    def get(self, kind: type[O], id: str) -> O | None:
        """The object with this id, as it will be."""
        key = (kind, id)
        if key in self._overlay:
            return cast("O | None", self._overlay[key])
        return self._view.get(kind, id)

    def all(self, kind: type[O]) -> list[O]:
        """Every service, node or network, by id, as it will be."""
        return [thing for stored in self._view.all(kind) if (thing := self.get(kind, stored.id)) is not None]

    def tasks_of_service(self, service_id: str) -> list[Task]:
        """The tasks of a service, by id, as they will be."""
        stored = self._view.tasks_of_service(service_id)
        touched = self._tasks_of.get(service_id)
        if not touched:
            return stored
        kept = [task for task in stored if task.id not in touched]
        changed = [task for id in sorted(touched) if (task := self.get(Task, id)) is not None]
        return list(heapq.merge(kept, changed, key=_by_id))

    def tasks_of_node(self, node_id: str) -> list[Task]:
        """The tasks that the view has on a node, as they will be."""
        stored = self._view.tasks_of_node(node_id)
        return [task for one in stored if (task := self.get(Task, one.id)) is not None]

    def services_touched(self) -> set[str]:
        """The services whose tasks this draft changed."""
        return {service_id for service_id, touched in self._tasks_of.items() if touched}

    def wake(self, at: datetime, service_id: str, because: str) -> None:
        """Look at a service again at `at`."""
        self.wakes.append(Wake(at=at, service_id=service_id, because=because))

    def do(self, change: Change) -> None:
        """Make one change. A change of something that is gone, or that changes nothing, is dropped."""
        if isinstance(change, Update):
            self._set(type(change.thing), change.thing.id, change.thing)
        elif isinstance(change, CreateTask):
            self._set(Task, change.task.id, change.task)
        elif not self._change_task(change):
            return
        self.changes.append(change)

    def _change_task(self, change: SetDesired | SetStatus | Equip | Assign | DeleteTask) -> bool:
        task = self.get(Task, change.task_id)
        if task is None:
            return False
        if isinstance(change, DeleteTask):
            self._set(Task, task.id, None)
            return True
        changed = _changed(task, change, self.now)
        if changed is task:
            return False
        self._set(Task, task.id, changed)
        return True

    def _set(self, kind: type[StoreObject], id: str, thing: StoreObject | None) -> None:
        if kind is Task:
            task = cast("Task | None", thing or self.get(Task, id))
            if task is not None:
                self._tasks_of[task.service_id].add(id)
        self._overlay[kind, id] = thing
        self.books.note(kind, id, thing)

    def writes(self) -> list[Write]:
        """The commit that makes the draft true: one write per object."""
        found: list[Write] = []
        for (kind, id), thing in self._overlay.items():
            stored = self._view.get(kind, id)
            if thing is not None:
                found.append(Put(thing=thing))
            elif stored is not None:
                found.append(Delete(thing=stored))
        return found

    def touched(self) -> Iterable[tuple[type[StoreObject], str]]:
        """Kind and id of all that the draft changed."""
        return self._overlay.keys()


def _changed(task: Task, change: SetDesired | SetStatus | Equip | Assign, now: datetime) -> Task:
    if isinstance(change, SetDesired):
        return replace(task, desired_state=change.state) if change.state > task.desired_state else task
    if isinstance(change, SetStatus):
        state, message, err = change.state, change.message, change.err
        if advance(task.status.state, state) != state or (state == task.status.state and err == task.status.err):
            return task
        return replace(task, status=_status(task.status, state, message, now, err))
    if isinstance(change, Equip):
        status = _status(task.status, TaskState.PENDING, "pending task scheduling", now)
        return replace(task, status=status, networks_attachments=change.attachments, endpoint=change.endpoint)
    status = _status(task.status, TaskState.ASSIGNED, change.message, now)
    return replace(task, status=status, node_id=change.node_id, generic_resources=change.claimed)


def _status(status: TaskStatus, state: TaskState, message: str, now: datetime, err: str = "") -> TaskStatus:
    return replace(status, state=state, message=message, err=err, timestamp=now, applied_at=now)
