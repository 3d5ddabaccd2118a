"""Addresses and ports: nobody gets what another has, and what is freed comes back."""

from __future__ import annotations

import ipaddress

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from shoal.manager.allocator.allocate import free_subnet
from shoal.model.objects import Network, NodeStatus, Service, Task
from shoal.model.states import TaskState
from shoal.model.swarm_spec import (
    IPAM,
    EndpointSpec,
    IPAMConfig,
    NetworkAttachmentConfig,
    NetworkSpec,
    PortConfig,
)
from shoal.store.base import Delete
from tests.unit.manager_world import World, node, spec

WEBNET = Network(id="webnet", spec=NetworkSpec(name="webnet"))
ON_WEBNET = {"networks": [NetworkAttachmentConfig(target="webnet", aliases=["www"])]}


def network(world: World, id: str) -> Network:
    found = world.view.get(Network, id)
    assert found is not None
    return found


def held(world: World) -> list[tuple[str, str]]:
    """Every address in use: of tasks that have not ended, services, nodes, and gateways."""
    found = []
    for task in world.view.all(Task):
        if not task.status.state.terminal:
            found += [(a.network_id, address) for a in task.networks_attachments for address in a.addresses]
    for service in world.view.all(Service):
        found += [(vip.network_id, vip.addr) for vip in service.endpoint.virtual_ips]
    for one in ("a", "b"):
        found += [(a.network_id, address) for a in world.node(one).attachments for address in a.addresses]
    for net in world.view.all(Network):
        found += [(net.id, f"{config.gateway}/24") for config in net.ipam.config]
    return found


def test_networks_get_subnets_in_turn_ingress_first() -> None:
    """The ingress network has 10.0.0.0/24, the next one 10.0.1.0/24; gateways are .1; VXLAN ids begin at 4096."""
    world = World(WEBNET)
    world.settle()
    configs = [network(world, id).ipam.config for id in ("ingress", "webnet")]
    assert configs == [
        [IPAMConfig(subnet="10.0.0.0/24", gateway="10.0.0.1")],
        [IPAMConfig(subnet="10.0.1.0/24", gateway="10.0.1.1")],
    ]
    assert [network(world, id).vxlan_id for id in ("ingress", "webnet")] == [4096, 4097]


def test_a_subnet_of_the_user_s_own_is_kept_and_never_given_to_another() -> None:
    """What the user asked for stands; the pool goes around it."""
    own = Network(id="own", spec=NetworkSpec(name="own", ipam=IPAM(config=[IPAMConfig(subnet="10.0.1.0/25")])))
    world = World(own)
    world.settle()
    world.put(WEBNET)
    world.settle()
    assert network(world, "own").ipam.config == [IPAMConfig(subnet="10.0.1.0/25", gateway="10.0.1.1")]
    assert network(world, "webnet").ipam.config[0].subnet == "10.0.2.0/24"


def test_a_network_with_an_ipv6_subnet_gets_an_ipv4_one_too() -> None:
    """Tasks are reached over IPv4, so every overlay has such a subnet."""
    ipam = IPAM(config=[IPAMConfig(subnet="fd00:1::/64")])
    world = World(Network(id="six", spec=NetworkSpec(name="six", enable_ipv6=True, ipam=ipam)))
    world.settle()
    assert [(config.subnet, config.gateway) for config in network(world, "six").ipam.config] == [
        ("10.0.1.0/24", "10.0.1.1"),
        ("fd00:1::/64", "fd00:1::1"),
    ]


def test_a_service_has_an_address_on_each_network_and_its_tasks_too() -> None:
    """With a published port that is its network and the ingress; a number from 30000 on; the node takes part."""
    world = World(node("a"), WEBNET)
    world.settle()
    service = world.serve(
        spec(replicas=2, template=ON_WEBNET, endpoint_spec=EndpointSpec(ports=[PortConfig(target_port=80)]))
    )
    assert {vip.network_id for vip in service.endpoint.virtual_ips} == {"ingress", "webnet"}
    assert [port.published_port for port in service.endpoint.ports] == [30000]
    for task in world.alive():
        assert [a.network_id for a in task.networks_attachments] == ["ingress", "webnet"]
        assert task.networks_attachments[1].aliases == ["www"]
        assert task.endpoint == service.endpoint
    assert {a.network_id for a in world.node("a").attachments} == {"ingress", "webnet"}


def test_every_node_takes_part_in_the_ingress_network_only_until_it_runs_a_task() -> None:
    """A node without tasks has an ingress address; others come and go with its tasks."""
    world = World(node("a"), node("b"), WEBNET)
    world.settle()
    world.serve(spec(replicas=1, template=ON_WEBNET))
    attached = {id: {a.network_id for a in world.node(id).attachments} for id in ("a", "b")}
    assert attached == {"a": {"ingress", "webnet"}, "b": {"ingress"}}
    world.run()
    world.respec(spec(replicas=0, template=ON_WEBNET))
    world.obey()
    assert {a.network_id for a in world.node("a").attachments} == {"ingress"}


