"""What the deciding half remembers between two decisions, so that none has to walk over every task.

All of it is derived: `load` rebuilds it from a view. `note` is idempotent per object, so that a decision may book
what it is about to write, hear of it again from the store, and take it back by noting what the store really has.
"""

from __future__ import annotations

from datetime import datetime

from shoal.manager.allocator.addresses import AddressBook
from shoal.manager.allocator.ports import PortBook
from shoal.manager.scheduler.load import Loads
from shoal.model.objects import Network, Node, Service, StoreObject, Task
from shoal.model.states import TaskState
from shoal.store.view import View


class Books:
    """Loads of nodes, addresses in use, tasks without a place, and when tasks were seen running.

    `since` is when the books began to listen: of tasks created later they know whether they ever ran.
    """

    def __init__(self, since: datetime) -> None:
        self.since = since
        self.loads = Loads()
        self.addresses = AddressBook()
        self.ports = PortBook()
        self.unassigned: set[str] = set()
        self.running_at: dict[str, datetime] = {}

    @classmethod
    def load(cls, view: View, now: datetime) -> Books:
        """The books for all of `view`."""
        books = cls(now)
        for kind in (Network, Service, Node, Task):
            for thing in view.all(kind):
                books.note(kind, thing.id, thing)
        return books

    def note(self, kind: type[StoreObject], id: str, thing: StoreObject | None) -> None:
        """`id` is now `thing`; None when it is gone."""
        if kind is Task:
            assert thing is None or isinstance(thing, Task)
            self._note_task(id, thing)
        elif kind is Service:
            assert thing is None or isinstance(thing, Service)
            self.addresses.note_service(id, thing)
            self.ports.note_service(id, thing)
        elif kind is Node:
            assert thing is None or isinstance(thing, Node)
            self.addresses.note_node(id, thing)
            self.loads.note_node(id, thing)
        elif kind is Network:
            assert thing is None or isinstance(thing, Network)
            self.addresses.note_network(id, thing)

    def _note_task(self, id: str, task: Task | None) -> None:
        self.loads.note_task(id, task)
        self.addresses.note_task(id, task)
        if task is not None and task.status.state < TaskState.ASSIGNED:
            self.unassigned.add(id)
        else:
            self.unassigned.discard(id)
        if task is None:
            self.running_at.pop(id, None)
        elif task.status.state == TaskState.RUNNING:
            self.running_at.setdefault(id, task.status.applied_at or task.status.timestamp)
