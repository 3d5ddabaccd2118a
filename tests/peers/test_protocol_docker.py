"""A real Docker Engine as a worker of a Shoal manager."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from cryptography import x509
from msgspec.structs import replace

from shoal.model.errors import ShoalError
from shoal.model.objects import Network, NetworkAddresses, NetworkAttachment, Node, Task, TaskStatus
from shoal.model.service_logs import LogRequest, LogSelector
from shoal.model.states import TaskState
from shoal.model.swarm_spec import IPAM, ContainerSpec, IPAMConfig, NetworkSpec, TaskSpec
from shoal.store.base import Put
from tests.cluster.protocol_world import Manager, World, world
from tests.peers.dockerd import IMAGE, OURS, THEIRS, Dockerd, dockerd
from tests.waiting import until

pytestmark = pytest.mark.system


def workers(w: World) -> list[Node]:
    """The nodes that are no managers."""
    return [node for node in w.store.view.all(Node) if node.role == "worker"]


async def join(engine: Dockerd, w: World, manager: Manager) -> Node:
    """The engine joins; its node, once it is ready."""
    cluster = w.store.view.cluster
    assert cluster is not None
    words = ["--token", cluster.join_tokens.worker, "--advertise-addr", THEIRS, manager.address]
    assert "This node joined a swarm as a worker." in await engine.docker("swarm", "join", *words)
    await until(lambda: [node.status.state for node in workers(w)] == ["ready"])
    return workers(w)[0]


async def run(w: World, node_id: str, *command: str, networks: Sequence[NetworkAttachment] = ()) -> str:
    """Assign a task to the node."""
    spec = ContainerSpec(image=IMAGE, command=list(command), stop_grace_period=10**9)
    task = Task(
        id=w.ids.object_id(),
        spec=TaskSpec(container_spec=spec),
        node_id=node_id,
        service_id="service1",
        service_name="web",
        slot=1,
        networks_attachments=list(networks),
        status=TaskStatus(state=TaskState.ASSIGNED),
    )
    await w.store.commit([Put(task)])
    return task.id


async def test_docker_joins_and_works(tmp_path: Path) -> None:
    """A Docker Engine joins with a token, runs tasks, tells their ends in its own words, publishes logs, and stops
    what it should."""
    async with dockerd() as engine, world(tmp_path, period=1) as w:
        manager = await w.manager(host=OURS, where=engine.network())
        node = await join(engine, w, manager)
        assert node.description.engine.engine_version.startswith("20.10")
        assert not node.is_shoal
        assert node.description.hostname
        task_id = await run(w, node.id, "sh", "-c", 'trap "exit 0" TERM; seq 1 3; while :; do sleep 0.1; done')
        running = await w.reaches(task_id, TaskState.RUNNING, 30)
        assert running.status.container_status is not None
        shown = await engine.docker("ps", "--format", "{{.Names}}", "--no-trunc")
        assert shown.strip() == f"web.1.{task_id}"
        logs = manager.protocol.logs

        async def read(tail: int | None) -> list[bytes]:
            request = LogRequest(tail=tail)
            selector = LogSelector(service_ids=["service1"])
            return [line.data for lines in [part async for part in logs.subscribe(selector, request)] for line in lines]

        await until(lambda: _reads(read, [b"1\n", b"2\n", b"3\n"]))
        assert await read(1) == [b"3\n"]
        failing = await run(w, node.id, "sh", "-c", "exit 3")
        assert (await w.reaches(failing, TaskState.FAILED, 30)).status.err == "task: non-zero exit (3)"
        await w.desire(task_id, TaskState.SHUTDOWN)
        await w.reaches(task_id, TaskState.SHUTDOWN, 30)
        assert await engine.docker("ps", "-q") == ""
        await engine.docker("swarm", "leave")
        await until(lambda: w.get_node(node.id).status.state == "down")


async def _reads(read: object, wanted: list[bytes]) -> bool:
    try:
        return await read(None) == wanted  # type: ignore[operator]
    except ShoalError:  # the engine has just come, or gone for a moment
        return False


async def test_docker_changes_managers_and_certificates(tmp_path: Path) -> None:
    """A Docker Engine follows the leadership to another manager, and renews its certificate when told to rotate."""
    async with dockerd() as engine, world(tmp_path, period=1) as w:
        one = await w.manager(host=OURS, where=engine.network())
        two = await w.manager(host=OURS, where=engine.network(), lead=False)
        node = await join(engine, w, one)
        assert one.leading is not None
        one.leading.cancel()
        await until(one.leading.done)
        with w.store.subscribe() as changes:
            w.lead(two)
            states: list[str] = []
            while "unknown" not in states or states[-1] != "ready":  # between them it may be late, and count as down
                states += [c.new.status.state for c in await anext(changes) if isinstance(c.new, Node)]
        before = w.get_node(node.id)
        certificate = replace(before.certificate, state="rotate")
        await w.store.commit([Put(replace(before, certificate=certificate))])
        await until(lambda: w.get_node(node.id).certificate.state == "issued")
        renewed = w.get_node(node.id).certificate
        assert renewed.csr != before.certificate.csr
        serial = x509.load_pem_x509_certificate(renewed.pem).serial_number
        path = engine.root / "data" / "swarm" / "certificates" / "swarm-node.crt"
        await until(lambda: x509.load_pem_x509_certificate(path.read_bytes()).serial_number == serial)


async def test_docker_attaches_tasks_to_overlays(tmp_path: Path) -> None:
    """A Docker Engine makes the overlay that a task is on from what the manager sends, with the addresses given."""
    async with dockerd() as engine, world(tmp_path, period=1) as w:
        manager = await w.manager(host=OURS, where=engine.network())
        pool = IPAM(config=[IPAMConfig(subnet="10.99.1.0/24", gateway="10.99.1.1")])
        network = Network(id=w.ids.object_id(), spec=NetworkSpec(name="front"), vxlan_id=4099, ipam=pool)
        await w.store.commit([Put(network)])
        node = await join(engine, w, manager)
        held = NetworkAddresses(network_id=network.id, addresses=["10.99.1.2/24"])
        await w.store.commit([Put(replace(w.get_node(node.id), attachments=[held]))])
        attachment = NetworkAttachment(network_id=network.id, addresses=["10.99.1.7/24"])
        task_id = await run(w, node.id, "sleep", "100", networks=[attachment])
        await until(lambda: w.get_task(task_id).status.state >= TaskState.RUNNING)
        status = w.get_task(task_id).status
        assert (status.state, status.err) == (TaskState.RUNNING, "")
        shown = await engine.docker(
            "inspect", "--format", '{{(index .NetworkSettings.Networks "front").IPAddress}}', f"web.1.{task_id}"
        )
        assert shown.strip() == "10.99.1.7"
        await w.desire(task_id, TaskState.SHUTDOWN)
        await w.reaches(task_id, TaskState.SHUTDOWN, 30)
