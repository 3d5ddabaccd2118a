"""Bridges, sandboxes and published ports, in a node that is a namespace."""

from __future__ import annotations

import secrets
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from shoal.model.container import EndpointIPAM, EndpointSettings, PortBinding
from shoal.model.errors import Conflict, InvalidArgument, NotFound, PermissionDenied, ShoalError, Unimplemented
from shoal.model.swarm_spec import IPAM, ConfigReference, IPAMConfig, NetworkSpec
from shoal.network import Networks, SandboxRequest
from tests.system.network_lab import Lab, Server, ask, ask_udp, entered, ip, nft
from tests.waiting import until

pytestmark = pytest.mark.system

NODE = "192.168.99.101"
CLIENT = "192.168.99.7"


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    made = Lab(tmp_path)
    yield made
    made.close()


@pytest.fixture
def node(lab: Lab) -> Path:
    return lab.host("node", NODE)


@pytest.fixture
def client(lab: Lab) -> Path:
    return lab.host("client", CLIENT)


@pytest.fixture
async def networks(tmp_path: Path, node: Path) -> AsyncIterator[Networks]:
    async with Networks(tmp_path / "state", tmp_path / "run", netns=node) as made:
        yield made
        for path in list((tmp_path / "run" / "netns").iterdir()):
            await made.close(path.name)


def request(name: str = "box", **options: object) -> SandboxRequest:
    return SandboxRequest(container_id=secrets.token_hex(32), name=name, hostname=name, **options)  # type: ignore[arg-type]


def publish(port: str, host: str = "", host_ip: str = "") -> dict[str, list[PortBinding]]:
    return {port: [PortBinding(host_ip=host_ip, host_port=host)]}


async def test_two_containers_on_the_bridge_reach_each_other(networks: Networks) -> None:
    """Containers on the default bridge get successive addresses from 172.17.0.2 and can talk."""
    first, second = await networks.open(request()), await networks.open(request())
    assert first.endpoints["bridge"].ip_address == "172.17.0.2"
    assert second.endpoints["bridge"].ip_address == "172.17.0.3"
    assert first.endpoints["bridge"].gateway == "172.17.0.1"
    assert first.endpoints["bridge"].mac_address == "02:42:ac:11:00:02"
    with Server(first.netns, 80, "first"):
        assert ask(second.netns, "172.17.0.2", 80) == "first 172.17.0.3"


async def test_published_port_from_everywhere(networks: Networks, node: Path, client: Path) -> None:
    """A published port answers to outside clients with their own address, to localhost, and to containers."""
    box = await networks.open(request(port_bindings=publish("80/tcp", "8080")))
    other = await networks.open(request())
    assert box.ports == {"80/tcp": [PortBinding(host_ip="0.0.0.0", host_port="8080")]}
    with Server(box.netns, 80, "box"):
        assert ask(client, NODE, 8080) == f"box {CLIENT}"
        assert ask(node, "127.0.0.1", 8080) == "box 172.17.0.1"
        assert ask(node, NODE, 8080).startswith("box ")
        assert ask(other.netns, NODE, 8080).startswith("box ")
        assert ask(box.netns, NODE, 8080).startswith("box ")
        assert ask(other.netns, "172.17.0.1", 8080).startswith("box ")


async def test_published_udp_port(networks: Networks, node: Path, client: Path) -> None:
    """UDP ports are published too."""
    box = await networks.open(request(port_bindings=publish("53/udp", "5353")))
    with Server(box.netns, 53, "box", udp=True):
        assert ask_udp(client, NODE, 5353) == f"box {CLIENT}"
        assert ask_udp(node, "127.0.0.1", 5353).startswith("box ")


async def test_a_port_is_given_once(networks: Networks) -> None:
    """A host port that another container has is refused in docker's words, and the refused sandbox leaves nothing."""
    await networks.open(request(port_bindings=publish("80/tcp", "8080")))
    refused = request("late", port_bindings=publish("80/tcp", "8080"))
    with pytest.raises(ShoalError, match=r"driver failed programming external connectivity on endpoint late \(\w+\): "
                       r"Bind for 0\.0\.0\.0:8080 failed: port is already allocated"):  # fmt: skip
        await networks.open(refused)
    assert len(networks.attached(networks.find("bridge").id)) == 1


