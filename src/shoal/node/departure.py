"""Leaving a swarm: docker's warnings to managers, telling the others, and clearing up."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from msgspec.structs import replace

from shoal.kit.backoff import backoff
from shoal.model.errors import OutOfSequence, ShoalError, Unavailable
from shoal.model.objects import Node
from shoal.node.life import Life
from shoal.node.manager_side import ManagerSide
from shoal.store.base import Put
from shoal.store.etcd_client import EtcdError
from shoal.store.view import View

logger = logging.getLogger(__name__)

PATIENCE = 20.0
"""Seconds that telling the other managers may take; then it leaves all the same."""
ATTEMPT = 2.0
"""Seconds for one write: what is proposed while leaders change can get lost, and etcd waits seven for it."""
CLEARING = 60.0
"""Seconds that each part of clearing up may take."""

_MANAGER = "You are attempting to leave the swarm on a node that is participating as a manager. "
_LAST = "Removing the last manager erases all current state of the swarm. Use `--force` to ignore this message. "
_RESTORE = (
    "The only way to restore a swarm that has lost consensus is to reinitialize it with `--force-new-cluster`. Use "
    "`--force` to suppress this message."
)


def check(life: Life) -> None:
    """Raises Unavailable, in docker's words, when this is a manager: that needs `--force`."""
    if not life.local.identity.is_manager:
        return
    raise Unavailable(_MANAGER + warning(life.manager.store.view if life.manager else None))


def warning(view: View | None) -> str:
    """What leaving would do to a swarm whose managers are as `view` (None: unknown) says."""
    if view is not None:
        statuses = [node.manager_status for node in view.all(Node) if node.manager_status is not None]
        reachable = sum(status.reachability == "reachable" for status in statuses)
        unreachable = len(statuses) - reachable
        if reachable == 1 and unreachable == 0:
            return _LAST
        if reachable - 2 <= unreachable:
            return (
                f"Removing this node leaves {reachable - 1} managers out of {len(statuses)}. Without a Raft quorum "
                "your swarm will be inaccessible. " + _RESTORE
            )
    return "Doing so may lose the consensus of your cluster. " + _RESTORE


async def say_goodbye(life: Life) -> None:
    """A manager that leaves gives up its vote, so that the others need not wait for it; as far as that is possible."""
    side = life.manager
    if side is None:
        return
    try:
        async with asyncio.timeout(PATIENCE):
            if len(await side.client.members()) > 1:
                life.keep_role()
                await _resign(side)
                await side.membership.leave(life.local.node_id)
    except Exception as fault:
        known = isinstance(fault, ShoalError | EtcdError | TimeoutError)
        logger.warning(
            "the other managers could not be told that this one leaves: %s", fault, exc_info=None if known else fault
        )


async def _resign(side: ManagerSide) -> None:
    """This node is to be a worker (which is about to be down), so that it can be removed without a demotion."""
    for wait in backoff(0.02, 0.5):
        node = side.store.view.get(Node, side.local.node_id)
        if node is None:
            return
        resigned = replace(
            node, spec=replace(node.spec, role="worker"), role="worker", manager_status=None, member_id=0
        )
        if node == resigned:
            return
        try:
            async with asyncio.timeout(ATTEMPT):
                await side.store.commit([Put(resigned)])
            return
        except (OutOfSequence, Unavailable, TimeoutError):
            await asyncio.sleep(wait)


async def clear(*parts: Callable[[], Awaitable[None]]) -> None:
    """Remove what the swarm ran here. As with docker, what cannot be removed does not keep a node in its swarm."""
    for part in parts:
        try:
            async with asyncio.timeout(CLEARING):
                await part()
        except Exception:
            logger.exception("not everything that the swarm ran here could be removed")
