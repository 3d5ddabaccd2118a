"""What runs while this node is a manager: etcd, the store, the node protocol's port, and the loops while it leads."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from msgspec.structs import replace

from shoal.agent.remotes import Remote
from shoal.ca.files import KeyPair
from shoal.ca.issue import new_csr
from shoal.engine.process import in_thread
from shoal.kit.tasks import Bell, Group, background
from shoal.manager.control import Control
from shoal.manager.loop import decide_while_leading
from shoal.manager.roles import follow_roles
from shoal.manager.serving import NodeProtocol
from shoal.model.base import decode
from shoal.model.errors import OutOfSequence, ShoalError, Unavailable
from shoal.model.objects import ManagerStatus, Node
from shoal.node import discovery
from shoal.node.addresses import join_host
from shoal.node.founding import Founding
from shoal.node.joining import connected
from shoal.node.local import Local
from shoal.node.membership import EtcdMembership
from shoal.node.peers import PeersService, make_peer_certificate, renew_peer_certificate
from shoal.node.watching import Watch
from shoal.store.base import Put
from shoal.store.codec import StoreKeys
from shoal.store.etcd import EtcdStore, open_store
from shoal.store.etcd_client import EtcdClient
from shoal.store.etcd_process import EtcdOptions, run_etcd
from shoal.store.leadership import LeaderFence, Leadership
from shoal.store.upkeep import keep_room
from shoal.wire.grpc import TRANSPORT_ERRORS, from_grpc, isolated
from shoal.wire.pb import managers_pb2, shoal_pb2
from shoal.wire.pb.managers_grpc import PeersStub
from shoal.wire.pb.shoal_grpc import ManagersStub

logger = logging.getLogger(__name__)

JOIN_TIMEOUT = 30.0
UPKEEP = 3600.0
"""Seconds between two looks at the age of etcd's certificate."""


class ManagerSide:
    """A running manager. Made by `run_manager`."""

    def __init__(self, local: Local, client: EtcdClient, store: EtcdStore, keys: StoreKeys) -> None:
        self.local = local
        self.client = client
        self.store = store
        self.membership = EtcdMembership(client, store, keys)
        self.protocol = NodeProtocol(
            store,
            local.clock,
            local.ids,
            local.rng,
            own=lambda: local.own,
            membership=self.membership,
            others=[PeersService(store, local.clock)],
        )
        self.leadership = Leadership(client, store, local.node_id)
        self.control = Control(store, local.clock, local.ids)
        self.look = Bell()
        """Rung when the machine's address has changed."""

    async def lead(self, fence: LeaderFence) -> None:
        """Everything that only the leader does."""
        watch = Watch(self.client, self.store, lambda: self.local.own, self.local.client_context)
        async with Group() as group:
            group.create_task(self.protocol.lead(fence))
            group.create_task(decide_while_leading(self.store, fence, self.local.clock, self.local.ids))
            group.create_task(follow_roles(self.store, fence, self.membership))
            group.create_task(watch.run(fence))
            if self.local.options.discovery_port:
                group.create_task(discovery.tell_the_missed(self.local, lambda: self.store.view))

    async def announce_address(self) -> None:
        """Make the store know this manager's present address; renew etcd's certificate when that is due."""
        own = self.local.node_id
        while (node := self.store.view.get(Node, own)) is not None and node.manager_status is not None:
            if node.manager_status.addr == self.local.manager_addr:
                break
            status = replace(node.manager_status, addr=self.local.manager_addr)
            seen = replace(node.status, addr=self.local.addresses.advertise)
            try:
                await self.store.commit([Put(replace(node, manager_status=status, status=seen))])
            except OutOfSequence:
                continue
        if (cluster := self.store.view.cluster) is not None:
            await renew_peer_certificate(self.local, cluster)

    async def upkeep(self) -> None:
        """Keep address and certificate current, for ever."""
        while True:
            try:
                await self.announce_address()
                wait = UPKEEP
            except (ShoalError, OSError) as fault:
                logger.info("this manager's address is not announced yet: %s", fault)
                wait = 1.0
            await self.look.wait(wait)


