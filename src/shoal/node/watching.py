"""What the leader does about its fellow managers: promote learners, tell who can be reached, forget who has left."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable

from grpclib.client import Channel
from msgspec.structs import replace

from shoal.model.errors import OutOfSequence, Unavailable
from shoal.model.objects import ManagerStatus, Node
from shoal.store.base import Fence, Put
from shoal.store.etcd import EtcdStore
from shoal.store.etcd_client import EtcdClient, EtcdError, Member
from shoal.store.view import View
from shoal.wire.grpc import TRANSPORT_ERRORS, channel
from shoal.wire.pb import shoal_pb2
from shoal.wire.pb.shoal_grpc import ManagersStub

logger = logging.getLogger(__name__)

PERIOD = 0.5
PROBE_TIMEOUT = 2.0
UNSTARTED = 30.0
"""Seconds that a learner may take until it runs; while it waits no other manager can join."""


class Watch:
    """The leader's watch over the managers; one per leadership."""

    def __init__(
        self, client: EtcdClient, store: EtcdStore, own: Callable[[], tuple[str, str]], context: ssl.SSLContext
    ) -> None:
        self._client = client
        self._store = store
        self._own = own
        self._context = context
        self._channels: dict[str, Channel] = {}
        self._seen: dict[int, float] = {}

    async def run(self, fence: Fence) -> None:
        """Look every half second, until cancelled. Raises NotLeader."""
        try:
            while True:
                try:
                    await self._look(fence)
                except (OutOfSequence, Unavailable, EtcdError) as fault:
                    logger.debug("managers not looked after: %s", fault)
                await asyncio.sleep(PERIOD)
        finally:
            for connection in self._channels.values():
                connection.close()

    async def _look(self, fence: Fence) -> None:
        # Who leads is told at once: what comes next waits for managers that may not answer.
        await self._store.commit([Put(node) for node in claims(self._store.view, self._own())], fence=fence)
        nodes = [node for node in self._store.view.all(Node) if node.manager_status is not None]
        members = await self._client.members()
        own = self._own()
        addrs = {node.manager_status.addr for node in nodes if node.manager_status and node.id != own[0]}
        answers = dict(zip(addrs, await asyncio.gather(*(self._answers(addr) for addr in addrs)), strict=True))
        await self._store.commit(
            [Put(node) for node in statuses(self._store.view, nodes, members, own, answers)], fence=fence
        )
        for addr in self._channels.keys() - addrs:
            self._channels.pop(addr).close()
        await self._learners(members)

    async def _answers(self, addr: str) -> bool:
        connection = self._channels.setdefault(addr, channel(addr, self._context))
        try:
            await ManagersStub(connection).GetLeader(shoal_pb2.GetLeaderRequest(), timeout=PROBE_TIMEOUT)
        except TRANSPORT_ERRORS:
            return False
        return True

    async def _learners(self, members: list[Member]) -> None:
        now = asyncio.get_running_loop().time()
        learners = [one for one in members if one.is_learner]
        self._seen = {one.id: self._seen.get(one.id, now) for one in learners}
        for learner in learners:
            if learner.started:
                try:
                    await self._client.promote(learner.id)
                    logger.info("manager %s has a vote now", learner.name)
                except EtcdError as fault:
                    logger.debug("learner %s not promoted yet: %s", learner.name, fault)
            elif now - self._seen[learner.id] > UNSTARTED:
                logger.warning("a manager that was to join never started: %s", learner.peer_urls)
                await self._client.remove(learner.id)


def claims(view: View, own: tuple[str, str]) -> list[Node]:
    """The nodes whose record is wrong about who leads, as they should be. `own` leads: its id and address."""
    changed = []
    for node in view.all(Node):
        status = node.manager_status
        if status is None:
            continue
        right = replace(status, leader=False)
        if node.id == own[0]:
            right = ManagerStatus(leader=True, reachability="reachable", addr=own[1])
        if right != status:
            changed.append(replace(node, manager_status=right))
    return changed


def statuses(
    view: View, nodes: list[Node], members: list[Member], own: tuple[str, str], answers: dict[str, bool]
) -> list[Node]:
    """The nodes whose manager status is not as it should be, as they should be. `own` leads: its id and address.

    `nodes` are managers as they were before `members` was read, so a node whose member is missing has left.
    """
    present = {one.id for one in members} | {one.name for one in members}
    changed = []
    for before in nodes:
        node = view.get(Node, before.id)
        if node is None or node.manager_status is None:
            continue
        if (node.manager_status, node.member_id) != (before.manager_status, before.member_id):
            continue
        status: ManagerStatus | None
        if node.id == own[0]:
            status = ManagerStatus(leader=True, reachability="reachable", addr=own[1])
        elif node.id not in present and node.member_id not in present:
            status = None
        else:
            reachable = answers.get(node.manager_status.addr, False)
            status = replace(
                node.manager_status, leader=False, reachability="reachable" if reachable else "unreachable"
            )
        if status != node.manager_status:
            changed.append(replace(node, manager_status=status, member_id=node.member_id if status is not None else 0))
    return changed