async def test_a_port_that_a_process_has_is_refused(networks: Networks, node: Path) -> None:
    """A host port on which a process of the host listens is refused."""
    with Server(node, 8080), pytest.raises(ShoalError, match=r"0\.0\.0\.0:8080/tcp: address already in use"):
        await networks.open(request(port_bindings=publish("80/tcp", "8080")))


async def test_a_process_cannot_take_a_published_port(networks: Networks, node: Path) -> None:
    """While a port is published, no process of the host can listen on it; afterwards it can."""
    wanted = request(port_bindings=publish("80/tcp", "8080"))
    await networks.open(wanted)
    with pytest.raises(OSError, match="Address already in use"):
        Server(node, 8080)
    await networks.close(wanted.container_id)
    Server(node, 8080).close()


async def test_port_on_one_host_address(networks: Networks, node: Path, client: Path) -> None:
    """A port bound to 127.0.0.1 answers there and nowhere else."""
    box = await networks.open(request(port_bindings=publish("80/tcp", "8080", "127.0.0.1")))
    with Server(box.netns, 80, "box"):
        assert ask(node, "127.0.0.1", 8080).startswith("box ")
        with pytest.raises(ConnectionRefusedError):
            ask(client, NODE, 8080)


async def test_ephemeral_ports(networks: Networks, client: Path) -> None:
    """Without a host port one from 32768-60999 is chosen; `publish_all` does so for every exposed port."""
    box = await networks.open(request(exposed_ports=["80/tcp", "81/tcp"], publish_all=True))
    numbers = [int(box.ports[port][0].host_port) for port in ("80/tcp", "81/tcp")]
    assert len(set(numbers)) == 2
    assert all(32768 <= number <= 60999 for number in numbers)
    with Server(box.netns, 81, "box"):
        assert ask(client, NODE, numbers[1]) == f"box {CLIENT}"


async def test_egress_is_masqueraded(networks: Networks, client: Path) -> None:
    """A container reaches the outside under the node's address."""
    box = await networks.open(request())
    with Server(client, 9000, "outside"):
        assert ask(box.netns, CLIENT, 9000) == f"outside {NODE}"


async def test_bridges_are_isolated(networks: Networks, client: Path) -> None:
    """Containers on different bridges, and neighbours of the host, do not reach a container's unpublished ports."""
    await networks.create(NetworkSpec(name="one"))
    inside = await networks.open(request(network_mode="one"))
    other = await networks.open(request())
    address = inside.endpoints["one"].ip_address
    assert address == "172.18.0.2"
    ip("route", "add", "172.18.0.0/16", "via", NODE, netns=client)
    with Server(inside.netns, 80):
        for place in (other.netns, client):
            with pytest.raises(TimeoutError):
                ask(place, address, 80, patience=3)


async def test_internal_network_has_no_way_out(networks: Networks, client: Path) -> None:
    """On an internal network containers talk to each other and to nobody else."""
    await networks.create(NetworkSpec(name="inner", internal=True))
    first = await networks.open(request(network_mode="inner"))
    second = await networks.open(request(network_mode="inner"))
    with Server(first.netns, 80, "first"), Server(client, 80, "outside"):
        assert ask(second.netns, first.endpoints["inner"].ip_address, 80).startswith("first ")
        with pytest.raises(OSError, match="unreachable"):
            ask(second.netns, CLIENT, 80)


async def test_fixed_address_and_mac(networks: Networks) -> None:
    """A container gets the address it asks for; taken and foreign ones are refused in docker's words."""
    config = IPAMConfig(subnet="10.77.0.0/24", gateway="10.77.0.254")
    await networks.create(NetworkSpec(name="own", ipam=IPAM(config=[config])))

    def asking(address: str, network: str = "own") -> SandboxRequest:
        wanted = EndpointSettings(ipam_config=EndpointIPAM(ipv4_address=address))
        return request(network_mode=network, endpoints={network: wanted})

    box = await networks.open(asking("10.77.0.9"))
    assert box.endpoints["own"].ip_address == "10.77.0.9"
    assert box.endpoints["own"].gateway == "10.77.0.254"
    with pytest.raises(PermissionDenied, match="Address already in use"):
        await networks.open(asking("10.77.0.9"))
    with pytest.raises(InvalidArgument, match="no configured subnet"):
        await networks.open(asking("10.78.0.9"))
    with pytest.raises(InvalidArgument, match="supported on user defined networks only"):
        await networks.open(asking("172.17.0.9", "bridge"))


