"""Promotion and demotion: the role that nodes have follows the role that they should have (as SwarmKit's role manager).

A promoted node gets its role at once; the certificate follows from it. A demoted one first leaves the store's members,
and only then loses the role. What cannot be done yet (a quorum would be lost) is tried again.
"""

from __future__ import annotations

import logging

from msgspec.structs import replace

from shoal.kit.tasks import Bell, background
from shoal.manager.membership import Membership
from shoal.model.base import Struct
from shoal.model.errors import OutOfSequence, ShoalError
from shoal.model.objects import Node
from shoal.store.base import Fence, Put, Store, Subscription
from shoal.store.view import View

log = logging.getLogger(__name__)

RETRY = 5.0
"""Seconds until a role that could not be changed is tried again."""


class SetRole(Struct, frozen=True):
    """Write the role that `node` has now."""

    node: Node
    role: str
    because: str


class LeaveStore(Struct, frozen=True):
    """Remove the store's member that runs on `node`; the role follows when it is gone."""

    node: Node
    because: str


RoleChange = SetRole | LeaveStore


def decide_roles(view: View) -> list[RoleChange]:
    """What must happen for every node to have the role it should have."""
    changes: list[RoleChange] = []
    for node in view.all(Node):
        if node.spec.role == node.role:
            continue
        if node.spec.role == "manager":
            changes.append(SetRole(node=node, role="manager", because="it was promoted"))
        elif node.member_id or node.manager_status is not None:
            changes.append(LeaveStore(node=node, because="it was demoted"))
        else:
            changes.append(SetRole(node=node, role="worker", because="it was demoted and has left the store"))
    return changes


async def follow_roles(store: Store, fence: Fence | None, membership: Membership) -> None:
    """Promote and demote until cancelled; for the leader. Raises NotLeader when `fence` no longer leads."""
    bell = Bell()
    with store.subscribe() as changes:
        async with background(_listen(changes, bell)):
            while True:
                settled = True
                for change in decide_roles(store.view):
                    settled &= await _do(change, store, fence, membership)
                await bell.wait(None if settled else RETRY)


async def _listen(changes: Subscription, bell: Bell) -> None:
    async for batch in changes:
        if any(isinstance(changed.thing, Node) for changed in batch):
            bell.ring()


async def _do(change: RoleChange, store: Store, fence: Fence | None, membership: Membership) -> bool:
    """Do one change; False when it must be tried again."""
    node = change.node
    try:
        if isinstance(change, LeaveStore):
            await membership.leave(node.id)
            gone = replace(node, role="worker", manager_status=None, member_id=0)
        else:
            gone = replace(node, role=change.role)
        await store.commit([Put(thing=gone)], fence=fence)
    except OutOfSequence:
        return False
    except ShoalError as fault:
        log.warning("node %s (%s): %s", node.id, change.because, fault)
        return False
    log.info("node %s has role %s now: %s", node.id, gone.role, change.because)
    return True
