"""Certificates, logs and networks over the real node protocol, and who is refused."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from cryptography import x509
from grpclib import GRPCError, Status
from msgspec.structs import replace

from shoal.ca.identity import identity_of
from shoal.ca.issue import new_csr
from shoal.ca.root import digest
from shoal.ca.tls import client_context, joining_context, unverified_context
from shoal.ca.tokens import parse_token
from shoal.manager.dispatcher.service import MOST_WAIT
from shoal.model.errors import ShoalError
from shoal.model.netstate import EndpointRecord
from shoal.model.objects import Network, NetworkAddresses, NetworkAttachment, Node, Task
from shoal.model.service_logs import LogRequest, LogSelector
from shoal.model.states import TaskState
from shoal.model.swarm_spec import NetworkSpec
from shoal.store.base import Put
from shoal.wire.convert_logs import request_to_wire, selector_to_wire
from shoal.wire.grpc import channel
from shoal.wire.pb import swarmkit_pb2 as pb
from shoal.wire.pb.swarmkit_grpc import CAStub, DispatcherStub, LogsStub, NodeCAStub
from tests.cluster.protocol_world import FakeNetworks, World, world
from tests.waiting import until


async def test_joining_and_renewing(tmp_path: Path) -> None:
    """With a token a node gets a certificate of the token's role, with the CSR repeated in its status; with that
    certificate it gets another without a token."""
    async with world(tmp_path) as w:
        manager = await w.manager(lead=False)
        cluster = w.store.view.cluster
        assert cluster is not None
        async with channel(manager.address, unverified_context(), "") as first:
            root = (await CAStub(first).GetRootCACertificate(pb.GetRootCACertificateRequest())).certificate
        token = cluster.join_tokens.worker
        assert digest(root) == parse_token(token).digest
        _, csr = new_csr()
        async with channel(manager.address, joining_context(root), "swarm-ca") as second:
            issued = await NodeCAStub(second).IssueNodeCertificate(
                pb.IssueNodeCertificateRequest(csr=csr, token=token, availability="PAUSE")
            )
            status = await NodeCAStub(second).NodeCertificateStatus(
                pb.NodeCertificateStatusRequest(node_id=issued.node_id)
            )
            with pytest.raises(GRPCError) as refused:
                await NodeCAStub(second).IssueNodeCertificate(
                    pb.IssueNodeCertificateRequest(csr=csr, token=token[:-1] + "?")
                )
        assert refused.value.status is Status.INVALID_ARGUMENT
        assert refused.value.message == "A valid join token is necessary to join this cluster"
        assert status.status.state == pb.IssuanceStatus.ISSUED
        assert status.certificate.csr == csr
        who = identity_of(status.certificate.certificate)
        assert (who.node_id, who.role, who.cluster_id) == (issued.node_id, "worker", w.cluster_id)
        assert w.get_node(issued.node_id).spec.availability == "pause"
        files = w.certificates(issued.node_id, "worker")
        _, another = new_csr()
        async with channel(manager.address, client_context(files), "swarm-manager") as third:
            again = await NodeCAStub(third).IssueNodeCertificate(pb.IssueNodeCertificateRequest(csr=another))
        assert again.node_id == issued.node_id
        renewed = x509.load_pem_x509_certificate(w.get_node(issued.node_id).certificate.pem)
        assert renewed.public_key() == x509.load_pem_x509_csr(another).public_key()


async def test_who_is_refused(tmp_path: Path) -> None:
    """Followers say UNAVAILABLE, callers without a certificate are refused, and a worker may not read others' logs."""
    async with world(tmp_path) as w:
        leader, follower = await w.manager(), await w.manager(lead=False)
        _, context = await w.node()

        async def failure(address: str, tls: object, method: str) -> GRPCError:
            async with channel(address, tls, "swarm-manager") as to:  # type: ignore[arg-type]
                with pytest.raises(GRPCError) as refused:
                    if method == "beat":
                        await DispatcherStub(to).Heartbeat(pb.HeartbeatRequest(session_id="x"))
                    else:
                        await LogsStub(to).SubscribeLogs(pb.SubscribeLogsRequest())
            return refused.value

        assert (await failure(follower.address, context, "beat")).status is Status.UNAVAILABLE
        assert (await failure(leader.address, context, "beat")).status is Status.INVALID_ARGUMENT
        anonymous = joining_context(w.root.certificate)
        assert (await failure(leader.address, anonymous, "beat")).status is Status.PERMISSION_DENIED
        assert (await failure(leader.address, context, "logs")).status is Status.PERMISSION_DENIED