async def test_host_none_and_shared(networks: Networks) -> None:
    """`host` has no namespace of its own, `none` only loopback, `container:<id>` the other's."""
    assert (await networks.open(request(network_mode="host"))).netns == ""
    alone = await networks.open(request(network_mode="none"))
    assert ip("-br", "link", netns=alone.netns).split()[0] == "lo"
    assert len(ip("-br", "link", netns=alone.netns).splitlines()) == 1
    owner = request()
    box = await networks.open(owner)
    assert (await networks.open(request(network_mode=f"container:{owner.container_id}"))).netns == box.netns
    with pytest.raises(ShoalError, match="cannot join network of a non running container: gone"):
        await networks.open(request(network_mode="container:gone"))


async def test_networks_of_the_user(networks: Networks, node: Path) -> None:
    """Networks are made, listed, found and removed; wrong uses get docker's words."""
    made = await networks.create(NetworkSpec(name="web", labels={"a": "b"}))
    assert [item.name for item in networks.list()] == ["bridge", "host", "none", "web"]
    assert networks.find("web") == networks.find(made.id) == networks.find(made.id[:12]) == made
    assert f"br-{made.id[:12]}" in ip("-br", "link", netns=node)
    with pytest.raises(Conflict, match="network with name web already exists"):
        await networks.create(NetworkSpec(name="web"))
    with pytest.raises(PermissionDenied, match="operation is not permitted on predefined bridge network"):
        await networks.create(NetworkSpec(name="bridge"))
    with pytest.raises(PermissionDenied, match="Pool overlaps with other one on this address space"):
        await networks.create(NetworkSpec(name="x", ipam=IPAM(config=[IPAMConfig(subnet="172.18.5.0/24")])))
    with pytest.raises(PermissionDenied, match="host is a pre-defined network and cannot be removed"):
        await networks.remove("host")
    with pytest.raises(NotFound, match="network nope not found"):
        await networks.remove("nope")
    box = request(network_mode="web")
    await networks.open(box)
    with pytest.raises(PermissionDenied, match="network web has active endpoints"):
        await networks.remove("web")
    await networks.close(box.container_id)
    await networks.remove("web")
    assert f"br-{made.id[:12]}" not in ip("-br", "link", netns=node)


@pytest.mark.parametrize(
    "asked",
    [
        NetworkSpec(name="x", enable_ipv6=True),
        NetworkSpec(name="x", enable_ipv4=False),
        NetworkSpec(name="x", config_only=True),
        NetworkSpec(name="x", config_from=ConfigReference(network="y")),
    ],
)
async def test_what_a_bridge_cannot_be_is_refused(networks: Networks, asked: NetworkSpec) -> None:
    """By the option's name, with nothing made."""
    with pytest.raises(Unimplemented, match=r"--(ipv6|ipv4=false|config-only|config-from) is not supported"):
        await networks.create(asked)
    assert [item.name for item in networks.list()] == ["bridge", "host", "none"]


async def test_connect_and_disconnect(networks: Networks) -> None:
    """A running container joins and leaves a network; its old interface stays as it was."""
    await networks.create(NetworkSpec(name="second"))
    box, other = request(), request(network_mode="second")
    sandbox, peer = await networks.open(box), await networks.open(other)
    got = await networks.connect(box.container_id, "second", EndpointSettings())
    assert got.ip_address == "172.18.0.3"
    with Server(sandbox.netns, 80, "box"):
        assert ask(peer.netns, "172.18.0.3", 80).startswith("box ")
        with pytest.raises(PermissionDenied, match="already exists in network second"):
            await networks.connect(box.container_id, "second", EndpointSettings())
        await networks.disconnect(box.container_id, "second")
        with pytest.raises(OSError):
            ask(peer.netns, "172.18.0.3", 80, patience=1)
    with pytest.raises(ShoalError, match="is not connected to"):
        await networks.disconnect(box.container_id, "second")
    with pytest.raises(InvalidArgument):
        await networks.connect(box.container_id, "host", EndpointSettings())


