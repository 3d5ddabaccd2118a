"""A manager that leaves tells the others, also while they have no leader."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from shoal.kit.virtual import run_virtual
from shoal.model.errors import NO_LEADER, Unavailable
from shoal.model.objects import ManagerStatus, Node
from shoal.model.swarm_spec import NodeSpec
from shoal.node.departure import PATIENCE, say_goodbye
from shoal.store.base import Fence, Put, Write
from shoal.store.memory import MemoryStore

SELF = Node(id="me", spec=NodeSpec(role="manager"), role="manager", member_id=7, manager_status=ManagerStatus())


class Leaderless(MemoryStore):
    """Loses the first writes as etcd does between two leaders: one is refused, one waits long, one was made after all."""

    def __init__(self) -> None:
        super().__init__()
        self.fates = ["refused", "lost", "made"]

    async def commit(self, writes: Sequence[Write], *, fence: Fence | None = None) -> int:
        fate = self.fates.pop(0) if self.fates and self.view.all(Node) else ""
        if fate == "refused":
            raise Unavailable(NO_LEADER)
        if fate == "lost":
            await asyncio.sleep(3600)
        done = await super().commit(writes, fence=fence)
        if fate == "made":
            raise Unavailable(NO_LEADER)
        return done


class Members:
    """The etcd members, and who left."""

    def __init__(self) -> None:
        self.left: list[str] = []

    async def members(self) -> list[str]:
        return ["me", "other"]

    async def leave(self, node_id: str) -> None:
        self.left.append(node_id)


def test_a_goodbye_outlasts_an_election() -> None:
    """Refused and lost writes are tried again, one that was made all the same is not; then the vote is given up."""

    async def go() -> None:
        store, members = Leaderless(), Members()
        kept: list[Node | None] = []
        await store.commit([Put(SELF)])
        life: Any = SimpleNamespace(
            manager=SimpleNamespace(
                store=store, local=SimpleNamespace(node_id="me"), client=members, membership=members
            ),
            local=SimpleNamespace(node_id="me"),
            keep_role=lambda: kept.append(store.view.get(Node, "me")),
        )
        start = asyncio.get_running_loop().time()
        await say_goodbye(life)
        node = store.view.get(Node, "me")
        assert node is not None
        assert (node.spec.role, node.role, node.member_id, node.manager_status) == ("worker", "worker", 0, None)
        assert (members.left, store.fates) == (["me"], [])
        assert [one.role for one in kept if one] == ["manager"], "it was told its new role before it knew what for"
        assert asyncio.get_running_loop().time() - start < PATIENCE

    run_virtual(go())
