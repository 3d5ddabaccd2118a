"""Overlays, virtual addresses, the routing mesh and names, on two or three nodes that are namespaces."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import secrets
import socket
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import dns.message
import dns.query
import dns.rcode
import pytest
from msgspec.structs import replace

from shoal.model.base import encode
from shoal.model.container import EndpointIPAM, EndpointSettings, PortBinding
from shoal.model.errors import NotFound, PermissionDenied
from shoal.model.netstate import EndpointRecord, NetworkSnapshot, NetworkUpdate, PeerRecord, ServiceRecord
from shoal.model.objects import Network
from shoal.model.swarm_spec import IPAM, IPAMConfig, NetworkSpec, PortConfig
from shoal.network import Networks, Sandbox, SandboxRequest
from shoal.network.fabric import Fabric
from shoal.network.overlays import Overlays
from shoal.network.swarm import Swarm
from tests.system.network_lab import Lab, Server, ask, ask_udp, dial, entered, ip, nft, spread, talk
from tests.waiting import until

pytestmark = pytest.mark.system

CLIENT = "192.168.99.7"
INGRESS, WEB = "ingressnetwork00000000000", "webnetwork000000000000000"


class Node:
    """A node: its namespace and its Networks."""

    def __init__(self, number: int, netns: Path, directory: Path) -> None:
        self.id = f"node{number}"
        self.number = number
        self.address = f"192.168.99.{100 + number}"
        self.ingress = f"10.0.0.{100 + number}"
        self.netns = netns
        self.directory = directory
        self.networks = self.make()
        self.ended = False

    def make(self) -> Networks:
        etc = self.directory / "etc"
        etc.mkdir(parents=True, exist_ok=True)
        (etc / "resolv.conf").touch()
        return Networks(self.directory / "state", self.directory / "run", netns=self.netns, etc=etc)


class Cluster:
    """Nodes, two networks and one service `web`; what a manager would know, and push."""

    def __init__(self, nodes: list[Node]) -> None:
        self.nodes = nodes
        self.revision = 0
        self.endpoints: list[tuple[EndpointRecord, EndpointRecord]] = []
        self.vip = "10.0.1.2"
        self.ports = [
            PortConfig(protocol="tcp", target_port=80, published_port=8080),
            PortConfig(protocol="udp", target_port=53, published_port=5353),
        ]
        self.sandboxes: dict[str, Sandbox] = {}

    def snapshots(self) -> list[NetworkSnapshot]:
        self.revision += 1
        found = []
        for place, (network_id, name, number) in enumerate([(INGRESS, "ingress", 0), (WEB, "webnet", 1)]):
            pool = IPAMConfig(subnet=f"10.0.{number}.0/24", gateway=f"10.0.{number}.1")
            network = Network(
                id=network_id,
                spec=NetworkSpec(name=name, ingress=not number, driver="overlay"),
                vxlan_id=4096 + number,
                ipam=IPAM(config=[pool]),
            )
            service = ServiceRecord(
                id="web", name="web", aliases=[] if not number else ["site"],
                vip="" if not number else self.vip, ports=[] if number else self.ports,
            )  # fmt: skip
            peers = [
                PeerRecord(node_id=node.id, underlay=node.address, address=f"10.0.{number}.{100 + node.number}")
                for node in self.nodes
            ]
            found.append(
                NetworkSnapshot(
                    network=network,
                    revision=self.revision,
                    services=[service],
                    endpoints=[pair[place] for pair in self.endpoints],
                    peers=peers,
                )
            )
        return found

    async def push(self) -> None:
        update = NetworkUpdate(revision=self.revision, complete=True, snapshots=self.snapshots())
        await asyncio.gather(*(node.networks.apply(update, node.id) for node in self.nodes))

    async def run(self, *where: Node, active: bool = True) -> list[Sandbox]:
        """A task of `web` on each of these nodes."""
        made = []
        for node in where:
            number = len(self.endpoints) + 10
            task = f"task{number}"
            records = [
                EndpointRecord(
                    task_id=task, service_id="web", name=f"web.{number}.{task}", node_id=node.id,
                    address=f"10.0.{net}.{number}", active=active,
                )
                for net in (0, 1)
            ]  # fmt: skip
            self.endpoints.append((records[0], records[1]))
            await self.push()
            made.append(await node.networks.open(task_request(number)))
        await self.push()
        return made

    def activate(self, number: int, active: bool) -> None:
        one, other = self.endpoints[number]
        self.endpoints[number] = (replace(one, active=active), replace(other, active=active))


def fixed(address: str) -> EndpointSettings:
    return EndpointSettings(ipam_config=EndpointIPAM(ipv4_address=address))


def task_request(number: int, **options: object) -> SandboxRequest:
    endpoints = {INGRESS: fixed(f"10.0.0.{number}/24"), WEB: fixed(f"10.0.1.{number}/24")}
    return SandboxRequest(
        container_id=f"{number:02}{secrets.token_hex(31)}", name=f"web.{number}", endpoints=endpoints, managed=True, **options  # type: ignore[arg-type]
    )  # fmt: skip


@contextlib.contextmanager
def serving(sandboxes: list[Sandbox], port: int = 80, *, udp: bool = False) -> Iterator[list[Server]]:
    """A server in each sandbox, named by its place."""
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(Server(sandbox.netns, port, f"web{place}", udp=udp))
            for place, sandbox in enumerate(sandboxes)
        ]


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    made = Lab(tmp_path)
    yield made
    made.close()


@pytest.fixture
def client(lab: Lab) -> Path:
    return lab.host("client", CLIENT)


@pytest.fixture
async def cluster(lab: Lab, tmp_path: Path) -> AsyncIterator[Cluster]:
    nodes = [Node(number, lab.host(f"node{number}", f"192.168.99.{100 + number}"), tmp_path / f"n{number}")
             for number in (1, 2, 3)]  # fmt: skip
    async with contextlib.AsyncExitStack() as stack:
        for node in nodes:
            await stack.enter_async_context(node.networks)
        made = Cluster(nodes)
        await made.push()
        yield made
        for node in [node for node in nodes if not node.ended]:
            for path in list((node.directory / "run" / "sandboxes").glob("*.json")):
                await node.networks.close(path.stem)
            await node.networks.leave_swarm()


async def test_containers_on_an_overlay_talk_across_nodes(cluster: Cluster) -> None:
    """Two tasks on different nodes reach each other over the overlay, small packets and large ones."""
    first, second = await cluster.run(cluster.nodes[0], cluster.nodes[1])
    assert first.endpoints["webnet"].ip_address == "10.0.1.10"
    assert first.endpoints["webnet"].mac_address == "02:42:0a:00:01:0a"
    with Server(second.netns, 80, "second"):
        assert ask(first.netns, "10.0.1.11", 80) == "second 10.0.1.10"
        with dial(first.netns, "10.0.1.11", 80) as connection:
            connection.sendall(b"x" * 200_000)
            assert connection.recv(100).startswith(b"second ")
    assert "mtu 1450" in ip("link", "show", "eth1", netns=first.netns)


async def reaches(netns: Path | str, address: str, port: int, wanted: set[str]) -> bool:
    """Whether as many new connections as there are names in `wanted` lead to each of them."""
    try:
        answers = [await asyncio.to_thread(ask, netns, address, port, patience=1) for _ in wanted]
    except OSError:
        return False
    return {answer.split()[0] for answer in answers} == wanted


@pytest.fixture
def careful(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nodes look often whether all is still there."""
    monkeypatch.setattr("shoal.network.networks.CARE", 0.1)


