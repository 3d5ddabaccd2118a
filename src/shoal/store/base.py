"""What every store can do: a view, atomic commits with version checks, and a stream of what changed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from shoal.model.base import Struct
from shoal.model.objects import StoreObject
from shoal.store.view import Changed, View


class Put(Struct, frozen=True):
    """Create the object (its `version.index` is 0) or replace the version it was read at."""

    thing: StoreObject


class Delete(Struct, frozen=True):
    """Remove the object, at the version it was read at."""

    thing: StoreObject


Write = Put | Delete


class Subscription(Protocol):
    """Batches of changes, one per commit or more, in order, without gaps, from the moment it was made."""

    def __aiter__(self) -> AsyncIterator[Sequence[Changed]]: ...

    async def __anext__(self) -> Sequence[Changed]: ...


class Store(Protocol):
    """The replicated store, as seen from one manager."""

    @property
    def view(self) -> View:
        """The newest contents known here. Read it; never write it, never keep a reference to its objects' tables."""
        ...

    async def commit(self, writes: Sequence[Write], *, fence: Fence | None = None) -> int:
        """Do all of `writes` or none; returns the revision, once `view` has reached it.

        The store sets `version` (to the new revision), `created_at` and `updated_at`. Raises OutOfSequence when an
        object changed since it was read, Conflict when a new object's name is taken, Unavailable when there is no
        quorum, NotLeader when `fence` no longer leads. An empty commit does nothing and returns the view's revision.
        """
        ...

    def subscribe(self) -> AbstractContextManager[Subscription]:
        """Changes from now on; the view already has them when they arrive."""
        ...


class Fence(Protocol):
    """Proof of leadership, checked by the store in the same transaction. Got from `Leadership`, not made."""

    @property
    def token(self) -> int: ...


class NotLeader(Exception):
    """The fence is stale: another manager leads. The loops that run under it must end."""
