"""Many small changes to objects, few commits: what comes while one commit is under way goes into the next."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from shoal.kit.tasks import Bell
from shoal.model.errors import OutOfSequence, Unavailable
from shoal.model.objects import StoreObject
from shoal.store.base import Fence, Put, Store

MOST = 10_000
"""Changes in one commit (SwarmKit's number)."""

Change = Callable[[Any], Any]
"""An object's newest form to the form it should have; None, or the same object, when there is nothing to do."""


@dataclass
class _Waiting:
    kind: type[StoreObject]
    id: str
    change: Change
    done: asyncio.Future[None] | None


class Batcher:
    """Applies submitted changes to the newest version of their objects and commits them together.

    A commit that lost a race is tried again with what is there now. The first change after a quiet time is committed
    at once. `run` must be running.
    """

    def __init__(self, store: Store, fence: Fence | None) -> None:
        self._store = store
        self._fence = fence
        self._queue: list[_Waiting] = []
        self._bell = Bell()

    def submit(self, kind: type[StoreObject], id: str, change: Change) -> None:
        """Do `change` to the object soon; nobody waits for it. An object that is gone is left alone."""
        self._queue.append(_Waiting(kind, id, change, None))
        self._bell.ring()

    async def apply(self, kind: type[StoreObject], id: str, change: Change) -> None:
        """Do `change` to the object and return once the store has it."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append(_Waiting(kind, id, change, done))
        self._bell.ring()
        await done

    async def run(self) -> None:
        """Commit until cancelled. Raises NotLeader when the fence is stale; who waits then hears Unavailable."""
        try:
            while True:
                await self._bell.wait()
                while self._queue:
                    batch, self._queue = self._queue[:MOST], self._queue[MOST:]
                    try:
                        await self._commit(batch)
                    except BaseException:
                        _fail(batch)
                        raise
        finally:
            _fail(self._queue)
            self._queue = []

    async def _commit(self, batch: list[_Waiting]) -> None:
        tries = 0
        while True:
            try:
                await self._store.commit(self._writes(batch), fence=self._fence)
                break
            except OutOfSequence:
                tries += 1
                if tries > 3 and len(batch) > 1:
                    half = len(batch) // 2
                    await self._commit(batch[:half])
                    batch, tries = batch[half:], 0
            except Unavailable:
                await asyncio.sleep(0.2)
        for waiting in batch:
            if waiting.done is not None and not waiting.done.done():
                waiting.done.set_result(None)

    def _writes(self, batch: list[_Waiting]) -> list[Put]:
        newest: dict[tuple[type[StoreObject], str], StoreObject] = {}
        changed: set[tuple[type[StoreObject], str]] = set()
        for waiting in batch:
            key = (waiting.kind, waiting.id)
            thing = newest.get(key) or self._store.view.get(waiting.kind, waiting.id)
            if thing is None:
                continue
            result = waiting.change(thing)
            if result is not None and result is not thing:
                newest[key] = result
                changed.add(key)
        return [Put(newest[key]) for key in newest if key in changed]


def _fail(batch: list[_Waiting]) -> None:
    for waiting in batch:
        if waiting.done is not None and not waiting.done.done():
            waiting.done.set_exception(Unavailable("this manager no longer leads the swarm"))
