"""Overlays, the mesh and names, as derived from a manager's snapshot."""

from __future__ import annotations

from random import Random

import dns.message
import dns.rcode
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from shoal.model.container import EndpointSettings
from shoal.model.errors import InvalidArgument
from shoal.model.netstate import EndpointRecord, NetworkSnapshot, NetworkUpdate, PeerRecord, ServiceRecord
from shoal.model.objects import Network
from shoal.model.swarm_spec import IPAM, IPAMConfig, NetworkSpec, PortConfig
from shoal.network import mesh, names, segments
from shoal.network.answers import answer, refusal
from shoal.network.kernel.routes import Forwarding, Neighbour
from shoal.network.local import MTU, check_mtu

PORTS = [
    PortConfig(target_port=80, published_port=8080),
    PortConfig(target_port=443, published_port=8443),
    PortConfig(protocol="udp", target_port=53, published_port=8080),
]


def snapshot(*, ingress: bool = False, nodes: int = 3, ports: list[PortConfig] = PORTS) -> NetworkSnapshot:
    network = Network(
        id="net",
        spec=NetworkSpec(name="webnet", ingress=ingress),
        vxlan_id=4097,
        ipam=IPAM(config=[IPAMConfig(subnet="10.0.0.0/16", gateway="10.0.0.1")]),
    )
    peers = [
        PeerRecord(
            node_id=f"n{number}", underlay=f"192.168.9.{number}", address=f"10.0.{number // 200}.{number % 200 + 2}"
        )
        for number in range(1, nodes + 1)
    ]
    endpoints = [
        EndpointRecord(
            task_id=f"t{number}", service_id="s", name=f"web.{number}.t{number}", node_id=f"n{number}",
            address=f"10.0.9.{number}", aliases=["alone"] if number == 1 else [], active=number != 3,
        )
        for number in (1, 2, 3)
    ]  # fmt: skip
    service = ServiceRecord(id="s", name="web", vip="" if ingress else "10.0.8.1", aliases=["site"], ports=ports)
    return NetworkSnapshot(network=network, revision=1, services=[service], endpoints=endpoints, peers=peers)


def test_segment_knows_the_others_and_not_itself() -> None:
    """The kernel is told of every endpoint and node elsewhere, active or not, and of none here."""
    found = segments.segment(snapshot(), "n1", 4789, 1450)
    assert found.local == "192.168.9.1"
    assert Neighbour("10.0.9.2", "02:42:0a:00:09:02") in found.neighbours
    assert Neighbour("10.0.9.3", "02:42:0a:00:09:03") in found.neighbours
    assert Forwarding("02:42:0a:00:09:02", "192.168.9.2") in found.forwardings
    assert not any(entry.address == "10.0.9.1" for entry in found.neighbours)
    assert {entry.underlay for entry in found.forwardings} == {"192.168.9.2", "192.168.9.3"}
    assert found.address == ""


entries = st.builds(Forwarding, st.sampled_from(["m1", "m2", "m3"]), st.sampled_from(["h1", "h2"]))
tables = st.frozensets(entries).filter(lambda some: len({entry.mac for entry in some}) == len(some))


@given(old=tables, new=tables)
def test_forwarding_changes_are_minimal_and_complete(old: frozenset[Forwarding], new: frozenset[Forwarding]) -> None:
    """New entries set, and old ones deleted, give the new table; an entry that stays is not touched."""
    start = segments.Segment("net", 1, 1450, 4789, "x")
    difference = segments.change(replaced(start, old), replaced(start, new))
    table = {entry.mac: entry.underlay for entry in old}
    for entry in difference.gone_forwardings:
        del table[entry.mac]
    table |= {entry.mac: entry.underlay for entry in difference.new_forwardings}
    assert table == {entry.mac: entry.underlay for entry in new}
    assert not set(difference.new_forwardings) & old
    assert bool(difference) == (old != new)


def replaced(start: segments.Segment, forwardings: frozenset[Forwarding]) -> segments.Segment:
    return segments.Segment(start.network_id, start.vni, start.mtu, start.port, start.local, forwardings=forwardings)


