"""A store in memory, for tests and for trying out decisions: it keeps the promises of `base.Store`, on one computer."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from msgspec.structs import replace

from shoal.kit.clock import Clock, SystemClock
from shoal.model.errors import Conflict, OutOfSequence
from shoal.model.objects import StoreObject, Version
from shoal.store.base import Delete, Fence, NotLeader, Put, Write
from shoal.store.view import Changed, View, kind_of, name_of


class MemoryStore:
    """`base.Store` over one `View`. `leader` is the fence token that commits with a fence must carry."""

    def __init__(self, clock: Clock | None = None) -> None:
        self.view = View()
        self.leader = 1
        self._clock = clock or SystemClock()
        self._queues: set[asyncio.Queue[Sequence[Changed]]] = set()

    async def commit(self, writes: Sequence[Write], *, fence: Fence | None = None) -> int:
        """See `base.Store.commit`."""
        await asyncio.sleep(0)
        if fence is not None and fence.token != self.leader:
            raise NotLeader
        if not writes:
            return self.view.revision
        for write in writes:
            self._check(write)
        revision = self.view.revision + 1
        now = self._clock.now()
        batch = []
        for write in writes:
            if isinstance(write, Delete):
                batch.append(self.view.remove(type(write.thing), write.thing.id))
                continue
            thing = write.thing
            created = thing.created_at if thing.version.index else now
            batch.append(
                self.view.put(replace(thing, version=Version(index=revision), created_at=created, updated_at=now))
            )
        self.view.revision = revision
        for queue in self._queues:
            queue.put_nowait(batch)
        return revision

    def _check(self, write: Write) -> None:
        thing = write.thing
        known: StoreObject | None = self.view.get(type(thing), thing.id)
        if (known.version.index if known else 0) != thing.version.index:
            raise OutOfSequence
        name = name_of(thing)
        owner = self.view.named(type(thing), name) if name is not None else None
        if isinstance(write, Put) and owner is not None and owner.id != thing.id:
            raise name_conflict(thing)

    @contextmanager
    def subscribe(self) -> Iterator[QueueSubscription]:
        """See `base.Store.subscribe`."""
        queue: asyncio.Queue[Sequence[Changed]] = asyncio.Queue()
        self._queues.add(queue)
        try:
            yield QueueSubscription(queue)
        finally:
            self._queues.discard(queue)


class QueueSubscription:
    """A `base.Subscription` over a queue that the store fills."""

    def __init__(self, queue: asyncio.Queue[Sequence[Changed]]) -> None:
        self._queue = queue

    def __aiter__(self) -> QueueSubscription:
        return self

    async def __anext__(self) -> Sequence[Changed]:
        return await self._queue.get()


def name_conflict(thing: StoreObject) -> Conflict:
    """The error for a name that is taken, in docker's words."""
    kind, name = kind_of(thing), getattr(thing.spec, "name", "")
    if kind == "network":
        return Conflict(f"network with name {name} already exists")
    return Conflict(
        f"rpc error: code = AlreadyExists desc = name conflicts with an existing object: {kind} {name} already exists"
    )
