"""The store's contents in memory, with the indexes that decisions need. Synchronous and pure: no I/O.

A view changes only between two steps of the event loop, so a decision, which never awaits, sees one moment.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from shoal.model.objects import Cluster, Network, Node, Service, StoreObject, Task

O = TypeVar("O", bound=StoreObject)  # noqa: E741

KINDS: dict[str, type[StoreObject]] = {
    "cluster": Cluster,
    "node": Node,
    "service": Service,
    "task": Task,
    "network": Network,
}


def kind_of(thing: StoreObject) -> str:
    """`service` for a Service, and so on: the first part of its key in the store."""
    return type(thing).__name__.lower()


def name_of(thing: StoreObject) -> str | None:
    """The name that must be unique in its kind, lower-cased; None where names need not be (nodes, tasks)."""
    return thing.spec.name.lower() if isinstance(thing, Cluster | Service | Network) else None


@dataclass(frozen=True)
class Changed:
    """One object before and after: created (`old` is None), updated, or deleted (`new` is None)."""

    old: StoreObject | None
    new: StoreObject | None

    @property
    def thing(self) -> StoreObject:
        """The object, newest known form."""
        return cast(StoreObject, self.new or self.old)


class View:
    """Every object by kind and id, and tasks by service, node and network."""

    def __init__(self, things: Iterable[StoreObject] = (), revision: int = 0) -> None:
        self.revision = revision
        self._things: dict[type[Any], dict[str, StoreObject]] = {kind: {} for kind in KINDS.values()}
        self._names: dict[tuple[type[Any], str], StoreObject] = {}
        self._by_service: defaultdict[str, dict[str, Task]] = defaultdict(dict)
        self._by_node: defaultdict[str, dict[str, Task]] = defaultdict(dict)
        for thing in things:
            self.put(thing)

    def get(self, kind: type[O], id: str) -> O | None:
        """The object with this id."""
        return cast("O | None", self._things[kind].get(id))

    def all(self, kind: type[O]) -> list[O]:
        """Every object of a kind, by id, so that what follows is the same everywhere."""
        table = self._things[kind]
        return cast("list[O]", [table[id] for id in sorted(table)])

    def named(self, kind: type[O], name: str) -> O | None:
        """The cluster, service or network of this name; case does not count."""
        return cast("O | None", self._names.get((kind, name.lower())))

    def tasks_of_service(self, service_id: str) -> list[Task]:
        """The tasks of a service, by id."""
        return [task for _, task in sorted(self._by_service.get(service_id, {}).items())]

    def tasks_of_node(self, node_id: str) -> list[Task]:
        """The tasks assigned to a node, by id."""
        return [task for _, task in sorted(self._by_node.get(node_id, {}).items())]

    @property
    def cluster(self) -> Cluster | None:
        """The swarm itself, None before `init`."""
        return next(iter(self.all(Cluster)), None)

    # What follows is for stores (and for tests that build a view by hand).

    def put(self, thing: StoreObject) -> Changed:
        """Add or replace an object; returns what changed."""
        old = self.remove(type(thing), thing.id).old
        self._things[type(thing)][thing.id] = thing
        name = name_of(thing)
        if name is not None:
            self._names[type(thing), name] = thing
        if isinstance(thing, Task):
            self._by_service[thing.service_id][thing.id] = thing
            if thing.node_id:
                self._by_node[thing.node_id][thing.id] = thing
        return Changed(old, thing)

    def remove(self, kind: type[StoreObject], id: str) -> Changed:
        """Drop an object, which need not exist; returns what changed."""
        old = self._things[kind].pop(id, None)
        if old is None:
            return Changed(None, None)
        name = name_of(old)
        if name is not None and self._names.get((kind, name)) is old:  # else another took it in the same commit
            del self._names[kind, name]
        if isinstance(old, Task):
            _discard(self._by_service, old.service_id, id)
            _discard(self._by_node, old.node_id, id)
        return Changed(old, None)


def _discard(index: dict[str, dict[str, Task]], key: str, id: str) -> None:
    group = index.get(key)
    if group is not None:
        group.pop(id, None)
        if not group:
            del index[key]


Changes = Sequence[Changed]