@asynccontextmanager
async def run_manager(
    local: Local, founding: Founding | None = None, *, force_new_cluster: bool = False
) -> AsyncIterator[ManagerSide]:
    """Be a manager for the length of the scope: of a new swarm (`founding`), or of one that this node belongs to.

    A manager without data joins the store through another manager; one with data takes up where it was, and waits for
    a quorum as long as it takes. `MemberRemoved` comes out of the scope when the other managers remove this one.
    """
    state = local.state
    data = state.etcd / "data"
    # etcd's own criterion: what it makes before its log is nothing to take up, with that alone it founds a cluster.
    fresh = not any(data.glob("member/wal/*.wal"))
    if fresh:
        await in_thread(shutil.rmtree, data, ignore_errors=True)
    initial_cluster = ""
    if founding is not None:
        _prepare(local, founding)
    elif fresh:
        initial_cluster = await join_store(local)
    state.peer_certificates.load()  # finishes a renewal that was cut short
    local.write_names()
    keys = state.load_keys()
    if keys is None:
        raise ShoalError("the key of the swarm's store is missing")
    options = EtcdOptions(
        name=local.node_id,
        directory=state.etcd,
        certificates=state.peer_certificates,
        listen_url=f"https://{join_host(local.addresses.listen, local.options.peer_port)}",
        peer_url=local.peer_url,
        cluster_token=local.identity.cluster_id,
        initial_cluster=initial_cluster,
        force_new_cluster=force_new_cluster,
        hasty=local.options.hasty,
    )
    async with (
        run_etcd(options, JOIN_TIMEOUT if fresh else None) as (_, client),
        open_store(client, keys, local.clock) as store,
    ):
        if founding is not None:
            member_id = (await client.status()).member_id
            first = replace(founding.node, member_id=member_id)
            await store.commit([Put(thing) for thing in (first, *founding.others)])
        elif force_new_cluster:
            await _be_the_only_manager(local, store, (await client.status()).member_id)
        side = ManagerSide(local, client, store, keys)
        addresses = local.addresses
        await side.protocol.start(addresses.listen, addresses.port, local.server_context)
        try:
            async with background(side.leadership.run(side.lead), side.upkeep(), keep_room(client, store.view)):
                yield side
        finally:
            await side.protocol.close()


def _prepare(local: Local, founding: Founding) -> None:
    local.state.save_keys(founding.keys)
    pair = make_peer_certificate(founding.cluster, local.node_id, local.clock)
    local.state.peer_certificates.save_root(founding.cluster.root_ca.certificate)
    local.state.peer_certificates.save(pair)


async def join_store(local: Local) -> str:
    """Become a member of the store through another manager; returns etcd's initial cluster. Raises ShoalError."""
    failure: ShoalError = Unavailable("no other manager is known")
    for addr in local.other_managers():
        async with connected(addr, local.client_context) as link:
            try:
                key, csr = await asyncio.to_thread(new_csr)
                request = managers_pb2.IssuePeerCertificateRequest(csr=csr)
                issued = await isolated(PeersStub(link).IssuePeerCertificate(request, timeout=5))
                hello = shoal_pb2.JoinManagerRequest(
                    node_id=local.node_id, peer_url=local.peer_url, manager_addr=local.manager_addr
                )
                answer = await isolated(ManagersStub(link).JoinManager(hello, timeout=JOIN_TIMEOUT))
            except TRANSPORT_ERRORS as fault:
                failure = from_grpc(fault)
                continue
        root = local.state.certificates.load_root()
        assert root is not None
        local.state.peer_certificates.save_root(root)
        local.state.peer_certificates.save(KeyPair(issued.certificate, key))
        local.state.save_keys(decode(answer.store_key, StoreKeys))
        local.remotes.replace([Remote(node_id=id, addr=addr) for id, addr in answer.managers.items()])
        return str(answer.initial_cluster)
    raise failure


async def _be_the_only_manager(local: Local, store: EtcdStore, member_id: int) -> None:
    """After `--force-new-cluster`: the other managers are members no more."""
    changes: list[Node] = []
    for node in store.view.all(Node):
        if node.id == local.node_id:
            status = ManagerStatus(leader=True, reachability="reachable", addr=local.manager_addr)
            changes.append(replace(node, manager_status=status, member_id=member_id, role="manager"))
        elif node.manager_status is not None or node.member_id:
            changes.append(replace(node, manager_status=None, member_id=0))
    await store.commit([Put(node) for node in changes])