def test_dnsrr_has_no_address_and_node_local_networks_neither() -> None:
    """A dnsrr service loses its VIP; a service on the host's network has an attachment without addresses."""
    host = Network(id="host", driver="host", spec=NetworkSpec(name="host", driver="host"))
    world = World(node("a"), WEBNET, host)
    world.settle()
    world.serve(spec(template=ON_WEBNET))
    world.respec(spec(template=ON_WEBNET, endpoint_spec=EndpointSpec(mode="dnsrr")))
    assert world.service().endpoint.virtual_ips == []
    local = world.serve(spec("local", template={"networks": [NetworkAttachmentConfig(target="host")]}))
    (task,) = world.alive("local")
    assert local.endpoint.virtual_ips == [] and task.status.state == TaskState.ASSIGNED
    assert [(a.network_id, a.addresses) for a in task.networks_attachments] == [("host", [])]


def test_dynamic_ports_stick() -> None:
    """A port that the swarm chose stays when the service is updated, also after a change of leaders."""
    ports = [PortConfig(target_port=80), PortConfig(target_port=443)]
    world = World(node("a"))
    world.serve(spec("other", endpoint_spec=EndpointSpec(ports=[PortConfig(target_port=1)])))
    world.serve(spec(endpoint_spec=EndpointSpec(ports=ports)))
    world.restart()
    world.respec(spec(endpoint_spec=EndpointSpec(ports=ports[1:])))
    assert [port.published_port for port in world.service().endpoint.ports] == [30002]


def test_a_network_without_room_says_so_and_goes_on_when_there_is() -> None:
    """Tasks that get no address stay new, with the reason, and are placed once one is freed."""
    small = Network(id="webnet", spec=NetworkSpec(name="webnet", ipam=IPAM(config=[IPAMConfig(subnet="10.9.0.0/29")])))
    world = World(node("a"), small)
    world.settle()
    world.serve(spec(replicas=5, template=ON_WEBNET))
    waiting = [task for task in world.alive() if task.status.state == TaskState.NEW]
    assert len(waiting) >= 1
    assert waiting[0].status.err == "no address is free on network webnet (10.9.0.0/29)"
    world.run()
    world.respec(spec(replicas=3, template=ON_WEBNET))
    world.run()
    assert [task.status.state for task in world.alive()] == [TaskState.RUNNING] * 3


@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["scale", "fail", "obey", "kill", "back", "leader", "remove"]), st.integers(0, 9)),
        max_size=14,
    )
)
@settings(max_examples=60)
def test_no_address_is_ever_given_twice(steps: list[tuple[str, int]]) -> None:
    """Whatever comes and goes, no two hold one address, and at the end everything is free again."""
    world = World(node("a"), node("b"), WEBNET)
    world.settle()
    ports = EndpointSpec(ports=[PortConfig(target_port=80)])
    world.serve(spec(replicas=2, template=ON_WEBNET, endpoint_spec=ports))
    world.serve(spec("other", replicas=3, template=ON_WEBNET))
    for what, number in steps:
        if what == "scale":
            world.respec(spec(replicas=number, template=ON_WEBNET, endpoint_spec=ports))
        elif what == "fail" and world.alive():
            task = world.alive()[number % len(world.alive())]
            if not task.status.state.terminal:
                world.report(task, TaskState.FAILED)
        elif what == "obey":
            world.obey()
        elif what in ("kill", "back"):
            world.put(replace(world.node("b"), status=NodeStatus(state="down" if what == "kill" else "ready")))
        elif what == "leader":
            world.restart()
        world.wait(number)
        found = held(world)
        assert len(found) == len(set(found))
    world.put(replace(world.node("b"), status=NodeStatus(state="ready")))
    world.commit([Delete(thing=service) for service in world.view.all(Service)])
    world.settle()
    world.obey()
    assert world.view.all(Task) == []
    assert {network_id for network_id, _ in held(world)} == {"ingress", "webnet"}
    assert len(held(world)) == 4


@given(
    pool=st.sampled_from(["10.0.0.0/8", "172.20.0.0/14", "192.168.0.0/16"]),
    size=st.integers(16, 29),
    used=st.lists(st.tuples(st.integers(0, 2**16 - 1), st.integers(17, 29)), max_size=12),
)
def test_a_free_subnet_overlaps_no_other(pool: str, size: int, used: list[tuple[int, int]]) -> None:
    """The subnet found lies in the pool and overlaps nothing in use; none is found only when each would overlap."""
    base = int(ipaddress.IPv4Network(pool).network_address)
    taken = [ipaddress.IPv4Network((base + offset, mask), strict=False) for offset, mask in used]
    found = free_subnet([pool], size, taken)
    assert found is None or (
        found.subnet_of(ipaddress.IPv4Network(pool)) and not any(found.overlaps(other) for other in taken)
    )
    if found is None:
        every = ipaddress.IPv4Network(pool).subnets(new_prefix=size)
        assert all(any(block.overlaps(other) for other in taken) for block in every)
