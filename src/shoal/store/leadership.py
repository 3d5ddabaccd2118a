"""Leadership: the manager whose etcd member leads raft runs the loops.

Raft's leader is known from a local call that costs half a millisecond, so it is asked often. A manager that finds
itself leading overwrites `/leader`; the revision of that write is its fence: the store compares it in every
transaction of a loop, so a leader that was deposed without noticing can no longer write. (Measured against an etcd
lease: takeover in 1.5 s instead of 2 to 7 s, since a lease outlives its holder.)
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from shoal.kit.tasks import Group
from shoal.model.errors import ShoalError
from shoal.store.base import NotLeader
from shoal.store.etcd import EtcdStore
from shoal.store.etcd_client import EtcdClient, EtcdError

logger = logging.getLogger(__name__)

POLL = 0.1
"""Seconds between two looks of a manager that does not lead at who leads raft."""
LEADER_POLL = 0.3
"""Seconds between two looks of the leader: its fence keeps it from writing meanwhile."""


@dataclass(frozen=True)
class LeaderFence:
    """A `base.Fence`."""

    token: int


class _Lost(Exception):
    """Raft has another leader now."""


class Leadership:
    """This manager's part in the election."""

    def __init__(self, client: EtcdClient, store: EtcdStore, node_id: str) -> None:
        self._client = client
        self._store = store
        self._node_id = node_id
        self.leading = False
        """Whether the body of `run` is running."""

    async def run(self, body: Callable[[LeaderFence], Awaitable[None]]) -> None:
        """Run `body` whenever this manager leads, cancelled as soon as it does not; for ever.

        A body that ends is not started again before the next leadership; NotLeader out of it means that it was
        deposed, any other failure is passed on.
        """
        while True:
            fence = await self._acquire()
            logger.info("this manager leads")
            try:
                async with Group() as group:
                    self.leading = True
                    group.create_task(self._until_lost(fence))
                    group.create_task(_awaited(body(fence)))
            except* (NotLeader, _Lost):
                logger.info("this manager no longer leads")
            finally:
                self.leading = False

    async def _acquire(self) -> LeaderFence:
        while True:
            try:
                if await self._leads_raft():
                    return LeaderFence(await self._store.lead(self._node_id))
            except (ShoalError, EtcdError, NotLeader) as fault:
                logger.debug("leadership not taken: %s", fault)
            await asyncio.sleep(POLL)

    async def _until_lost(self, fence: LeaderFence) -> None:
        while await self._leads_raft() and self._store.leader_token == fence.token:  # noqa: ASYNC110 - no event
            await asyncio.sleep(LEADER_POLL)
        raise _Lost

    async def _leads_raft(self) -> bool:
        try:
            status = await self._client.status()
        except (ShoalError, EtcdError):
            return False
        return status.leads and not status.is_learner


async def _awaited(body: Awaitable[None]) -> None:
    await body
