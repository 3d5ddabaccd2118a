"""The replicated store: a view that follows etcd, and commits that are etcd transactions.

The view is loaded in pages that are all read at one revision, then a watch from there on keeps it current. When the
watch breaks it is taken up where it ended; when etcd has forgotten that far back (compaction), everything is read
again and only the differences are published.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractContextManager, aclosing, asynccontextmanager

from shoal.kit.backoff import backoff
from shoal.kit.clock import Clock
from shoal.kit.tasks import background
from shoal.model.errors import NO_LEADER, ShoalError, Unavailable
from shoal.model.objects import StoreObject
from shoal.store.base import Fence, NotLeader, Write
from shoal.store.codec import LEADER_KEY, WATCHED, Codec, StoreKeys, parse_object_key
from shoal.store.etcd_client import TIMEOUT, EtcdClient, EtcdError
from shoal.store.feed import Feed, QueueSubscription
from shoal.store.transaction import build
from shoal.store.view import KINDS, Changed, View
from shoal.wire.grpc import isolated
from shoal.wire.pb import etcd_kv_pb2 as kv_pb
from shoal.wire.pb import etcd_rpc_pb2 as pb

logger = logging.getLogger(__name__)

PAGE = 2000


class EtcdStore:
    """`base.Store` over one etcd member. Made by `open_store`."""

    def __init__(self, client: EtcdClient, keys: StoreKeys, clock: Clock) -> None:
        self.view = View()
        self.leader = ""
        """The id of the node that leads, as far as this manager has heard; empty before the first."""
        self.leader_token = 0
        """The fence token of that leadership."""
        self.following = False
        """Whether what is written arrives here: it does not while this manager's etcd has no leader."""
        self._client = client
        self._codec = Codec(keys)
        self._clock = clock
        self._feed = Feed()
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []

    async def commit(self, writes: Sequence[Write], *, fence: Fence | None = None) -> int:
        """See `base.Store.commit`."""
        if fence is not None and fence.token < self.leader_token:
            raise NotLeader
        if not writes:
            return self.view.revision
        transaction = build(self.view, writes, self._codec, self._clock.now(), fence)
        try:
            response = await self._client.txn(transaction.request)
        except EtcdError as fault:
            raise ShoalError(f"the swarm's store refused to write: {fault}") from fault
        if not response.succeeded:
            raise transaction.refusal(response)
        try:
            async with asyncio.timeout(TIMEOUT):
                await self.reached(response.header.revision)
        except TimeoutError as fault:
            raise Unavailable(NO_LEADER) from fault
        return int(response.header.revision)

    def subscribe(self) -> AbstractContextManager[QueueSubscription]:
        """See `base.Store.subscribe`."""
        return self._feed.subscribe()

    async def reached(self, revision: int) -> None:
        """Wait until the view is at `revision` or newer."""
        if self.view.revision >= revision:
            return
        waiter = (revision, asyncio.get_running_loop().create_future())
        self._waiters.append(waiter)
        try:
            await waiter[1]
        finally:
            self._waiters.remove(waiter)

    async def lead(self, node_id: str) -> int:
        """Note in the store that `node_id` leads; returns the fence token. Only `Leadership` calls this.

        Every fence that was given out before is stale afterwards. Raises NotLeader when another was quicker.
        """
        found = await self._client.range(pb.RangeRequest(key=LEADER_KEY, keys_only=True))
        before = found.kvs[0].mod_revision if found.kvs else 0
        request = pb.TxnRequest()
        request.compare.add(target=pb.Compare.MOD, key=LEADER_KEY, mod_revision=before)
        put = request.success.add().request_put
        put.key, put.value = LEADER_KEY, self._codec.seal(LEADER_KEY, node_id.encode())
        response = await self._client.txn(request)
        if not response.succeeded:
            raise NotLeader
        await self.reached(response.header.revision)
        return int(response.header.revision)

    # Following etcd.

    async def load(self) -> None:
        """Read everything, at one revision, and bring the view to it; publishes what differs."""
        things: dict[tuple[type[StoreObject], str], kv_pb.KeyValue] = {}
        leader: kv_pb.KeyValue | None = None
        start, end = WATCHED
        revision, more = 0, True
        while more:
            request = pb.RangeRequest(key=start, range_end=end, limit=PAGE, revision=revision)
            page = await self._client.range(request)
            revision = revision or page.header.revision
            for kv in page.kvs:
                if kv.key == LEADER_KEY:
                    leader = kv
                else:
                    things[parse_object_key(kv.key)] = kv
            more = page.more
            if page.kvs:
                start = page.kvs[-1].key + b"\0"
        changes = []
        for count, kv in enumerate(self._newer(things)):
            changes.append(self._codec.decode(kv.key, kv.value, kv.mod_revision))
            if count % 500 == 499:  # let others run now and then
                await asyncio.sleep(0)
        if leader is not None:
            self._heard_of_leader(leader)
        batch = [self.view.put(thing) for thing in changes]
        for kind in KINDS.values():
            gone = [thing.id for thing in self.view.all(kind) if (kind, thing.id) not in things]
            batch += [self.view.remove(kind, id) for id in gone]
        self._advance(revision, batch)

    def _newer(self, things: dict[tuple[type[StoreObject], str], kv_pb.KeyValue]) -> list[kv_pb.KeyValue]:
        """Those that the view does not have at their revision."""
        newer = []
        for (kind, id), kv in things.items():
            known: StoreObject | None = self.view.get(kind, id)
            if known is None or known.version.index != kv.mod_revision:
                newer.append(kv)
        return newer

    async def follow(self) -> None:
        """Keep the view current, for ever."""
        waits = backoff(0.02, 0.25)
        while True:
            known = self.view.revision
            try:
                await isolated(self._watch())
            except (ShoalError, EtcdError) as fault:
                logger.debug("the store's watch broke: %s", fault)
            self.following = False
            if self.view.revision > known:
                waits = backoff(0.02, 0.25)
            await asyncio.sleep(next(waits))

    async def _watch(self) -> None:
        """Apply what one watch brings, until it ends."""
        # From the last known revision, not the next: a compaction at exactly the first watched revision would silently
        # drop the deletions in it (etcd 3.4); this way it is reported.
        async with aclosing(self._client.watch(*WATCHED, self.view.revision)) as responses:
            async for response in responses:
                self.following = True
                if response.compact_revision:
                    logger.info("the store's watch fell behind: reading everything again")
                    await self.load()
                    return
                if response.canceled:
                    return
                self._apply(response)

    def _apply(self, response: pb.WatchResponse) -> None:
        batch: list[Changed] = []
        known = revision = self.view.revision
        for event in response.events:
            kv = event.kv
            if kv.mod_revision <= known:
                continue
            revision = max(revision, kv.mod_revision)
            if kv.key == LEADER_KEY:
                self._heard_of_leader(kv)
            elif event.type == kv_pb.Event.DELETE:
                batch.append(self.view.remove(*parse_object_key(kv.key)))
            else:
                batch.append(self.view.put(self._codec.decode(kv.key, kv.value, kv.mod_revision)))
        self._advance(revision, batch)

    def _heard_of_leader(self, kv: kv_pb.KeyValue) -> None:
        self.leader = self._codec.unseal(kv.key, kv.value).decode()
        self.leader_token = kv.mod_revision

    def _advance(self, revision: int, batch: list[Changed]) -> None:
        self.view.revision = revision
        if batch:
            self._feed.publish(batch)
        for wanted, waiter in self._waiters:
            if wanted <= revision and not waiter.done():
                waiter.set_result(None)


@asynccontextmanager
async def open_store(client: EtcdClient, keys: StoreKeys, clock: Clock) -> AsyncIterator[EtcdStore]:
    """A store whose view is loaded and followed while the scope lasts. Waits, if need be, until there is a quorum."""
    store = EtcdStore(client, keys, clock)
    for wait in backoff(0.02, 0.5):
        try:
            await store.load()
            break
        except (ShoalError, EtcdError) as fault:
            logger.debug("the store cannot be read yet: %s", fault)
            await asyncio.sleep(wait)
    async with background(store.follow()):
        yield store