async def test_killed_daemon_finds_its_sandboxes_again(tmp_path: Path, node: Path, client: Path) -> None:
    """A second daemon over the same directories takes up the running containers, their addresses and ports."""
    where = (tmp_path / "state", tmp_path / "run")
    box = request(port_bindings=publish("80/tcp", "8080"))
    killed = await Networks(*where, netns=node).__aenter__()
    before = await killed.open(box)
    killed._fabric.close()  # the kernel would: a killed process holds no sockets
    with Server(before.netns, 80, "box"):
        assert ask(client, NODE, 8080) == f"box {CLIENT}"
        async with Networks(*where, netns=node) as networks:
            assert await networks.open(box) == before
            assert ask(client, NODE, 8080) == f"box {CLIENT}"
            fresh = await networks.open(request())
            assert fresh.endpoints["bridge"].ip_address == "172.17.0.3"
            with pytest.raises(ShoalError, match="port is already allocated"):
                await networks.open(request(port_bindings=publish("80/tcp", "8080")))
            for path in list((tmp_path / "run" / "netns").iterdir()):
                await networks.close(path.name)
    killed._threads.close()


async def test_rules_that_somebody_flushed_come_back(networks: Networks, node: Path, client: Path) -> None:
    """`systemctl restart nftables` takes all rules away: the next change brings ours back, and nothing is stuck."""
    first = request(port_bindings=publish("80/tcp", "8080"))
    await networks.open(first)
    nft("flush", "ruleset", netns=node)
    await networks.close(first.container_id)
    second = await networks.open(request(port_bindings=publish("80/tcp", "8080")))
    nft("flush", "ruleset", netns=node)
    third = await networks.open(request(port_bindings=publish("80/tcp", "8081")))
    with Server(second.netns, 80, "second"), Server(third.netns, 80, "third"):
        assert ask(client, NODE, 8080) == f"second {CLIENT}"
        assert ask(client, NODE, 8081) == f"third {CLIENT}"


async def test_one_step_that_fails_loses_no_port(networks: Networks, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever cannot be taken away, the rest of a sandbox goes, and its port is free."""

    async def fails(owner: str, ports: object) -> None:
        raise ShoalError("the kernel says no")

    box = request(port_bindings=publish("80/tcp", "8080"))
    await networks.open(box)
    with monkeypatch.context() as patch, pytest.raises(ShoalError, match="the kernel says no"):
        patch.setattr(networks._sandboxes._fabric, "publish", fails)
        await networks.close(box.container_id)
    again = await networks.open(request(port_bindings=publish("80/tcp", "8080")))
    assert again.ports == {"80/tcp": [PortBinding(host_ip="0.0.0.0", host_port="8080")]}


async def test_damaged_hints_do_not_keep_a_daemon_from_starting(tmp_path: Path, node: Path) -> None:
    """What managers tell again anyway may be lost in a power cut; one container's own doings are its own trouble."""
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "swarm.json").touch()
    async with Networks(tmp_path / "state", tmp_path / "run", netns=node) as networks:
        await networks.create(NetworkSpec(name="own"))
        box = request(network_mode="own")
        sandbox = await networks.open(box)
    ip("address", "flush", "dev", "lo", netns=Path(sandbox.netns))
    async with Networks(tmp_path / "state", tmp_path / "run", netns=node) as networks:
        await networks.close(box.container_id)


async def test_nothing_is_left(tmp_path: Path, node: Path) -> None:
    """When the last container is closed and the daemon ends, bridges, tables, namespaces and sockets are gone."""
    async with Networks(tmp_path / "state", tmp_path / "run", netns=node) as networks:
        box = request(port_bindings=publish("80/tcp", "8080"))
        await networks.open(box)
        assert "docker0" in ip("-br", "link", netns=node)
        await networks.close(box.container_id)
        await networks.close(box.container_id)
    await until(lambda: devices(node) == {"lo", "eth0"})
    assert nft("list", "ruleset", netns=node) == ""
    assert not list((tmp_path / "run" / "netns").iterdir())
    assert not list((tmp_path / "run" / "sandboxes").iterdir())