async def test_other_nodes_tasks(tmp_path: Path) -> None:
    """A node that reports the status of another node's task is refused, and nothing is written."""
    async with world(tmp_path) as w:
        manager = await w.manager()
        node_id, _, _ = await w.worker(manager)
        task_id = await w.assign(node_id)
        await w.reaches(task_id, TaskState.RUNNING)
        _, context = await w.node()
        async with channel(manager.address, context) as to:
            stub = DispatcherStub(to)
            async with stub.Session.open() as stream:
                await stream.send_message(pb.SessionRequest(description=pb.NodeDescription(hostname="x")), end=True)
                message = await stream.recv_message()
                assert message is not None
                assert [held.peer.addr for held in message.managers] == [manager.address]
                assert message.root_ca == w.root.certificate
                update = pb.UpdateTaskStatusRequest.TaskStatusUpdate(
                    task_id=task_id, status=pb.TaskStatus(state="FAILED")
                )
                with pytest.raises(GRPCError) as refused:
                    await stub.UpdateTaskStatus(
                        pb.UpdateTaskStatusRequest(session_id=message.session_id, updates=[update])
                    )
                assert refused.value.status is Status.PERMISSION_DENIED
                await stream.cancel()
        assert w.get_task(task_id).status.state == TaskState.RUNNING


async def read(w: World, manager_address: str, request: LogRequest, **selector: list[str]) -> list[bytes]:
    """A service's logs, as a follower asks the leader for them."""
    files = w.certificates(w.ids.object_id(), "manager")
    lines: list[bytes] = []
    async with channel(manager_address, client_context(files)) as to, LogsStub(to).SubscribeLogs.open() as stream:
        await stream.send_message(
            pb.SubscribeLogsRequest(
                selector=selector_to_wire(LogSelector(**selector)), options=request_to_wire(request)
            ),
            end=True,
        )
        async for message in stream:
            lines += [line.data for line in message.messages]
    return lines


async def test_service_logs(tmp_path: Path) -> None:
    """Logs of a service come from all its nodes; the tail counts per task; a missing node is told at the end."""
    async with world(tmp_path) as w:
        manager = await w.manager()
        one, first, _ = await w.worker(manager)
        two, second, _ = await w.worker(manager)
        tasks = [await w.assign(one), await w.assign(two)]
        for task_id in tasks:
            await w.reaches(task_id, TaskState.RUNNING)
        first.lines, second.lines = [b"a1\n", b"a2\n"], [b"b1\n", b"b2\n"]
        everything = await read(w, manager.address, LogRequest(), service_ids=["service1"])
        assert sorted(everything) == [b"a1\n", b"a2\n", b"b1\n", b"b2\n"]
        assert sorted(await read(w, manager.address, LogRequest(tail=1), service_ids=["service1"])) == [
            b"a2\n",
            b"b2\n",
        ]
        assert await read(w, manager.address, LogRequest(), task_ids=tasks[:1]) == [b"a1\n", b"a2\n"]
        absent, _ = await w.node()
        lost = await w.assign(absent)
        await w.store.commit([Put(_running(w, lost))])
        with pytest.raises(GRPCError) as incomplete:
            await read(w, manager.address, LogRequest(), service_ids=["service1"])
        assert incomplete.value.message == (
            "warning: incomplete log stream. some logs could not be retrieved for the following reasons: "
            f"node {absent} is not available"
        )


def _running(w: World, task_id: str) -> Task:
    task = w.get_task(task_id)
    return replace(task, status=replace(task.status, state=TaskState.RUNNING))


