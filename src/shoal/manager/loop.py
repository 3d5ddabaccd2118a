"""The loop of the deciding half: wait for a change or a wake, decide, commit; while this manager leads."""

from __future__ import annotations

import asyncio
import logging

from shoal.kit.clock import Clock
from shoal.kit.ids import Ids
from shoal.kit.tasks import Bell, background
from shoal.manager.apply import apply
from shoal.manager.brain import Brain
from shoal.model.errors import Conflict, OutOfSequence, ShoalError
from shoal.store.base import Fence, Store, Subscription

log = logging.getLogger(__name__)

DEBOUNCE = 0.01
"""Seconds that changes are gathered for before a decision."""
RETRY = 0.05
"""Seconds to wait at most for the change that made a commit fail."""
NO_QUORUM = 0.5
"""Seconds between two tries while the store cannot write."""


async def decide_while_leading(store: Store, fence: Fence | None, clock: Clock, ids: Ids) -> None:
    """Orchestrate, allocate and schedule until cancelled. Raises NotLeader when `fence` no longer leads."""
    bell = Bell()
    with store.subscribe() as changes:
        brain = Brain(store.view, clock.now())
        async with background(_listen(changes, brain, store, bell)):
            while True:
                wait = await _once(store, fence, clock, ids, brain)
                await bell.wait(wait)
                await asyncio.sleep(DEBOUNCE)


async def _listen(changes: Subscription, brain: Brain, store: Store, bell: Bell) -> None:
    async for batch in changes:
        brain.hear(batch, store.view)
        bell.ring()


async def _once(store: Store, fence: Fence | None, clock: Clock, ids: Ids, brain: Brain) -> float | None:
    """Decide and commit; returns how long to wait for changes before deciding again (None: for ever)."""
    now = clock.now()
    decision = brain.decide(store.view, now, ids)
    if decision.writes:
        try:
            await apply(store, decision, fence)
        except (OutOfSequence, Conflict):
            brain.undo(decision, store.view)
            return RETRY
        except ShoalError as fault:
            log.warning("cannot write what was decided: %s", fault)
            brain.undo(decision, store.view)
            return NO_QUORUM
    if decision.wake is None:
        return None
    return max((decision.wake - clock.now()).total_seconds(), 0)
