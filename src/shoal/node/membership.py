"""A manager's membership in the replicated store: joining as a learner, leaving without losing the quorum."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from msgspec.structs import replace

from shoal.kit.backoff import backoff
from shoal.manager.membership import Admission
from shoal.model.base import encode
from shoal.model.errors import FailedPrecondition, NotFound, OutOfSequence, PermissionDenied, ShoalError, Unavailable
from shoal.model.objects import ManagerStatus, Node
from shoal.store.base import Put
from shoal.store.codec import StoreKeys
from shoal.store.etcd import EtcdStore
from shoal.store.etcd_client import EtcdClient, EtcdError, Member

logger = logging.getLogger(__name__)

T = TypeVar("T")

PATIENCE = 15.0
"""Seconds for which a change of members is tried again: etcd refuses while another is under way or settling."""

LAST_MANAGER = "attempting to demote the last manager of the swarm"
LOSS_OF_QUORUM = "can't remove member from the raft: this would result in a loss of quorum"


class EtcdMembership:
    """`manager.membership.Membership` over this manager's etcd member."""

    def __init__(self, client: EtcdClient, store: EtcdStore, keys: StoreKeys) -> None:
        self._client = client
        self._store = store
        self._keys = keys

    async def join(self, node_id: str, peer_url: str, manager_addr: str) -> Admission:
        """See the protocol. A member that this node had before is replaced: it asks because its data is gone."""
        if self._store.view.get(Node, node_id) is None:
            raise NotFound(f"node {node_id} not found")
        member = await patiently(lambda: self._admit(node_id, peer_url))
        await self._record(node_id, member, manager_addr)
        started = [one for one in await self._client.members() if one.started and one.id != member.id]
        cluster = [f"{one.name}={one.peer_urls[0]}" for one in started] + [f"{node_id}={peer_url}"]
        return Admission(
            store_key_id=self._keys.current,
            store_key=encode(self._keys),
            member_id=member.id,
            member_name=node_id,
            initial_cluster=",".join(cluster),
            managers=self._addresses(),
        )

    def _addresses(self) -> dict[str, str]:
        return {node.id: node.manager_status.addr for node in self._store.view.all(Node) if node.manager_status}

    async def _admit(self, node_id: str, peer_url: str) -> Member:
        for member in await self._client.members():
            if not member.started and member.peer_urls == (peer_url,):
                return member
            if member.name == node_id or peer_url in member.peer_urls:
                await self._client.remove(member.id)
        return await self._client.add_learner(peer_url)

    async def _record(self, node_id: str, member: Member, manager_addr: str) -> None:
        while True:
            node = self._store.view.get(Node, node_id)
            if node is None:
                raise NotFound(f"node {node_id} not found")
            if node.spec.role != "manager":
                raise PermissionDenied(f"node {node_id} is not to be a manager")
            status = ManagerStatus(addr=manager_addr, reachability="reachable")
            try:
                await self._store.commit([Put(replace(node, manager_status=status, member_id=member.id))])
                return
            except OutOfSequence:
                continue

    async def leave(self, node_id: str) -> None:
        """See the protocol. Leadership is handed on first when it is this very member that leaves."""
        node = self._store.view.get(Node, node_id)
        members = await self._client.members()
        leaving = next((one for one in members if one.name == node_id or (node and one.id == node.member_id)), None)
        if leaving is None:
            return
        voters = [one for one in members if not one.is_learner]
        if not leaving.is_learner:
            self._check_quorum(leaving, voters)
            status = await self._client.status()
            if status.leads and status.member_id == leaving.id:
                await self._hand_over(leaving, voters)
        await patiently(lambda: self._remove(leaving.id))

    async def _remove(self, member_id: int) -> None:
        """Remove a member, unless an earlier try that seemed to fail did it."""
        if any(one.id == member_id for one in await self._client.members()):
            await self._client.remove(member_id)

    def _check_quorum(self, leaving: Member, voters: list[Member]) -> None:
        others = [one for one in voters if one.id != leaving.id]
        if not others:
            raise FailedPrecondition(LAST_MANAGER)
        if sum(self._reachable(one) for one in others) < (len(voters) - 1) // 2 + 1:
            raise FailedPrecondition(LOSS_OF_QUORUM)

    def _reachable(self, member: Member) -> bool:
        node = self._store.view.get(Node, member.name)
        return node is None or node.manager_status is None or node.manager_status.reachability != "unreachable"

    async def _hand_over(self, leaving: Member, voters: list[Member]) -> None:
        for other in voters:
            if other.id != leaving.id and self._reachable(other):
                try:
                    await self._client.move_leader(other.id)
                    return
                except (EtcdError, Unavailable) as fault:
                    logger.info("leadership not handed to %s: %s", other.name, fault)

    async def leader(self) -> tuple[str, str]:
        """See the protocol."""
        node = self._store.view.get(Node, self._store.leader)
        return (node.id, node.manager_status.addr) if node and node.manager_status else ("", "")


async def patiently(call: Callable[[], Awaitable[T]]) -> T:
    """Repeat a change of members while etcd refuses it, `PATIENCE` seconds at most. Raises Unavailable then.

    `call` may find that an earlier try was carried out after all: etcd's answer can get lost.
    """
    deadline = asyncio.get_running_loop().time() + PATIENCE
    for wait in backoff(0.1, 1.0):
        try:
            return await call()
        except (EtcdError, Unavailable) as fault:
            if asyncio.get_running_loop().time() + wait > deadline:
                raise Unavailable(f"the swarm's store did not accept the change of managers: {fault}") from fault
            await asyncio.sleep(wait)
    raise ShoalError("unreachable")
