"""How a manager becomes a member of the store and ceases to be one: the service; `node` does the work behind it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

from shoal.manager.callers import authorize
from shoal.model.errors import PermissionDenied
from shoal.store.base import Store
from shoal.wire.grpc import rpc
from shoal.wire.pb import shoal_pb2
from shoal.wire.pb.shoal_grpc import ManagersBase


@dataclass(frozen=True)
class Admission:
    """What a new member of the store needs to start; see JoinManagerResponse."""

    store_key_id: int
    store_key: bytes = field(repr=False)
    member_id: int = 0
    member_name: str = ""
    initial_cluster: str = ""
    managers: dict[str, str] = field(default_factory=dict)


class Membership(Protocol):
    """The store's members, as the service needs them."""

    async def join(self, node_id: str, peer_url: str, manager_addr: str) -> Admission:
        """Add a learner for this node, or find the member it has already. Raises Unavailable without a quorum."""
        ...

    async def leave(self, node_id: str) -> None:
        """Remove the member of this node; none is fine. Raises FailedPrecondition when a quorum would be lost."""
        ...

    async def leader(self) -> tuple[str, str]:
        """Node id and address of the leader, empty when there is none."""
        ...


class ManagersService(ManagersBase):
    """`shoal.v1.Managers`, for holders of a manager's certificate."""

    def __init__(self, store: Store, membership: Membership) -> None:
        self._store = store
        self._membership = membership

    @rpc
    async def JoinManager(self, stream: Any) -> None:
        """See the proto."""
        request = await stream.recv_message()
        node_id = self._own(stream, request.node_id)
        admission = await self._membership.join(node_id, request.peer_url, request.manager_addr)
        await stream.send_message(
            shoal_pb2.JoinManagerResponse(
                store_key_id=admission.store_key_id,
                store_key=admission.store_key,
                member_id=admission.member_id,
                member_name=admission.member_name,
                initial_cluster=admission.initial_cluster,
                managers=admission.managers,
            )
        )

    @rpc
    async def LeaveManager(self, stream: Any) -> None:
        """See the proto."""
        request = await stream.recv_message()
        await self._membership.leave(self._own(stream, request.node_id))
        await stream.send_message(shoal_pb2.LeaveManagerResponse())

    @rpc
    async def GetLeader(self, stream: Any) -> None:
        """See the proto."""
        await stream.recv_message()
        authorize(stream, self._store.view)
        node_id, addr = await self._membership.leader()
        await stream.send_message(shoal_pb2.GetLeaderResponse(node_id=node_id, addr=addr))

    def _own(self, stream: Any, node_id: str) -> str:
        caller = authorize(stream, self._store.view, "manager")
        if node_id and node_id != caller.node_id:
            raise PermissionDenied("a manager joins and leaves for itself only")
        return caller.node_id
