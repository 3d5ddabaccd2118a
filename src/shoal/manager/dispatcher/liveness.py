"""Heartbeats: how often, and when silence means that a node is lost. Times are seconds of the event loop."""

from __future__ import annotations

import random
from collections import deque

from shoal.model.errors import Unavailable
from shoal.model.objects import Cluster

GRACE = 3
"""So many periods of silence and a node is down."""
GRACE_UNKNOWN = 6
"""The same right after a change of leaders, when agents are still looking for the new one."""
TICK = 0.25
"""Seconds between two looks at the clock while nodes are expected."""
STALL = 0.1
"""Seconds by which a look may be late before this process counts as stalled: what nodes sent meanwhile is unread."""
SETTLE = 0.5
"""Seconds in which, after a stall, what nodes sent is read."""
REGISTRATIONS = 3
REGISTRATION_WINDOW = 8.0
"""A node may register so often within so many seconds."""


def heartbeat_period(cluster: Cluster | None, nodes: int) -> float:
    """Seconds between heartbeats: what the cluster's spec says, else 1 s, slower in swarms of over 200 nodes (at most
    5 s), so that heartbeats never take more than a tenth of a core."""
    period = cluster.spec.dispatcher.heartbeat_period if cluster else 0
    return period / 1e9 if period > 0 else min(5.0, max(1.0, nodes / 200))


def jittered(period: float, rng: random.Random) -> float:
    """`period`, give or take a tenth, so that nodes do not beat together."""
    return period * rng.uniform(0.9, 1.1)


class Deadlines:
    """Until when each node must be heard from."""

    def __init__(self) -> None:
        self._until: dict[str, float] = {}

    def set(self, node_id: str, moment: float) -> None:
        """The node must be heard from before `moment`."""
        self._until[node_id] = moment

    def drop(self, node_id: str) -> None:
        """Nothing is expected of the node any more."""
        self._until.pop(node_id, None)

    def __contains__(self, node_id: str) -> bool:
        return node_id in self._until

    def delay(self, seconds: float, earliest: float) -> None:
        """Give everybody so much more time, and until `earliest` at least."""
        self._until = {node_id: max(earliest, moment + seconds) for node_id, moment in self._until.items()}

    def expired(self, now: float) -> list[str]:
        """The nodes whose time is over; they are dropped."""
        late = sorted(node_id for node_id, moment in self._until.items() if moment <= now)
        for node_id in late:
            del self._until[node_id]
        return late

    def next(self) -> float | None:
        """The earliest deadline."""
        return min(self._until.values(), default=None)


class Registrations:
    """Slows down a node that registers over and over."""

    def __init__(self) -> None:
        self._recent: dict[str, deque[float]] = {}

    def check(self, node_id: str, now: float) -> None:
        """Count a registration. Raises Unavailable when there were too many."""
        recent = self._recent.setdefault(node_id, deque())
        while recent and recent[0] <= now - REGISTRATION_WINDOW:
            recent.popleft()
        if len(recent) >= REGISTRATIONS:
            raise Unavailable(f"node {node_id} exceeded rate limit count of registrations")
        recent.append(now)

    def forget(self, node_id: str) -> None:
        """The node was given up: it may come back at once."""
        self._recent.pop(node_id, None)
