"""Which manager to try: at random by weight, those that just failed last."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable

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
        if remotes and remotes != self._known:
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
        if not fresh:
            self._failed = self._failed[-1:] if len(self._known) > 1 else []
            fresh = [remote for remote in self._known if remote.addr not in self._failed]
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
