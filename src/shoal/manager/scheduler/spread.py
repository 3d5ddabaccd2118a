"""The choice among the nodes that may run a task: spread, as evenly as the filters allow (SwarmKit's rules)."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Callable, Sequence

from shoal.manager.draft import Draft
from shoal.manager.scheduler.filters import Filters
from shoal.model.objects import Node, Task
from shoal.model.swarm_spec import Placement

TOO_MANY_FAILURES = 5
"""From so many failures of one version on a node on, nodes with fewer are preferred."""

Place = Callable[[Task, Node], None]


def spread(draft: Draft, group: Sequence[Task], nodes: Sequence[Node], filters: Filters, place: Place) -> list[Task]:
    """Place the tasks of `group`, all of one service and version, on `nodes`; returns those that found no place.

    `place` books each placement at once, so that the next choice sees it. Ties go to the lower node id.
    """
    usable = [node for node in nodes if all(check(node, draft.books.loads.of(node.id)) for _, check in filters.fixed)]
    preferences = (group[0].spec.placement or Placement()).preferences
    levels = [label for one in preferences if one.spread and (label := _label(one.spread.spread_descriptor))]
    return _Spread(draft, filters, place).over_branches(list(group), usable, levels)


class _Spread:
    """One group's way down the tree of preferences to the nodes."""

    def __init__(self, draft: Draft, filters: Filters, place: Place) -> None:
        self._loads, self._now = draft.books.loads, draft.now
        self._moving = [check for _, check in filters.moving]
        self._place = place

    def over_branches(self, group: list[Task], nodes: list[Node], levels: list[tuple[str, str]]) -> list[Task]:
        """Split `group` over the values of the first label so that the branches end even, then go down into each."""
        if not levels:
            return self._over_nodes(group, nodes)
        branches: defaultdict[str, list[Node]] = defaultdict(list)
        for node in nodes:
            branches[_value(node, levels[0])].append(node)
        full: set[str] = set()
        while group and len(full) < len(branches):
            service_id = group[0].service_id
            rows = [(self._count(branches[value], service_id), value) for value in branches if value not in full]
            heapq.heapify(rows)
            shares: defaultdict[str, list[Task]] = defaultdict(list)
            for task in group:
                count, value = rows[0]
                shares[value].append(task)
                heapq.heapreplace(rows, (count + 1, value))
            group = []
            for value in sorted(shares):
                rest = self.over_branches(shares[value], branches[value], levels[1:])
                if rest:
                    full.add(value)
                    group += rest
        return group

    def _over_nodes(self, group: list[Task], nodes: list[Node]) -> list[Task]:
        """Each task to the best node, which then is a little less good; a node that is full drops out."""
        if not group:
            return []
        rows = [self._rank(node, group[0]) for node in nodes]
        heapq.heapify(rows)
        for index, task in enumerate(group):
            while rows:
                shunned, of_service, active, id, node = rows[0]
                if all(check(node, self._loads.of(id)) for check in self._moving):
                    self._place(task, node)
                    heapq.heapreplace(rows, (shunned, of_service + 1, active + 1, id, node))
                    break
                heapq.heappop(rows)
            else:
                return group[index:]
        return []

    def _rank(self, node: Node, task: Task) -> tuple[int, int, int, str, Node]:
        """Lower is better: few failures of this version, few tasks of this service, few tasks, low id."""
        load = self._loads.of(node.id)
        failures = self._loads.failures(node.id, (task.service_id, task.spec_version), self._now)
        shunned = failures if failures >= TOO_MANY_FAILURES else 0
        return shunned, load.of_service[task.service_id], load.active, node.id, node

    def _count(self, nodes: list[Node], service_id: str) -> int:
        return sum(self._loads.of(node.id).of_service[service_id] for node in nodes)


def _label(descriptor: str) -> tuple[str, str] | None:
    """Whose label (node or engine) and its name; None for a descriptor that swarm mode ignores."""
    for owner in ("node", "engine"):
        prefix = f"{owner}.labels."
        if descriptor.lower().startswith(prefix) and len(descriptor) > len(prefix):
            return owner, descriptor[len(prefix) :]
    return None


def _value(node: Node, label: tuple[str, str]) -> str:
    owner, name = label
    return (node.spec.labels if owner == "node" else node.description.engine.labels).get(name, "")