def devices(netns: Path) -> set[str]:
    return {line.split()[0].split("@")[0] for line in ip("-br", "link", netns=netns).splitlines()}


async def test_files(networks: Networks) -> None:
    """/etc/hosts names the container and what was asked for; resolv.conf is the host's on the default bridge."""
    box = await networks.open(request("me", extra_hosts=["db:10.1.2.3", "up:host-gateway"]))
    assert "172.17.0.2\tme\n" in box.hosts
    assert "10.1.2.3\tdb\n" in box.hosts
    assert "172.17.0.1\tup\n" in box.hosts
    assert "127.0.0.11" not in box.resolv_conf
    await networks.create(NetworkSpec(name="web"))
    named = await networks.open(request(network_mode="web"))
    assert named.resolv_conf.startswith("nameserver 127.0.0.11\n")
    assert "ndots:0" in named.resolv_conf


async def test_two_engines_on_one_host(networks: Networks, tmp_path: Path, node: Path, client: Path) -> None:
    """A second daemon on the same host takes another bridge and subnet, and both work."""
    async with Networks(tmp_path / "state2", tmp_path / "run2", netns=node) as others:
        first = await networks.open(request(port_bindings=publish("80/tcp", "8080")))
        wanted = request(port_bindings=publish("80/tcp", "8081"))
        second = await others.open(wanted)
        assert second.endpoints["bridge"].ip_address == "172.18.0.2"
        with Server(first.netns, 80, "first"), Server(second.netns, 80, "second"):
            assert ask(client, NODE, 8080) == f"first {CLIENT}"
            assert ask(client, NODE, 8081) == f"second {CLIENT}"
            assert ask(first.netns, NODE, 8081).startswith("second ")
            with pytest.raises(ShoalError, match="address already in use"):
                await others.open(request(port_bindings=publish("80/tcp", "8080")))
        await others.close(wanted.container_id)


async def test_beside_a_firewall_that_drops(lab: Lab, tmp_path: Path, node: Path, client: Path) -> None:
    """On a host whose FORWARD policy is DROP, as Docker Engine sets it, ports and egress work; no rule is left."""
    for rule in (["-P", "FORWARD", "DROP"], ["-N", "DOCKER-USER"], ["-A", "FORWARD", "-j", "DOCKER-USER"]):
        subprocess.run(["nsenter", f"--net={node}", "iptables", *rule], check=True)
    async with Networks(tmp_path / "state", tmp_path / "run", netns=node) as networks:
        wanted = request(port_bindings=publish("80/tcp", "8080"))
        box = await networks.open(wanted)
        with Server(box.netns, 80, "box"), Server(client, 9000, "outside"):
            assert ask(client, NODE, 8080) == f"box {CLIENT}"
            assert ask(box.netns, CLIENT, 9000) == f"outside {NODE}"
        await networks.close(wanted.container_id)
    assert "docker0" not in nft("list", "ruleset", netns=node)


async def test_loopback_of_the_host_is_safe(networks: Networks, node: Path) -> None:
    """A container that routes 127.0.0.0/8 to the bridge does not reach what listens on the host's loopback."""
    box = await networks.open(request())
    ip("route", "add", "default", "via", "172.17.0.1", "table", "9", netns=box.netns)
    ip("rule", "add", "to", "127.9.9.9", "lookup", "9", "pref", "0", netns=box.netns)
    with entered(box.netns):
        Path("/proc/sys/net/ipv4/conf/all/route_localnet").write_text("1")
    with Server(node, 9000, "private", address="127.9.9.9"), pytest.raises((TimeoutError, OSError)):
        ask(box.netns, "127.9.9.9", 9000, patience=3)


def test_ports_have_a_lab_of_their_own() -> None:
    """The test's own namespace is untouched: the thread is back where it was."""
    assert socket.if_nameindex()[0][1] == "lo"
