"""A store in memory, for tests and for trying out decisions: it keeps the promises of `base.Store`, on one computer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AbstractContextManager

from msgspec.structs import replace

from shoal.kit.clock import Clock, SystemClock
from shoal.model.objects import Version
from shoal.store.base import Delete, Fence, NotLeader, Write
from shoal.store.feed import Feed, QueueSubscription
from shoal.store.view import View
from shoal.store.writes import check_versions, name_changes, name_conflict, stamped


class MemoryStore:
    """`base.Store` over one `View`. `leader` is the fence token that commits with a fence must carry."""

    def __init__(self, clock: Clock | None = None) -> None:
        self.view = View()
        self.leader = 1
        self._clock = clock or SystemClock()
        self._feed = Feed()

    async def commit(self, writes: Sequence[Write], *, fence: Fence | None = None) -> int:
        """See `base.Store.commit`."""
        await asyncio.sleep(0)
        if fence is not None and fence.token != self.leader:
            raise NotLeader
        if not writes:
            return self.view.revision
        self._check(writes)
        revision = self.view.revision + 1
        now = self._clock.now()
        batch = []
        for write in writes:
            if isinstance(write, Delete):
                batch.append(self.view.remove(type(write.thing), write.thing.id))
            else:
                batch.append(
                    self.view.put(replace(stamped(write.thing, self.view, now), version=Version(index=revision)))
                )
        self.view.revision = revision
        self._feed.publish(batch)
        return revision

    def _check(self, writes: Sequence[Write]) -> None:
        check_versions(self.view, writes)
        names = name_changes(self.view, writes)
        for (kind, name), thing in names.taken.items():
            if (kind, name) not in names.released and self.view.named(type(thing), name) is not None:
                raise name_conflict(thing)

    def subscribe(self) -> AbstractContextManager[QueueSubscription]:
        """See `base.Store.subscribe`."""
        return self._feed.subscribe()
