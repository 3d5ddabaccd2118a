"""A commit as one etcd transaction, and the reason when etcd refuses it: pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from shoal.model.errors import OutOfSequence
from shoal.model.objects import StoreObject
from shoal.store.base import Delete, Fence, NotLeader, Write
from shoal.store.codec import LEADER_KEY, Codec, object_key
from shoal.store.view import View
from shoal.store.writes import check_versions, name_changes, name_conflict, stamped
from shoal.wire.pb import etcd_rpc_pb2 as pb


@dataclass(frozen=True)
class Transaction:
    """The request, and what its comparisons were about."""

    request: pb.TxnRequest
    fence: Fence | None
    names: dict[bytes, StoreObject]
    """Keys of the names that must be free, and who wants them."""

    def refusal(self, response: pb.TxnResponse) -> Exception:
        """Why it did not succeed, from the keys that its failure branch read."""
        found = {kv.key: kv.mod_revision for answer in response.responses for kv in answer.response_range.kvs}
        if self.fence is not None and found.get(LEADER_KEY) != self.fence.token:
            return NotLeader()
        for compare in self.request.compare:
            if compare.key not in self.names and found.get(compare.key, 0) != compare.mod_revision:
                return OutOfSequence()
        for key, thing in self.names.items():
            if key in found:
                return name_conflict(thing)
        return OutOfSequence()


def build(view: View, writes: Sequence[Write], codec: Codec, now: datetime, fence: Fence | None) -> Transaction:
    """The transaction for `writes`. Raises OutOfSequence or Conflict when the view already shows that it must fail."""
    check_versions(view, writes)
    names = name_changes(view, writes)
    request = pb.TxnRequest()
    if fence is not None:
        _unchanged(request, LEADER_KEY, fence.token)
    for write in writes:
        key = object_key(write.thing)
        _unchanged(request, key, write.thing.version.index)
        if isinstance(write, Delete):
            request.success.add().request_delete_range.key = key
        else:
            put = request.success.add().request_put
            put.key, put.value = key, codec.encode(stamped(write.thing, view, now))
    wanted = {}
    for name, thing in names.taken.items():
        key = _name_key(codec, thing)
        put = request.success.add().request_put
        put.key, put.value = key, codec.seal(key, thing.id.encode())
        if name not in names.released:
            wanted[key] = thing
            _unchanged(request, key, 0)
    for name, thing in names.released.items():
        if name not in names.taken:
            request.success.add().request_delete_range.key = _name_key(codec, thing)
    return Transaction(request, fence, wanted)


def _unchanged(request: pb.TxnRequest, key: bytes, revision: int) -> None:
    """Demand that `key` was last written at `revision` (0: does not exist); on failure, read it."""
    request.compare.add(target=pb.Compare.MOD, key=key, mod_revision=revision)
    request.failure.add().request_range.CopyFrom(pb.RangeRequest(key=key, keys_only=True))


def _name_key(codec: Codec, thing: StoreObject) -> bytes:
    key = codec.name_key(thing)
    assert key is not None
    return key