async def test_following_logs(tmp_path: Path) -> None:
    """Who follows a service sees tasks that come later, on nodes that were not asked before."""
    async with world(tmp_path) as w:
        manager = await w.manager()
        one, first, _ = await w.worker(manager)
        two, second, _ = await w.worker(manager)
        first.lines, second.lines = [b"a\n"], [b"b\n"]
        await w.reaches(await w.assign(one), TaskState.RUNNING)
        seen: list[bytes] = []

        async def follow() -> None:
            request = LogRequest(follow=True)
            async for lines in manager.protocol.logs.subscribe(LogSelector(service_ids=["service1"]), request):
                seen.extend(line.data for line in lines)

        following = w.group.create_task(follow())
        await until(lambda: seen == [b"a\n"])
        await w.assign(two)
        await until(lambda: seen == [b"a\n", b"b\n"])
        following.cancel()
        await until(following.done)


async def test_no_logs_on_a_follower(tmp_path: Path) -> None:
    """A manager that does not lead has no logs to give."""
    async with world(tmp_path) as w:
        follower = await w.manager(lead=False)
        with pytest.raises(ShoalError):
            async for _ in follower.protocol.logs.subscribe(LogSelector(), LogRequest()):
                pass


async def attach(w: World, node_id: str, address: str) -> None:
    """Give a node an address of its own on network x, as the allocator does."""
    node: Node = w.get_node(node_id)
    held = NetworkAddresses(network_id="x", addresses=[address])
    await w.store.commit([Put(replace(node, attachments=[held]))])


async def test_endpoints_are_withdrawn_before_a_task_stops(tmp_path: Path) -> None:
    """Nodes learn of a network's endpoints; when a task is to stop, it is told only after the other nodes have
    applied that its endpoint is gone, or after two seconds."""
    async with world(tmp_path, period=1) as w:
        manager = await w.manager()
        await w.store.commit([Put(Network(id="x", spec=NetworkSpec(name="x")))])
        here, there = FakeNetworks(), FakeNetworks()
        one, executor, _ = await w.worker(manager, networks=here)
        two, _, _ = await w.worker(manager, networks=there)
        await attach(w, one, "10.0.1.2/24")
        await attach(w, two, "10.0.1.3/24")
        held = [NetworkAttachment(network_id="x", addresses=["10.0.1.9/24"])]
        tasks = [await w.assign(one, networks_attachments=held) for _ in range(2)]
        for task_id in tasks:
            await w.reaches(task_id, TaskState.RUNNING)
        await until(lambda: [record.active for record in newest(there)] == [True, True])
        assert there.updates[0].complete
        peers = there.updates[-1].snapshots[0].peers
        assert [peer.address for peer in peers] == [
            address for _, address in sorted([(one, "10.0.1.2"), (two, "10.0.1.3")])
        ]
        there.open.clear()
        await w.desire(tasks[0], TaskState.SHUTDOWN)
        await until(lambda: sorted(record.active for record in newest(here)) == [False, True])
        assert executor.stopped == []
        there.open.set()
        await until(lambda: executor.stopped == [tasks[0]])
        there.open.clear()
        began = time.monotonic()
        await w.desire(tasks[1], TaskState.SHUTDOWN)
        await until(lambda: executor.stopped == tasks)
        assert time.monotonic() - began > MOST_WAIT - 0.1


def newest(networks: FakeNetworks) -> list[EndpointRecord]:
    """The endpoints of network x as a node knows them."""
    snapshots = [snapshot for update in networks.updates for snapshot in update.snapshots]
    return list(snapshots[-1].endpoints) if snapshots else []


async def test_a_network_that_a_node_left(tmp_path: Path) -> None:
    """A node that no longer takes part in a network is told to drop it."""
    async with world(tmp_path, period=1) as w:
        manager = await w.manager()
        await w.store.commit([Put(Network(id="x", spec=NetworkSpec(name="x")))])
        networks = FakeNetworks()
        node_id, _, _ = await w.worker(manager, networks=networks)
        await attach(w, node_id, "10.0.1.2/24")
        await until(lambda: "x" in networks.known)
        await w.store.commit([Put(replace(w.get_node(node_id), attachments=[]))])
        await until(lambda: networks.updates[-1].removed == ["x"])