def test_another_underlay_address_remakes_the_vxlan() -> None:
    """A new address or data path port of the node needs a new VXLAN."""
    before = segments.segment(snapshot(), "n1", 4789, 1450)
    assert not segments.change(before, before)
    assert segments.change(before, segments.segment(snapshot(), "n1", 4790, 1450)).remake
    moved = replace(snapshot(), peers=[replace(snapshot().peers[0], underlay="192.168.9.77"), *snapshot().peers[1:]])
    assert segments.change(before, segments.segment(moved, "n1", 4789, 1450)).remake
    elsewhere = segments.change(
        segments.segment(snapshot(), "n2", 4789, 1450), segments.segment(moved, "n2", 4789, 1450)
    )
    assert not elsewhere.remake
    assert {entry.underlay for entry in elsewhere.new_forwardings} == {"192.168.9.77"}
    assert not elsewhere.gone_forwardings


def test_updates_merge() -> None:
    """A complete update replaces everything; another adds, changes and removes what it names."""
    one = snapshot()
    other = replace(one, network=replace(one.network, id="other"))
    held = segments.merged({}, NetworkUpdate(revision=1, snapshots=[one, other]))
    assert set(held) == {"net", "other"}
    assert set(segments.merged(held, NetworkUpdate(revision=2, removed=["net"]))) == {"other"}
    assert set(segments.merged(held, NetworkUpdate(revision=2, complete=True, snapshots=[one]))) == {"net"}
    newer = replace(one, revision=9)
    assert segments.merged(held, NetworkUpdate(revision=9, snapshots=[newer]))["net"].revision == 9


@pytest.mark.parametrize(("option", "underlay", "mtu"), [("", 1500, 1450), ("", 1400, 1350), ("", 9000, 1450), ("1300", 1500, 1300)])  # fmt: skip
def test_overlay_mtu(option: str, underlay: int, mtu: int) -> None:
    """The MTU is what VXLAN leaves of the way between the nodes, 1450 at most, or what the user asks for."""
    options = {"com.docker.network.driver.mtu": option} if option else {}
    one = snapshot()
    asked = replace(one, network=replace(one.network, spec=replace(one.network.spec, options=options)))
    assert segments.overlay_mtu(asked, underlay) == mtu


@pytest.mark.parametrize("text", ["1", "67", "65536", "-5", "x", "²", "1400.0", ""])
def test_a_bad_mtu_is_refused(text: str) -> None:
    """Of any network, when it is made: on a node it would be too late."""
    with pytest.raises(InvalidArgument, match="invalid MTU"):
        check_mtu({MTU: text})


def test_mesh_leads_to_active_tasks_only() -> None:
    """Each ingress port leads to the active tasks, at a port of this node's own."""
    rules = mesh.mesh_rules(snapshot(ingress=True), "n2", 1450)
    assert rules
    assert {(port.protocol, port.published) for port in rules.ports} == {("tcp", 8080), ("tcp", 8443), ("udp", 8080)}
    for port in rules.ports:
        assert set(port.backends) == {"10.0.9.1", "10.0.9.2"}
    assert mesh.mesh_rules(snapshot(ingress=True), "stranger", 1450) is None


@given(
    nodes=st.integers(1, 400),
    published=st.lists(st.integers(1, 65535), min_size=1, max_size=8, unique=True),
)
def test_entrances_never_collide(nodes: int, published: list[int]) -> None:
    """No two nodes or ports of a service share the port at which its tasks are addressed, and tasks know them all."""
    ports = [PortConfig(target_port=number, published_port=number) for number in published]
    state = snapshot(ingress=True, nodes=nodes, ports=ports)
    gates = mesh.gates(state, mesh.service_at(state, "10.0.9.1")).values()
    for gate in gates:
        assert len({port for _, port, _ in gate.ports}) == len(published)
    everything = [port for gate in gates for _, port, _ in gate.ports]
    assert len(set(everything)) == nodes * len(published)
    assert all(1024 <= port <= 65535 for port in everything)
    assert len({gate.mark for gate in gates}) == nodes


def test_node_and_task_agree_on_entrances() -> None:
    """The port that a node uses is the one that the task's namespace redirects, to the right target."""
    state = snapshot(ingress=True)
    rules = mesh.mesh_rules(state, "n3", 1450)
    assert rules
    gate = mesh.gates(state, "s")["10.0.0.5"]
    targets = {("tcp", 8080): 80, ("tcp", 8443): 443, ("udp", 8080): 53}
    assert set(gate.ports) == {
        (port.protocol, port.port, targets[port.protocol, port.published]) for port in rules.ports
    }


