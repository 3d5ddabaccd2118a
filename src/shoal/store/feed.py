"""Batches of changes, handed from a store to whoever subscribed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from shoal.store.view import Changes


class Feed:
    """Every subscriber gets every batch that is published while it is subscribed, in order."""

    def __init__(self) -> None:
        self._queues: set[asyncio.Queue[Changes]] = set()

    def publish(self, batch: Changes) -> None:
        """Hand `batch` to all; never waits."""
        for queue in self._queues:
            queue.put_nowait(batch)

    @contextmanager
    def subscribe(self) -> Iterator[QueueSubscription]:
        """See `base.Store.subscribe`."""
        queue: asyncio.Queue[Changes] = asyncio.Queue()
        self._queues.add(queue)
        try:
            yield QueueSubscription(queue)
        finally:
            self._queues.discard(queue)


class QueueSubscription:
    """A `base.Subscription` over a queue that the store fills."""

    def __init__(self, queue: asyncio.Queue[Changes]) -> None:
        self._queue = queue

    def __aiter__(self) -> QueueSubscription:
        return self

    async def __anext__(self) -> Changes:
        return await self._queue.get()
