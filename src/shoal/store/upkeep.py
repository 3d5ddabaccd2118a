"""Room in etcd: when its quota is full it refuses to grow until somebody has cleaned up and cleared the alarm."""

from __future__ import annotations

import asyncio
import logging

from shoal.model.errors import ShoalError
from shoal.store.etcd_client import EtcdClient, EtcdError
from shoal.store.view import View

logger = logging.getLogger(__name__)

PERIOD = 10.0


async def keep_room(client: EtcdClient, view: View) -> None:
    """Compact, defragment and disarm this member whenever it says that there is no space; until cancelled."""
    while True:
        await asyncio.sleep(PERIOD)
        try:
            status = await client.status()
            if any("NOSPACE" in error for error in status.errors):
                await make_room(client, view.revision)
        except (ShoalError, EtcdError) as fault:
            logger.warning("the swarm's store could not be cleaned up: %s", fault)


async def make_room(client: EtcdClient, revision: int) -> None:
    """Forget history before `revision`, give the space back to the file system, accept writes again."""
    logger.warning("the swarm's store is full: cleaning up")
    try:
        await client.compact(revision)
    except EtcdError as fault:  # another member did it already
        logger.debug("not compacted: %s", fault)
    await client.defragment()
    await client.disarm()