def test_callers_begin_at_different_tasks() -> None:
    """Not every caller's first connection goes to the same task."""
    tasks = [f"10.0.0.{number}" for number in range(10)]
    firsts = {mesh.turned(tasks, f"container{number}")[0] for number in range(50)}
    assert len(firsts) > 5
    assert sorted(mesh.turned(tasks, "x")) == sorted(tasks)


def test_names_of_a_swarm_network() -> None:
    """Service and alias mean the VIP, tasks.<service> the active tasks, a container's name and own alias its address."""
    views = [names.of_swarm(snapshot())]
    assert names.find(views, "web") == ["10.0.8.1"]
    assert names.find(views, "Site.") == ["10.0.8.1"]
    assert names.find(views, "tasks.web") == ["10.0.9.1", "10.0.9.2"]
    assert names.find(views, "web.2.t2") == ["10.0.9.2"]
    assert names.find(views, "web.3.t3") is None
    assert names.find(views, "alone.webnet") == ["10.0.9.1"]
    assert names.find(views, "web.othernet") is None
    assert names.find_reverse(views, "10.0.8.1") == "web.webnet"


def test_names_of_a_local_network() -> None:
    """Two containers with one alias are both its meaning."""
    ends = [EndpointSettings(dns_names=["a", "db"], ip_address="10.1.1.2"), EndpointSettings(dns_names=["b", "db"], ip_address="10.1.1.3")]  # fmt: skip
    views = [names.of_local("mine", ends)]
    assert names.find(views, "db") == ["10.1.1.2", "10.1.1.3"]
    assert names.find_reverse(views, "10.1.1.3") == "b.mine"


def reply(name: str, kind: str = "A", *, tcp: bool = False, payload: int | None = None) -> dns.message.Message | None:
    query = dns.message.make_query(name, kind, use_edns=0 if payload else None, payload=payload or 0)
    made = answer(query.to_wire(), [names.of_swarm(snapshot())], Random(1), tcp=tcp)
    return dns.message.from_wire(made) if made else None


def test_answers() -> None:
    """Our names are answered, also when there is no IPv6 address; others are not ours to answer."""
    found = reply("web.")
    assert found
    assert found.answer[0].ttl <= 5
    assert [item.to_text() for item in found.answer[0]] == ["10.0.8.1"]
    empty = reply("web.", "AAAA")
    assert empty
    assert (empty.rcode(), empty.answer) == (dns.rcode.NOERROR, [])
    assert reply("example.com.") is None
    assert reply("4.3.2.1.in-addr.arpa.", "PTR") is None
    assert reply("nonsense.in-addr.arpa.", "PTR") is None


def test_known_name_without_a_task() -> None:
    """A dnsrr service without active tasks does not exist for the moment; nobody else is asked."""
    state = snapshot()
    idle = replace(state, services=[replace(state.services[0], vip="")], endpoints=[])
    query = dns.message.make_query("web.", "A")
    made = answer(query.to_wire(), [names.of_swarm(idle)], Random(1), tcp=False)
    assert made
    assert dns.message.from_wire(made).rcode() == dns.rcode.NXDOMAIN


def test_long_answers_are_truncated() -> None:
    """What does not fit a datagram says so, and comes whole over TCP."""
    state = snapshot()
    many = [
        EndpointRecord(task_id=f"t{n}", service_id="s", name=f"n{n}", node_id="n1", address=f"10.0.7.{n}", active=True)
        for n in range(1, 101)
    ]
    views = [names.of_swarm(replace(state, endpoints=many))]
    query = dns.message.make_query("tasks.web.", "A").to_wire()
    short, whole = answer(query, views, Random(1), tcp=False), answer(query, views, Random(1), tcp=True)
    assert short
    assert whole
    assert len(short) <= 512
    assert dns.message.from_wire(short).flags & dns.flags.TC
    assert len(dns.message.from_wire(whole).answer[0]) == 100


@given(st.binary(max_size=64))
def test_rubbish_is_survived(data: bytes) -> None:
    """Whatever comes in, the resolver does not fail, and never answers an answer."""
    for made in (answer(data, [], Random(1), tcp=False), refusal(data)):
        assert not made or (len(data) >= 2 and made[:2] == data[:2] and made[2] & 0x80)
