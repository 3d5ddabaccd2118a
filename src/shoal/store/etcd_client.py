"""A thin client of one etcd member: grpclib stubs, deadlines, and failures as the store's own.

Raises Unavailable where etcd cannot answer now (no quorum, not running, deadline passed), `EtcdError` for the rest.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from grpclib.client import Channel
from grpclib.const import Status
from grpclib.exceptions import GRPCError, ProtocolError, StreamTerminatedError

from shoal.model.errors import NO_LEADER, Unavailable
from shoal.wire.grpc import isolated
from shoal.wire.pb import etcd_rpc_grpc as grpc
from shoal.wire.pb import etcd_rpc_pb2 as pb

T = TypeVar("T")

TIMEOUT = 10.0
"""Seconds for a call that needs a quorum; etcd itself gives up after 7."""
LOCAL_TIMEOUT = 2.0
"""Seconds for a call that the member answers alone."""

_PATH_LIMIT = 100
_PASSING = (Status.UNAVAILABLE, Status.DEADLINE_EXCEEDED, Status.CANCELLED)
_PASSING_WORDS = (
    "context deadline exceeded",
    "raft: stopped",
    "server stopped",
    "request timed out",
    "not supported for learner",
)
"""What etcd says, with an unspecific status, when it cannot answer now."""


class EtcdError(Exception):
    """etcd refused a call; the message is its own."""


@dataclass(frozen=True)
class Member:
    """A member of the etcd cluster."""

    id: int
    name: str
    peer_urls: tuple[str, ...]
    is_learner: bool

    @property
    def started(self) -> bool:
        """Whether it ever ran: only then does etcd know its name."""
        return bool(self.name)


@dataclass(frozen=True)
class MemberStatus:
    """What one member says of itself. `leader` is 0 while it knows none."""

    member_id: int
    leader: int
    is_learner: bool
    db_size: int
    errors: tuple[str, ...]
    version: str

    @property
    def leads(self) -> bool:
        """Whether this very member leads raft."""
        return self.leader == self.member_id


class EtcdClient:
    """Calls to the member that listens on a unix socket. Use as an async context manager."""

    def __init__(self, socket: Path) -> None:
        self._directory = -1
        path = str(socket)
        if len(path) > _PATH_LIMIT:  # a unix address holds 108 bytes: go through the directory's descriptor
            self._directory = os.open(socket.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            path = f"/proc/self/fd/{self._directory}/{socket.name}"
        self._channel = Channel(path=path)
        self._kv = grpc.KVStub(self._channel)
        self._watch = grpc.WatchStub(self._channel)
        self._cluster = grpc.ClusterStub(self._channel)
        self._maintenance = grpc.MaintenanceStub(self._channel)

    async def __aenter__(self) -> EtcdClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._channel.close()
        if self._directory >= 0:
            os.close(self._directory)

    # Keys and values.

    async def range(self, request: pb.RangeRequest) -> pb.RangeResponse:
        """Read keys."""
        return await _answer(self._kv.Range(request, timeout=TIMEOUT))

    async def txn(self, request: pb.TxnRequest) -> pb.TxnResponse:
        """Compare and write in one transaction. After Unavailable it may or may not have happened."""
        return await _answer(self._kv.Txn(request, timeout=TIMEOUT))

    async def watch(self, key: bytes, end: bytes, start: int) -> AsyncGenerator[pb.WatchResponse, None]:
        """Events of the keys in [key, end) from revision `start` on, until the member loses its leader (Unavailable).

        Close the generator (`contextlib.aclosing`) to end the watch.
        """
        create = pb.WatchCreateRequest(key=key, range_end=end, start_revision=start)
        async with _translated(), self._watch.Watch.open(metadata={"hasleader": "true"}) as stream:
            await stream.send_message(pb.WatchRequest(create_request=create))
            async for response in stream:
                yield response

    # Members.

    async def members(self) -> list[Member]:
        """All members, as this one knows them."""
        answer = await _answer(self._cluster.MemberList(pb.MemberListRequest(), timeout=LOCAL_TIMEOUT))
        return [_member(member) for member in answer.members]

    async def add_learner(self, peer_url: str) -> Member:
        """Admit a member that does not vote yet: a voter that never starts could block every write for good."""
        request = pb.MemberAddRequest(peerURLs=[peer_url], isLearner=True)
        answer = await _answer(self._cluster.MemberAdd(request, timeout=TIMEOUT))
        return _member(answer.member)

    async def promote(self, member_id: int) -> None:
        """Let a learner vote. Raises EtcdError while it is not in sync with the leader."""
        await _answer(self._cluster.MemberPromote(pb.MemberPromoteRequest(ID=member_id), timeout=TIMEOUT))

    async def remove(self, member_id: int) -> None:
        """Remove a member; its process exits 0."""
        await _answer(self._cluster.MemberRemove(pb.MemberRemoveRequest(ID=member_id), timeout=TIMEOUT))

    # Maintenance.

    async def status(self) -> MemberStatus:
        """This member's own state; needs no quorum."""
        answer = await _answer(self._maintenance.Status(pb.StatusRequest(), timeout=LOCAL_TIMEOUT))
        return MemberStatus(
            member_id=answer.header.member_id,
            leader=answer.leader,
            is_learner=answer.isLearner,
            db_size=answer.dbSize,
            errors=tuple(answer.errors),
            version=answer.version,
        )

    async def move_leader(self, member_id: int) -> None:
        """Hand raft's leadership to another member; only the leader can."""
        await _answer(self._maintenance.MoveLeader(pb.MoveLeaderRequest(targetID=member_id), timeout=TIMEOUT))

    async def compact(self, revision: int) -> None:
        """Forget history before `revision`."""
        await _answer(self._kv.Compact(pb.CompactionRequest(revision=revision, physical=True), timeout=TIMEOUT))

    async def defragment(self) -> None:
        """Give space freed by compaction back to the file system."""
        await _answer(self._maintenance.Defragment(pb.DefragmentRequest(), timeout=60))

    async def disarm(self) -> None:
        """Clear every alarm (a full quota stays an alarm until it is cleared)."""
        answer = await _answer(self._maintenance.Alarm(pb.AlarmRequest(), timeout=TIMEOUT))
        for alarm in answer.alarms:
            request = pb.AlarmRequest(action=pb.AlarmRequest.DEACTIVATE, memberID=alarm.memberID, alarm=alarm.alarm)
            await _answer(self._maintenance.Alarm(request, timeout=TIMEOUT))


def _member(member: pb.Member) -> Member:
    return Member(member.ID, member.name, tuple(member.peerURLs), member.isLearner)


async def _answer(call: Coroutine[Any, Any, T]) -> T:
    async with _translated():
        return await isolated(call)
    raise AssertionError


@asynccontextmanager
async def _translated() -> AsyncIterator[None]:
    """Failures of a call as Unavailable or EtcdError."""
    try:
        yield
    except GRPCError as fault:
        if fault.status in _PASSING or any(words in (fault.message or "") for words in _PASSING_WORDS):
            raise Unavailable(NO_LEADER) from fault
        raise EtcdError(fault.message or fault.status.name) from fault
    except (OSError, StreamTerminatedError, ProtocolError) as fault:
        raise Unavailable(NO_LEADER) from fault
