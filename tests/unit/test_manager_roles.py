"""Promotion and demotion."""

from __future__ import annotations

from shoal.kit.tasks import background
from shoal.kit.virtual import run_virtual
from shoal.manager.membership import Admission
from shoal.manager.roles import LeaveStore, SetRole, decide_roles, follow_roles
from shoal.model.errors import FailedPrecondition
from shoal.model.objects import ManagerStatus, Node
from shoal.model.swarm_spec import NodeSpec
from shoal.store.base import Put
from shoal.store.memory import MemoryStore
from shoal.store.view import View
from tests.cluster.fakeswarm import node


def test_a_role_follows_what_is_asked_and_a_member_leaves_first() -> None:
    """Promotion is immediate; a demoted member first leaves the store."""
    member = ManagerStatus(reachability="reachable")
    promoted = node("a", spec=NodeSpec(role="manager"))
    demoted = node("b", role="manager", manager_status=member, member_id=7)
    gone = node("c", role="manager")
    view = View([promoted, demoted, gone, node("d")])
    assert decide_roles(view) == [
        SetRole(node=promoted, role="manager", because="it was promoted"),
        LeaveStore(node=demoted, because="it was demoted"),
        SetRole(node=gone, role="worker", because="it was demoted and has left the store"),
    ]


class Members:
    """Members of a store that refuses the first removal."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def join(self, node_id: str, peer_url: str, manager_addr: str) -> Admission:
        raise AssertionError

    async def leave(self, node_id: str) -> None:
        self.asked.append(node_id)
        if len(self.asked) == 1:
            raise FailedPrecondition("can't remove member from the raft: this would result in a loss of quorum")

    async def leader(self) -> tuple[str, str]:
        return "", ""


def test_a_demotion_that_cannot_be_done_yet_is_tried_again() -> None:
    """Every five seconds, until the member is gone; then the node is a worker without a manager's status."""

    async def story() -> None:
        store, members = MemoryStore(), Members()
        await store.commit([Put(thing=node("b", role="manager", manager_status=ManagerStatus(), member_id=7))])
        with store.subscribe() as changes:
            async with background(follow_roles(store, None, members)):
                await anext(changes)
        found = store.view.get(Node, "b")
        assert found is not None
        assert (found.role, found.member_id, found.manager_status) == ("worker", 0, None)
        assert members.asked == ["b", "b"]

    run_virtual(story())