@pytest.mark.usefixtures("careful")
async def test_rules_that_somebody_took_away_come_back(cluster: Cluster, client: Path) -> None:
    """`systemctl restart nftables` on a quiet node ends its part of the mesh for a moment, not until the next change."""
    one, two, three = cluster.nodes
    tasks = await cluster.run(one, two)
    with serving(tasks):
        await until(lambda: reaches(client, three.address, 8080, {"web0", "web1"}))
        nft("flush", "ruleset", netns=three.netns)
        await until(lambda: reaches(client, three.address, 8080, {"web0", "web1"}))


@pytest.mark.usefixtures("careful")
async def test_what_is_there_is_left_alone(cluster: Cluster, client: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Looking changes nothing: the mesh's turns go on where they were, however often a node looks."""
    one, two, three = cluster.nodes
    tasks = await cluster.run(one, two, two)
    looks, look = 0, Fabric.mend

    async def counted(fabric: Fabric) -> None:
        nonlocal looks
        looks += 1
        await look(fabric)

    with pytest.MonkeyPatch.context() as patch, serving(tasks):
        patch.setattr(Fabric, "mend", counted)
        before = nft("-a", "list", "ruleset", netns=three.netns)
        await until(lambda: looks >= 9)
        assert nft("-a", "list", "ruleset", netns=three.netns) == before
        seen = []
        for _ in range(6):
            seen.append((await asyncio.to_thread(ask, client, three.address, 8080)).split()[0])
            wanted = looks + 3
            await until(lambda wanted=wanted: looks >= wanted)
        assert seen[:3] == seen[3:] and len(set(seen)) == 3
    assert not [record for record in caplog.records if record.name.startswith("shoal.network")]


@pytest.mark.usefixtures("careful")
async def test_an_overlay_that_failed_is_tried_again(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the kernel refuses for a moment is done later, without another update."""
    one, two, _ = cluster.nodes
    tasks = await cluster.run(one, two)

    def fails(*_: object) -> None:
        raise OSError(errno.ENOBUFS, "no buffer space")

    with monkeypatch.context() as patch:
        patch.setattr(Overlays, "update", fails)
        patch.setattr(Overlays, "make", fails)
        tasks += await cluster.run(one)
    with serving(tasks):
        for task in tasks:
            await until(lambda netns=task.netns: reaches(netns, cluster.vip, 80, {"web0", "web1", "web2"}))


async def test_what_goes_on_failing_is_tried_ever_less(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel that cannot do it does not fill the log."""
    one, two, _ = cluster.nodes
    await cluster.run(one)
    tries, apply = 0, Swarm._apply

    async def counted(swarm: Swarm, update: NetworkUpdate, node_id: str) -> None:
        nonlocal tries
        tries += 1
        await apply(swarm, update, node_id)

    def fails(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "not supported")

    monkeypatch.setattr(Overlays, "update", fails)
    monkeypatch.setattr(Overlays, "make", fails)
    first, second = cluster.endpoints[0]
    more = (replace(first, task_id="more", address="10.0.0.99"), replace(second, task_id="more", address="10.0.1.99"))
    cluster.endpoints.append(more)
    await cluster.push()
    monkeypatch.setattr(Swarm, "_apply", counted)
    for _ in range(65):
        await two.networks._swarm.mend()
    assert 5 <= tries <= 8  # six, and what the nodes' own looks add


async def test_plain_containers_are_kept_off_overlays(cluster: Cluster) -> None:
    """One that is no task takes no address there, at its start or later, and leaves nothing behind."""
    node = cluster.nodes[0]
    [task] = await cluster.run(node)
    taken = fixed(task.endpoints["webnet"].ip_address)
    plain = SandboxRequest(container_id=secrets.token_hex(32), name="plain", endpoints={"webnet": taken})
    with pytest.raises(PermissionDenied, match="network webnet not manually attachable"):
        await node.networks.open(plain)
    plain = replace(plain, endpoints={})
    await node.networks.open(plain)
    for container in (plain.container_id, *node.networks.attached(WEB)):
        with pytest.raises(PermissionDenied, match="network webnet not manually attachable"):
            await node.networks.connect(container, "webnet", taken)
    assert len(node.networks.attached(WEB)) == 1


async def test_vip_spreads_evenly(cluster: Cluster) -> None:
    """A service's virtual address leads to its tasks in exact turns, from every one of them, itself included."""
    one, two, _ = cluster.nodes
    tasks = await cluster.run(one, one, two, two, two)
    with serving(tasks):
        for task in (tasks[0], tasks[4]):
            counts = await asyncio.to_thread(spread, task.netns, cluster.vip, 80, 50)
            assert sorted(counts.values()) == [10] * 5


async def test_vip_keeps_the_callers_address(cluster: Cluster) -> None:
    """Behind the virtual address a task sees who calls."""
    tasks = await cluster.run(cluster.nodes[0], cluster.nodes[1])
    with serving(tasks):
        seen = {ask(tasks[0].netns, cluster.vip, 80) for _ in range(2)}
    assert seen == {"web0 10.0.1.10", "web1 10.0.1.10"}


async def test_mesh_spreads_exactly_evenly_on_every_node(cluster: Cluster, client: Path) -> None:
    """The published port leads to all tasks in exact turns through every node, one without tasks included."""
    one, two, _ = cluster.nodes
    tasks = await cluster.run(one, one, two, two, two)
    with serving(tasks):
        for node in cluster.nodes:
            counts = await asyncio.to_thread(spread, client, node.address, 8080, 100)
            assert sorted(counts.values()) == [20] * 5, node.id


async def test_mesh_keeps_the_clients_address(cluster: Cluster, client: Path) -> None:
    """A task sees the outside client's own address, be the task local to the ingress node or remote; TCP and UDP."""
    tasks = await cluster.run(cluster.nodes[0], cluster.nodes[1])
    with serving(tasks), serving(tasks, 53, udp=True):
        for node in cluster.nodes:
            assert {ask(client, node.address, 8080) for _ in range(2)} == {f"web0 {CLIENT}", f"web1 {CLIENT}"}
            assert {ask_udp(client, node.address, 5353) for _ in range(2)} == {f"web0 {CLIENT}", f"web1 {CLIENT}"}


async def test_mesh_from_the_node_and_its_containers(cluster: Cluster) -> None:
    """Published ports answer on localhost and to containers of the node, to any address of any node."""
    one, two, three = cluster.nodes
    tasks = await cluster.run(one, two)
    plain = await one.networks.open(SandboxRequest(container_id=secrets.token_hex(32), name="plain"))
    with serving(tasks):
        for node in (one, three):
            for address in ("127.0.0.1", node.address, one.address, two.address):
                assert set(spread(node.netns, address, 8080, 4)) == {"web0", "web1"}, (node.id, address)
        for inside in (tasks[0].netns, plain.netns):
            for address in (one.address, two.address, three.address):
                assert set(spread(inside, address, 8080, 4)) == {"web0", "web1"}, address


async def test_equal_connections_through_two_nodes_do_not_collide(cluster: Cluster, client: Path) -> None:
    """One client address and port may be connected through two nodes at once to one and the same task."""
    tasks = await cluster.run(cluster.nodes[0])
    with serving(tasks):
        open_ones = [dial(client, node.address, 8080, source=(CLIENT, 34567)) for node in cluster.nodes]
        for connection in open_ones * 2:
            assert talk(connection) == f"web0 {CLIENT}"
        for connection in open_ones:
            connection.close()


async def test_withdrawn_endpoint_gets_no_traffic(cluster: Cluster, client: Path) -> None:
    """A task that is not active gets no new connection, by VIP, mesh or name; open connections go on."""
    one, two, _ = cluster.nodes
    tasks = await cluster.run(one, two)
    with serving(tasks) as servers:
        kept = [dial(client, one.address, 8080) for _ in range(2)]
        assert {talk(connection).split()[0] for connection in kept} == {"web0", "web1"}
        with entered(client):
            flow = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        flow.settimeout(30)
        flow.connect((one.address, 5353))
        with serving(tasks, 53, udp=True):
            first = talk(flow)
            cluster.activate(int(first[3]), False)
            await cluster.push()
            assert talk(flow).split()[0] != first.split()[0]
        left = 1 - int(first[3])
        before = servers[1 - left].seen.total()
        for node in cluster.nodes:
            assert spread(client, node.address, 8080, 6) == Counter({f"web{left}": 6})
        assert spread(tasks[0].netns, cluster.vip, 80, 6) == Counter({f"web{left}": 6})
        assert servers[1 - left].seen.total() == before
        assert {talk(connection).split()[0] for connection in kept} == {"web0", "web1"}
        flow.close()
        for connection in kept:
            connection.close()


async def test_nobody_there_is_refused_at_once(cluster: Cluster, client: Path) -> None:
    """With no active task, the published port and the virtual address refuse instead of hanging."""
    (task,) = await cluster.run(cluster.nodes[0], active=False)
    for node in cluster.nodes:
        with pytest.raises(ConnectionRefusedError):
            ask(client, node.address, 8080)
    with pytest.raises(ConnectionRefusedError):
        ask(task.netns, cluster.vip, 80)


async def test_overlay_containers_reach_the_outside(cluster: Cluster, client: Path) -> None:
    """A task on overlays reaches the outside under its node's address, and may publish a port of its host only."""
    node = cluster.nodes[1]
    await cluster.run(cluster.nodes[0])
    wanted = task_request(30, port_bindings={"81/tcp": [PortBinding(host_port="8181")]})
    box = await node.networks.open(wanted)
    with Server(client, 9000, "outside"), Server(box.netns, 81, "box"):
        assert ask(box.netns, CLIENT, 9000) == f"outside {node.address}"
        assert ask(client, node.address, 8181) == f"box {CLIENT}"
        with pytest.raises(ConnectionRefusedError):
            ask(client, cluster.nodes[0].address, 8181)


def lookup(netns: str | Path, name: str, kind: str = "A", *, tcp: bool = False) -> tuple[str, list[str]]:
    """The code and the answers that a container gets for a name."""
    query = dns.message.make_query(name, kind)
    with entered(netns):
        made = socket.socket(socket.AF_INET, socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM)
    with made:
        made.settimeout(30)
        made.connect(("127.0.0.11", 53))
        if tcp:
            reply = dns.query.tcp(query, "127.0.0.11", timeout=30, sock=_nonblocking(made))
        else:
            made.send(query.to_wire())
            reply = dns.message.from_wire(made.recv(4096))
    assert reply.id == query.id
    assert all(rrset.ttl <= 5 for rrset in reply.answer)
    return dns.rcode.to_text(reply.rcode()), sorted(item.to_text() for rrset in reply.answer for item in rrset)


def _nonblocking(made: socket.socket) -> socket.socket:
    made.setblocking(False)
    return made


async def test_names(cluster: Cluster) -> None:
    """Service names and aliases mean the VIP, tasks.<service> the tasks, a container's name itself; PTR goes back."""
    tasks = await cluster.run(cluster.nodes[0], cluster.nodes[1])
    inside = tasks[0].netns
    assert tasks[0].resolv_conf.splitlines()[0] == "nameserver 127.0.0.11"

    async def answers(name: str, kind: str = "A", *, tcp: bool = False) -> tuple[str, list[str]]:
        return await asyncio.to_thread(lookup, inside, name, kind, tcp=tcp)

    assert await answers("web") == ("NOERROR", ["10.0.1.2"])
    assert await answers("WEB.") == ("NOERROR", ["10.0.1.2"])
    assert await answers("web.webnet") == ("NOERROR", ["10.0.1.2"])
    assert await answers("site", tcp=True) == ("NOERROR", ["10.0.1.2"])
    assert await answers("tasks.web") == ("NOERROR", ["10.0.1.10", "10.0.1.11"])
    assert await answers("web.11.task11") == ("NOERROR", ["10.0.1.11"])
    assert await answers("web", "AAAA") == ("NOERROR", [])
    assert await answers("11.1.0.10.in-addr.arpa", "PTR") == ("NOERROR", ["web.11.task11.webnet."])
    assert await answers("no.such.name") == ("SERVFAIL", [])
    cluster.activate(1, False)
    await cluster.push()
    assert await answers("tasks.web") == ("NOERROR", ["10.0.1.10"])
    cluster.vip = ""
    cluster.activate(1, True)
    await cluster.push()
    assert await answers("web") == ("NOERROR", ["10.0.1.10", "10.0.1.11"])


async def test_names_on_a_local_network(cluster: Cluster) -> None:
    """Containers on a bridge of the user's find each other by name, alias and short id; on the default bridge not."""
    networks = cluster.nodes[0].networks
    await networks.create(NetworkSpec(name="mine"))
    wanted = SandboxRequest(
        container_id=secrets.token_hex(32), name="db", network_mode="mine",
        endpoints={"mine": EndpointSettings(aliases=["database"])},
    )  # fmt: skip
    database = await networks.open(wanted)
    asker = await networks.open(SandboxRequest(container_id=secrets.token_hex(32), name="app", network_mode="mine"))
    address = database.endpoints["mine"].ip_address
    for name in ("db", "database", wanted.container_id[:12], "db.mine"):
        assert await asyncio.to_thread(lookup, asker.netns, name) == ("NOERROR", [address])
    await networks.close(wanted.container_id)
    assert (await asyncio.to_thread(lookup, asker.netns, "db"))[1] == []


async def test_other_names_are_asked_of_the_hosts_servers(cluster: Cluster, client: Path) -> None:
    """What is not ours goes to the host's name servers, or to the container's own."""
    node = cluster.nodes[0]
    (task,) = await cluster.run(node)
    own = await node.networks.open(task_request(40, dns=[CLIENT]))
    (node.directory / "etc" / "resolv.conf").write_text(f"nameserver 192.168.99.250\nnameserver {CLIENT}\n")
    with entered(client):
        upstream = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        upstream.bind((CLIENT, 53))

    def serve(times: int) -> None:
        for _ in range(times):
            data, asker = upstream.recvfrom(2000)
            reply = dns.message.make_response(dns.message.from_wire(data))
            reply.answer.append(dns.rrset.from_text(reply.question[0].name, 3, "IN", "A", "192.0.2.1"))
            upstream.sendto(reply.to_wire(), asker)

    with upstream:
        asked = asyncio.create_task(asyncio.to_thread(serve, 2))
        assert await asyncio.to_thread(lookup, task.netns, "example.com") == ("NOERROR", ["192.0.2.1"])
        assert await asyncio.to_thread(lookup, own.netns, "example.com") == ("NOERROR", ["192.0.2.1"])
        await asked


async def test_overlays_come_and_go_with_their_containers(cluster: Cluster) -> None:
    """An overlay exists on a node while a container there is on it; an unknown network is refused."""
    node = cluster.nodes[0]
    overlay = node.directory / "run" / "netns" / "overlay"
    await cluster.run(node)
    assert "ovbr-001001" in ip("-br", "link", netns=overlay)
    assert "ovbr-001001" not in ip("-br", "link", netns=node.netns)
    (record,) = (node.directory / "run" / "sandboxes").glob("*.json")
    await node.networks.close(record.stem)
    assert "ovbr-001001" not in ip("-br", "link", netns=overlay)
    assert node.networks.find("webnet").scope == "swarm"
    with pytest.raises(NotFound, match="network nope not found"):
        await node.networks.open(SandboxRequest(container_id=secrets.token_hex(32), network_mode="nope"))


async def test_killed_daemon_serves_on_from_its_last_good_state(cluster: Cluster, client: Path) -> None:
    """After kill -9 of a daemon traffic goes on; its successor restores names, mesh and overlays without a manager."""
    one, two, _ = cluster.nodes
    tasks = await cluster.run(one, two)
    crashed = one.networks
    crashed._fabric.close()  # what the kernel does to a killed process: its sockets are gone
    crashed._catalogue.services._resolver.close()
    with serving(tasks):
        assert set(spread(client, one.address, 8080, 4)) == {"web0", "web1"}
        one.networks = one.make()
        async with one.networks as networks:
            assert await asyncio.to_thread(lookup, tasks[0].netns, "web") == ("NOERROR", ["10.0.1.2"])
            assert set(spread(client, one.address, 8080, 4)) == {"web0", "web1"}
            cluster.activate(1, False)
            await cluster.push()
            assert set(spread(client, one.address, 8080, 4)) == {"web0"}
            assert set(spread(tasks[0].netns, cluster.vip, 80, 4)) == {"web0"}
            for path in list((one.directory / "run" / "sandboxes").glob("*.json")):
                await networks.close(path.stem)
            await networks.leave_swarm()
    one.ended = True


async def test_a_node_that_moved_is_reached_again(cluster: Cluster, lab: Lab) -> None:
    """When a node comes back with another address, the next update puts its overlays right, on it and on others."""
    one, two, _ = cluster.nodes
    tasks = await cluster.run(one, two)
    two.address = "192.168.99.222"
    ip("addr", "flush", "dev", "eth0", netns=two.netns)
    ip("addr", "add", "192.168.99.222/24", "dev", "eth0", netns=two.netns)
    await cluster.push()
    with serving(tasks):
        assert ask(tasks[0].netns, "10.0.1.11", 80) == "web1 10.0.1.10"
        assert ask(tasks[1].netns, "10.0.1.10", 80) == "web0 10.0.1.11"


async def test_an_address_moves_between_nodes(cluster: Cluster) -> None:
    """An address that was a task's on one node and is another's elsewhere leads to the new one, both ways."""
    one, two, three = cluster.nodes
    first, _, third = await cluster.run(one, two, three)
    for new, old in ((one, two), (two, one)):
        for path in list((old.directory / "run" / "sandboxes").glob("11*.json")):
            await old.networks.close(path.stem)
        cluster.endpoints[1] = tuple(replace(record, node_id=new.id) for record in cluster.endpoints[1])  # type: ignore[assignment]
        await cluster.push()
        moved = await new.networks.open(task_request(11))
        with Server(moved.netns, 80, new.id):
            assert ask(first.netns, "10.0.1.11", 80) == f"{new.id} 10.0.1.10"
            assert ask(third.netns, "10.0.1.11", 80) == f"{new.id} 10.0.1.12"


async def test_virtual_address_answers_to_ping(cluster: Cluster) -> None:
    """Not only TCP and UDP: an echo request to a virtual address is answered by a task."""
    tasks = await cluster.run(cluster.nodes[0], cluster.nodes[1])
    done = await asyncio.to_thread(
        subprocess.run, ["nsenter", f"--net={tasks[0].netns}", "busybox", "ping", "-c", "2", "-W", "3", cluster.vip],
        capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0


async def test_update_is_idempotent_and_minimal(cluster: Cluster) -> None:
    """An update that says nothing new changes nothing in the kernel."""
    node = cluster.nodes[0]
    (task,) = await cluster.run(node)
    before = nft("-a", "list", "ruleset", netns=node.netns), nft("-a", "list", "ruleset", netns=task.netns)
    await cluster.push()
    await cluster.push()
    assert before == (nft("-a", "list", "ruleset", netns=node.netns), nft("-a", "list", "ruleset", netns=task.netns))


@pytest.mark.parametrize("milliseconds", range(0, 14, 2))
async def test_an_update_that_is_cut_short_is_made_up_for(cluster: Cluster, client: Path, milliseconds: int) -> None:
    """When an update is cancelled at any point, as by the end of a session, the next one puts everything right."""
    one, two, _ = cluster.nodes
    tasks = await cluster.run(one, two)
    cluster.activate(1, False)
    update = NetworkUpdate(revision=9, complete=True, snapshots=cluster.snapshots())
    cut = asyncio.create_task(one.networks.apply(update, one.id))
    await asyncio.wait([cut], timeout=milliseconds / 1000)
    cut.cancel()
    await asyncio.wait([cut])
    await one.networks.apply(update, one.id)
    with serving(tasks):
        assert set(spread(client, one.address, 8080, 4)) == {"web0"}
        assert set(spread(tasks[0].netns, cluster.vip, 80, 4)) == {"web0"}
    assert await asyncio.to_thread(lookup, tasks[0].netns, "tasks.web") == ("NOERROR", ["10.0.1.10"])


async def test_leaving_removes_everything(cluster: Cluster) -> None:
    """After the last container is closed and the swarm left, no link, table, namespace or file of it is on the node."""
    node = cluster.nodes[0]
    await cluster.run(node)
    (record,) = (node.directory / "run" / "sandboxes").glob("*.json")
    await node.networks.close(record.stem)
    await node.networks.leave_swarm()
    await node.networks.leave_swarm()
    await until(lambda: {line.split()[0].split("@")[0] for line in ip("-br", "link", netns=node.netns).splitlines()}
                == {"lo", "eth0", "docker0"})  # fmt: skip
    assert "ovbr" not in nft("list", "ruleset", netns=node.netns)
    assert not list((node.directory / "run" / "netns").iterdir())
    assert not (node.directory / "state" / "swarm.json").exists()
    assert ip("rule", netns=node.netns).count("\n") == 3


async def test_state_on_disk_is_private(cluster: Cluster) -> None:
    """The daemon's state is readable by its owner only."""
    state = cluster.nodes[0].directory / "state"
    assert encode(cluster.snapshots()[0])
    assert {path.stat().st_mode & 0o777 for path in state.iterdir()} == {0o600}
