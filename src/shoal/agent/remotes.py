"""Which managers there are, and where; which of them to try: at random by weight, those that just failed last.

The leader tells all managers where they are; each tells it of itself, too. Whoever said something new last is believed:
the leader goes on telling what the store has, and that a manager has moved gets there late, or not while too few of
them have found each other.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable

from msgspec.structs import replace as changed

from shoal.model.base import Struct
from shoal.model.errors import Unavailable


class Remote(Struct, frozen=True):
    """A manager's id, its `host:port`, and its weight: the leader's is highest."""

    node_id: str = ""
    addr: str = ""
    weight: int = 10


class Remotes:
    """The managers known. `keep` is told each new list, to have it on disk."""

    def __init__(self, known: Iterable[Remote], keep: Callable[[list[Remote]], None] | None = None) -> None:
        self._known = [remote for remote in known if remote.addr]
        self._told: dict[str, str] = {}
        """Manager -> address, as the leader said last."""
        self._own = ("", "")
        self._keep = keep
        self._failed: list[str] = []
        self._silent: set[str] = set()

    @property
    def all(self) -> list[Remote]:
        """The managers, as last heard."""
        return list(self._known)

    def replace(self, remotes: list[Remote]) -> None:
        """The managers, as the leader says; an empty list is not believed."""
        remotes = [remote for remote in remotes if remote.addr]
        if not remotes:
            return
        here = {remote.node_id: remote.addr for remote in self._known if remote.node_id}
        told, self._told = self._told, {remote.node_id: remote.addr for remote in remotes}
        self._become(
            [
                changed(one, addr=here.get(one.node_id, one.addr)) if told.get(one.node_id) == one.addr else one
                for one in remotes
            ]
        )

    def hear(self, node_id: str, addr: str) -> bool:
        """The leader says that this manager is at `addr`; True when that is news."""
        if self._told.get(node_id) == addr:
            return False
        self._told[node_id] = addr
        return self.claim(node_id, addr)

    def claim(self, node_id: str, addr: str) -> bool:
        """That manager itself says that it is at `addr`; True when that is news."""
        if any(remote.node_id == node_id and remote.addr == addr for remote in self._known):
            return False
        others = [one for one in self._known if one.node_id != node_id and (one.node_id or one.addr != addr)]
        self._become([*others, Remote(node_id=node_id, addr=addr)])
        return True

    def be(self, node_id: str, addr: str) -> None:
        """This very node is a manager at `addr`, whatever anybody says."""
        self._own = (node_id, addr)
        self.claim(node_id, addr)

    def _become(self, remotes: list[Remote]) -> None:
        own, addr = self._own
        remotes = [changed(one, addr=addr) if own and one.node_id == own else one for one in remotes]
        if remotes != self._known:
            self._known = remotes
            if self._keep is not None:
                self._keep(list(remotes))

    def add(self, addr: str) -> None:
        """One more address at which a manager may be."""
        if all(remote.addr != addr for remote in self._known):
            self._known.append(Remote(addr=addr))

    def pick(self, rng: random.Random) -> Remote:
        """One to try now. Raises Unavailable when none is known."""
        if not self._known:
            raise Unavailable("no manager is known")
        fresh = [remote for remote in self._known if remote.addr not in self._failed]
        if not fresh:  # all failed: once more, the last one last
            self._failed = self._failed[-1:]
            fresh = [remote for remote in self._known if remote.addr not in self._failed] or self._known
        return rng.choices(fresh, [self._weight(remote) for remote in fresh])[0]

    def _weight(self, remote: Remote) -> float:
        """The weight that counts: to knock at a machine that is gone takes seconds, and it may be the old leader's."""
        return 0.1 if remote.addr in self._silent else max(1, remote.weight)

    def failed(self, remote: Remote, *, silent: bool = False) -> None:
        """It does not lead, or did not even answer (`silent`): the others come first now."""
        if remote.addr not in self._failed:
            self._failed.append(remote.addr)
        (self._silent.add if silent else self._silent.discard)(remote.addr)

    def worked(self, remote: Remote) -> None:
        """It serves us: forget who failed."""
        self._failed.clear()
        self._silent.clear()
