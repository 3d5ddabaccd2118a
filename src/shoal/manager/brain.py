"""One decision of the leader: look at what changed, change a draft, hand out what to commit. No I/O, no clock.

Everything that a new task needs happens in one decision (its creation, its addresses, its node), so a service of a
hundred tasks costs one commit. The brain keeps only what `Brain(view, now)` can make again: the books, which services
and nodes to look at, and when to look at others.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from shoal.kit.ids import Ids
from shoal.manager.allocator.allocate import allocate_networks, allocate_nodes, allocate_tasks
from shoal.manager.books import Books
from shoal.manager.changes import Change
from shoal.manager.draft import Draft
from shoal.manager.orchestrator.enforcer import enforce
from shoal.manager.orchestrator.reconcile import reconcile
from shoal.manager.scheduler.schedule import schedule
from shoal.model.objects import Cluster, Network, Node, Service, StoreObject, Task
from shoal.model.states import TaskState
from shoal.store.base import Write
from shoal.store.view import Changed, View

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Decision:
    """What to write, why, and when to decide again without being asked (None: when something changes)."""

    writes: list[Write]
    changes: list[Change]
    wake: datetime | None
    touched: list[tuple[type[StoreObject], str]]
    agenda: Agenda
    moved: set[str]


@dataclass
class Agenda:
    """What the next decision looks at. `retry` also tries again what found no place."""

    services: set[str] = field(default_factory=set)
    nodes: set[str] = field(default_factory=set)
    networks: bool = False
    retry: bool = False

    def add(self, other: Agenda) -> None:
        """Look at everything that is on `other`, too."""
        self.services |= other.services
        self.nodes |= other.nodes
        self.networks |= other.networks
        self.retry |= other.retry


class Brain:
    """Decides. `hear` what changed, `decide`, and `undo` when the decision could not be committed."""

    def __init__(self, view: View, now: datetime) -> None:
        self._books = Books.load(view, now)
        self._wakes: dict[str, datetime] = {}
        self._agenda = Agenda(networks=True, retry=True)
        self._agenda.services = {service.id for service in view.all(Service)}
        self._agenda.services |= {task.service_id for task in view.all(Task) if task.service_id}
        self._agenda.nodes = {node.id for node in view.all(Node)}

    def hear(self, changes: Sequence[Changed], view: View) -> None:
        """Take note of a batch of changes that `view` already has."""
        for changed in changes:
            if changed.old is None and changed.new is None:
                continue
            kind, id = type(changed.thing), changed.thing.id
            self._books.note(kind, id, view.get(kind, id))
            self._note(changed, view)

    def decide(self, view: View, now: datetime, ids: Ids) -> Decision:
        """What to do now."""
        books, agenda = self._books, self._take_agenda(now)
        draft = Draft(view, now, ids, books)
        if agenda.networks:
            allocate_networks(draft)
        for id in sorted(agenda.nodes):
            node = draft.get(Node, id)
            if node is not None:
                _guarded(f"node {id}", enforce, draft, node)
        agenda.services |= draft.services_touched()
        for id in sorted(agenda.services - {""}):
            _guarded(f"service {id}", reconcile, draft, id)
        if agenda.retry or draft.changes or books.loads.released or books.addresses.released or agenda.services:
            books.loads.released = books.addresses.released = False
            allocate_tasks(draft, agenda.services)
            schedule(draft)
        moved = allocate_nodes(draft) if books.loads.moved else set()
        for wake in draft.wakes:
            self._wakes[wake.service_id] = min(wake.at, self._wakes.get(wake.service_id, wake.at))
        next_wake = min(self._wakes.values(), default=None)
        return Decision(draft.writes(), draft.changes, next_wake, list(draft.touched()), agenda, moved)

    def undo(self, decision: Decision, view: View) -> None:
        """The decision was not (or not wholly) committed: believe the store, and look at the same things again."""
        for kind, id in decision.touched:
            self._books.note(kind, id, view.get(kind, id))
        self._books.loads.moved |= decision.moved
        self._agenda.add(decision.agenda)
        self._agenda.retry = True

    def _take_agenda(self, now: datetime) -> Agenda:
        agenda, self._agenda = self._agenda, Agenda()
        for service_id, at in list(self._wakes.items()):
            if at <= now:
                agenda.services.add(service_id)
        for service_id in agenda.services:
            self._wakes.pop(service_id, None)
        return agenda

    def _note(self, changed: Changed, view: View) -> None:
        old, new = changed.old, changed.new
        if isinstance(changed.thing, Task):
            if _matters(old, new, view):  # type: ignore[arg-type]
                self._agenda.services.add(changed.thing.service_id)
        elif isinstance(changed.thing, Service):
            self._agenda.services.add(changed.thing.id)
        elif isinstance(changed.thing, Node):
            if old is None or new is None or _facts(old) != _facts(new):  # type: ignore[arg-type]
                self._note_node(changed.thing, view)
        elif isinstance(changed.thing, Network):
            self._agenda.networks = self._agenda.retry = True
            self._books.loads.moved |= {node.id for node in view.all(Node)}
        elif isinstance(changed.thing, Cluster):
            self._agenda.services |= {service.id for service in view.all(Service)}
            self._agenda.networks = True

    def _note_node(self, node: Node, view: View) -> None:
        agenda = self._agenda
        agenda.retry = True
        agenda.nodes.add(node.id)
        agenda.services |= {task.service_id for task in view.tasks_of_node(node.id)}
        agenda.services |= {one.id for one in view.all(Service) if one.spec.mode.global_ is not None}


def _guarded(subject: str, work: Callable[..., None], *arguments: object) -> None:
    """One object that cannot be understood (another version wrote it, say) must not stop the swarm."""
    try:
        work(*arguments)
    except Exception:
        log.exception("%s is left as it is until it changes", subject)


def _matters(old: Task | None, new: Task | None, view: View) -> bool:
    """Whether an orchestrator could act on the change of a task; most reports of agents need no decision."""
    if old is None or new is None or old.desired_state != new.desired_state or old.node_id != new.node_id:
        return True
    before, after = old.status.state, new.status.state
    if before == after:
        return False
    if after.terminal:
        return True
    service = view.get(Service, new.service_id)
    status = service.update_status if service else None
    return after == TaskState.RUNNING and status is not None and status.state in ("updating", "rollback_started")


def _facts(node: Node) -> object:
    """What decisions look at in a node."""
    return node.spec, node.status.state, node.status.addr, node.description, node.role
