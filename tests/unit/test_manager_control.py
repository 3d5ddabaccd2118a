"""What users may ask, and what they are told when they may not."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta

import pytest
from msgspec.structs import replace

from shoal.kit.clock import LoopClock
from shoal.kit.ids import SeededIds
from shoal.manager.control import Control, initial_objects
from shoal.manager.control.cluster import check_pool
from shoal.model.errors import (
    Conflict,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    OutOfSequence,
    PermissionDenied,
    ShoalError,
    Unimplemented,
)
from shoal.model.objects import (
    Cluster,
    JoinTokens,
    ManagerStatus,
    Network,
    NodeDescription,
    NodeStatus,
    RootCA,
    Service,
    Task,
    TaskStatus,
    TLSInfo,
    UpdateStatus,
)
from shoal.model.states import TaskState
from shoal.model.swarm_spec import (
    IPAM,
    CAConfig,
    ClusterSpec,
    ConfigReference,
    ContainerSpec,
    DispatcherConfig,
    Empty,
    EncryptionConfig,
    EndpointSpec,
    HealthConfig,
    IPAMConfig,
    Limit,
    Mount,
    NetworkAttachmentConfig,
    NetworkSpec,
    NodeSpec,
    OrchestrationConfig,
    Placement,
    PortConfig,
    RaftConfig,
    ResourceRequirements,
    RestartPolicy,
    ServiceMode,
    ServiceSpec,
    UpdateConfig,
)
from shoal.store.base import Delete, Fence, Put, Write
from shoal.store.memory import MemoryStore
from tests.cluster.fakeswarm import node, spec

RPC = "rpc error: code = {} desc = "


async def swarm(*things: object) -> Control:
    """The control of a fresh swarm, with these objects besides."""
    clock = LoopClock()
    store = MemoryStore(clock)
    first = initial_objects(
        SeededIds(1),
        cluster_id="cluster",
        root_ca=RootCA(certificate=b"root"),
        tls_info=TLSInfo(),
        join_tokens=JoinTokens(worker="w0", manager="m0"),
        spec=ClusterSpec(),
    )
    await store.commit([Put(thing=thing) for thing in [*first, *things]])  # type: ignore[arg-type]
    tokens = iter(["t1", "t2", "t3"])
    return Control(store, clock, SeededIds(2), new_token=lambda bundle: next(tokens))


async def refused(work: Awaitable[object], kind: type[ShoalError], text: str) -> None:
    with pytest.raises(kind) as caught:
        await work
    assert caught.value.message == text


def container(**fields: object) -> ServiceSpec:
    template = spec().task_template
    return replace(spec(), task_template=replace(template, container_spec=ContainerSpec(**fields)))  # type: ignore[arg-type]


def limited(**fields: int) -> ServiceSpec:
    return spec(template={"resources": ResourceRequirements(limits=Limit(**fields))})


def published(*ports: PortConfig, mode: str = "vip") -> ServiceSpec:
    return spec(endpoint_spec=EndpointSpec(mode=mode, ports=list(ports)))


PORT_80 = PortConfig(target_port=80, published_port=80)


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        (spec(""), "name must be provided"),
        (spec("a.b"), "name must be valid as a DNS name component"),
        (spec("a" * 64), "name must be 63 characters or fewer"),
        (limited(nano_cpus=10**4), "invalid cpu value 1e-05: Must be at least 0.001"),
        (limited(memory_bytes=1), "invalid memory value 1: Must be at least 4MiB"),
        (
            spec(template={"restart_policy": RestartPolicy(delay=-1)}),
            "TaskSpec: restart-delay cannot be negative",
        ),
        (
            spec(template={"placement": Placement(constraints=["node.role=manager"])}),
            "constraint expected one operator from ==, !=",
        ),
        (spec(template={"placement": Placement(constraints=["!==x"])}), "key '!' is invalid"),
        (container(), "ContainerSpec: image reference must be provided"),
        (container(image="A b"), 'ContainerSpec: "A b" is not a valid repository/tag'),
        (
            container(image="a", mounts=[Mount(target="/p"), Mount(target="/p")]),
            "ContainerSpec: duplicate mount point: /p",
        ),
        (
            container(image="a", healthcheck=HealthConfig(interval=5)),
            "ContainerSpec: Interval in Healthcheck cannot be less than one millisecond",
        ),
        (
            container(image="a", env=["X={{.Nope.ID}}"]),
            'expanding template failed: template: :1:9: executing "" at <.Nope.ID>: map has no entry for key "Nope"',
        ),
        (spec(update_config=UpdateConfig(delay=-1)), "TaskSpec: update-delay cannot be negative"),
        (
            spec(update_config=UpdateConfig(max_failure_ratio=1.5)),
            "TaskSpec: update-maxfailureratio cannot be less than 0 or bigger than 1",
        ),
        (published(PORT_80, PORT_80), "EndpointSpec: duplicate published ports provided"),
        (
            published(PORT_80, mode="dnsrr"),
            "EndpointSpec: port published with ingress mode can't be used with dnsrr mode",
        ),
        (
            spec(template={"networks": [NetworkAttachmentConfig(target="ingress")]}),
            'Service cannot be explicitly attached to the ingress network "ingress"',
        ),
    ],
)
async def test_a_wrong_service_is_refused_in_docker_s_words(asked: ServiceSpec, text: str) -> None:
    """Each fault has its sentence and is a 400."""
    control = await swarm()
    await refused(control.create_service(asked), InvalidArgument, RPC.format("InvalidArgument") + text)
    assert control.list_services() == []


async def test_a_service_is_created_found_and_removed() -> None:
    """By id, name, and beginning of the id; networks are kept by id; a name is used once only."""
    control = await swarm()
    net = await control.create_network(NetworkSpec(name="webnet"))
    asked = spec(template={"networks": [NetworkAttachmentConfig(target="webnet", aliases=["w"])]})
    service = await control.create_service(asked, registry_auth="secret")
    assert service.spec.task_template.networks == [NetworkAttachmentConfig(target=net.id, aliases=["w"])]
    assert control.get_service(service.id) == control.get_service("web") == control.get_service(service.id[:6])
    await refused(
        control.create_service(spec()),
        Conflict,
        "rpc error: code = AlreadyExists desc = name conflicts with an existing object: service web already exists",
    )
    await control.remove_service("web")
    with pytest.raises(NotFound, match="service web not found"):
        control.get_service("web")
    missing = spec(template={"networks": [NetworkAttachmentConfig(target="nope")]})
    await refused(control.create_service(missing), NotFound, RPC.format("NotFound") + "network nope not found")


async def test_an_update_needs_the_version_the_name_and_the_mode_as_they_are() -> None:
    """Otherwise: out of sequence, and 501 for renaming or another mode."""
    control = await swarm()
    service = await control.create_service(spec())
    index = service.version.index
    with pytest.raises(OutOfSequence, match="update out of sequence"):
        await control.update_service("web", index - 1, spec(replicas=2))
    unimplemented = RPC.format("Unimplemented")
    await refused(
        control.update_service(service.id, index, spec("other")),
        Unimplemented,
        unimplemented + "renaming services is not supported",
    )
    await refused(
        control.update_service("web", index, spec(replicas=None, mode=ServiceMode(global_=Empty()))),
        Unimplemented,
        unimplemented + "service mode change is not allowed",
    )


async def test_what_the_swarm_notes_of_an_object_makes_no_update_out_of_sequence() -> None:
    """A user's new spec stands against everything but another new spec, however often state and progress were written."""
    control = await swarm()
    service = await control.create_service(spec())
    noted = replace(service, update_status=UpdateStatus(state="updating"))
    await control._store.commit([Put(thing=noted)])
    first = await control.update_service("web", service.version.index, spec(replicas=2))
    assert first.spec == spec(replicas=2)
    for index in (service.version.index, noted.version.index):
        with pytest.raises(OutOfSequence):
            await control.update_service("web", index, spec(replicas=3))
    assert (
        await control.update_service("web", first.version.index, spec(replicas=3))
    ).spec_version == first.version.index


async def test_an_update_keeps_the_spec_before_and_a_rollback_swaps_them() -> None:
    """Specs, versions and credentials change places, as often as asked; without a previous spec it is refused."""
    control = await swarm()
    service = await control.create_service(spec(), registry_auth="one")
    await refused(
        control.update_service("web", service.version.index, spec(), rollback=True),
        FailedPrecondition,
        RPC.format("FailedPrecondition") + f"service {service.id} does not have a previous spec",
    )
    new = await control.update_service("web", service.version.index, spec(image="app:2"), registry_auth="two")
    assert (new.previous_spec, new.registry_auth, new.spec_version) == (service.spec, "two", service.version.index)
    back = await control.update_service("web", new.version.index, spec(), rollback=True)
    assert (back.spec, back.previous_spec, back.registry_auth) == (service.spec, new.spec, "one")
    assert back.spec_version == service.spec_version
    assert back.update_status is not None and back.update_status.state == "rollback_started"
    assert back.update_status.message == "manually requested rollback"
    again = await control.update_service("web", back.version.index, spec(), rollback=True)
    assert (again.spec, again.registry_auth) == (new.spec, "two")


async def test_credentials_survive_an_update_that_has_none() -> None:
    """From the present spec, or from the one before when that is asked."""
    control = await swarm()
    one = await control.create_service(spec(), registry_auth="one")
    two = await control.update_service("web", one.version.index, spec(image="app:2"), registry_auth="two")
    kept = await control.update_service("web", two.version.index, spec(image="app:3"))
    assert kept.registry_auth == "two"
    older = await control.update_service(
        "web", kept.version.index, spec(image="app:4"), registry_auth_from="previous-spec"
    )
    assert older.registry_auth == "two" and older.previous_registry_auth == "two"


@pytest.mark.parametrize(
    ("theirs", "mine", "how"),
    [
        ("ingress", "ingress", "an ingress port"),
        ("host", "ingress", "a host-published port"),
        ("ingress", "host", "an ingress port"),
        ("host", "host", ""),
    ],
)
async def test_a_port_is_published_once(theirs: str, mine: str, how: str) -> None:
    """Through the mesh and on nodes exclude each other; two services may share a port of the nodes."""
    control = await swarm()
    first = await control.create_service(published(replace(PORT_80, publish_mode=theirs)))
    second = replace(published(replace(PORT_80, publish_mode=mine)), name="second")
    if not how:
        assert await control.create_service(second)
        return
    text = f"port '80' is already in use by service 'web' ({first.id}) as {how}"
    await refused(control.create_service(second), InvalidArgument, RPC.format("InvalidArgument") + text)


async def test_a_published_port_needs_the_ingress_network() -> None:
    """Without that network, which may be removed when nothing needs it, publishing through the mesh is refused."""
    control = await swarm()
    service = await control.create_service(published(PORT_80))
    await refused(
        control.remove_network("ingress"),
        FailedPrecondition,
        RPC.format("FailedPrecondition")
        + f"ingress network cannot be removed because service {service.id} depends on it",
    )
    await control.remove_service("web")
    await control.remove_network("ingress")
    await refused(
        control.create_service(published(PORT_80)),
        FailedPrecondition,
        RPC.format("FailedPrecondition") + "service needs ingress network, but no ingress network is present",
    )
    await control.create_network(NetworkSpec(name="ingress", ingress=True))
    with pytest.raises(Conflict, match="is already present"):
        await control.create_network(NetworkSpec(name="second", ingress=True))


def subnets(*texts: str) -> IPAM:
    return IPAM(config=[IPAMConfig(subnet=text) for text in texts])


@pytest.mark.parametrize(
    ("asked", "kind", "text"),
    [
        (NetworkSpec(name="bridge"), PermissionDenied, "bridge is a pre-defined network and cannot be created"),
        (NetworkSpec(name="Ingress"), Conflict, "network with name Ingress already exists"),
        (
            NetworkSpec(name="x", ipam=subnets("10.0.0.0/33")),
            InvalidArgument,
            RPC.format("InvalidArgument") + "invalid CIDR address: 10.0.0.0/33",
        ),
        (
            NetworkSpec(name="x", ipam=subnets("10.0.0.0/16")),
            InvalidArgument,
            RPC.format("InvalidArgument")
            + "invalid pool request: Pool overlaps with other one on this address space: 10.0.0.0/16 and 10.0.0.0/24 "
            "of network ingress",
        ),
        (
            NetworkSpec(name="x", ipam=IPAM(config=[IPAMConfig(subnet="10.9.0.0/24", gateway="10.8.0.1")])),
            InvalidArgument,
            RPC.format("InvalidArgument") + "no matching subnet for gateway 10.8.0.1",
        ),
        (
            NetworkSpec(name="x", options={"encrypted": ""}),
            Unimplemented,
            RPC.format("Unimplemented")
            + 'the option "encrypted" is not supported: traffic between the nodes would go in clear',
        ),
        (
            NetworkSpec(name="x", options={"com.docker.network.driver.mtu": "70000"}),
            InvalidArgument,
            RPC.format("InvalidArgument") + 'invalid MTU "70000": use a number from 68 to 65535',
        ),
        (
            NetworkSpec(name="x", enable_ipv6=True),
            Unimplemented,
            RPC.format("Unimplemented") + "IPv6 is not supported: networks have IPv4 only",
        ),
        (
            NetworkSpec(name="x", ipam=subnets("fd00:1::/64")),
            InvalidArgument,
            RPC.format("InvalidArgument") + "invalid subnet fd00:1::/64: IPv6 is not supported",
        ),
        (
            NetworkSpec(name="x", config_from=ConfigReference(network="y")),
            Unimplemented,
            RPC.format("Unimplemented") + "networks that only hold a configuration are not supported in a swarm",
        ),
    ],
)
async def test_a_wrong_network_is_refused(asked: NetworkSpec, kind: type[ShoalError], text: str) -> None:
    """Taken or reserved names, subnets that make no sense or overlap another network's, and what would be without
    effect."""
    control = await swarm()
    await refused(control.create_network(asked), kind, text)


@pytest.mark.parametrize("option", ["false", "0"])
async def test_a_network_that_says_it_is_not_encrypted_is_made(option: str) -> None:
    """So is an attachable one, because many files say that of networks that only services use."""
    control = await swarm()
    made = await control.create_network(NetworkSpec(name="x", attachable=True, options={"encrypted": option}))
    assert made.spec.attachable


async def test_a_network_in_use_stays() -> None:
    """A service that is on it, and being predefined, protect a network."""
    control = await swarm()
    net = await control.create_network(NetworkSpec(name="webnet"))
    service = await control.create_service(spec(template={"networks": [NetworkAttachmentConfig(target=net.id)]}))
    failed = RPC.format("FailedPrecondition")
    await refused(
        control.remove_network("webnet"),
        FailedPrecondition,
        failed + f"network {net.id} is in use by service {service.id}",
    )
    host = control.get_network("host")
    await refused(
        control.remove_network("host"),
        FailedPrecondition,
        failed + f"network {host.id} (host) is a swarm predefined network and cannot be removed",
    )
    await control.remove_service("web")
    await control.remove_network("webnet")
    assert control.network_of(net.id) is None


def manager(id: str, reachability: str = "reachable", **more: object) -> object:
    return node(
        id,
        role="manager",
        spec=NodeSpec(role="manager"),
        manager_status=ManagerStatus(reachability=reachability, addr="192.168.99.101:2377"),
        is_shoal=True,
        **more,
    )


async def test_nodes_are_found_by_hostname_unless_it_is_ambiguous() -> None:
    """Two nodes may have one hostname; then only ids will do."""
    double = NodeDescription(hostname="twin")
    control = await swarm(node("n1", description=double), node("n2", description=double), node("n3"))
    assert control.get_node("n3").id == "n3"
    with pytest.raises(InvalidArgument, match=r"node twin is ambiguous \(2 matches found\)"):
        control.get_node("twin")
    with pytest.raises(NotFound, match="node nope not found"):
        control.get_node("nope")


async def test_a_node_is_updated_and_bad_words_are_refused() -> None:
    """Labels, availability and role; against the version that was read."""
    control = await swarm(node("w", is_shoal=True))
    index = control.get_node("w").version.index
    await control.update_node("w", index, NodeSpec(labels={"a": "b"}, availability="drain", role="manager"))
    assert control.get_node("w").spec == NodeSpec(labels={"a": "b"}, availability="drain", role="manager")
    with pytest.raises(OutOfSequence):
        await control.update_node("w", index, NodeSpec())
    now = control.get_node("w").version.index
    with pytest.raises(InvalidArgument, match='invalid Availability: "gone"'):
        await control.update_node("w", now, NodeSpec(availability="gone"))


async def test_a_real_docker_engine_is_not_promoted() -> None:
    """Only Shoal's own nodes can be managers."""
    control = await swarm(node("w"))
    index = control.get_node("w").version.index
    with pytest.raises(FailedPrecondition, match="is a Docker Engine"):
        await control.update_node("w", index, NodeSpec(role="manager"))


@pytest.mark.parametrize(
    ("managers", "text"),
    [
        ([manager("m1")], "attempting to demote the last manager of the swarm"),
        (
            [manager("m1"), manager("m2", "unreachable"), manager("m3")],
            "can't remove member from the raft: this would result in a loss of quorum",
        ),
    ],
)
async def test_a_demotion_that_loses_the_swarm_is_refused(managers: list[object], text: str) -> None:
    """The last manager, and one whose leaving would lose the quorum, stay managers."""
    control = await swarm(*managers)
    index = control.get_node("m1").version.index
    await refused(
        control.update_node("m1", index, NodeSpec()), FailedPrecondition, RPC.format("FailedPrecondition") + text
    )


async def test_a_removed_node_may_not_come_back_and_its_tasks_are_orphaned() -> None:
    """Ready nodes need force, managers a demotion; its certificate is refused until it has surely expired."""
    running = Task(id="t1", node_id="w", status=TaskStatus(state=TaskState.RUNNING))
    done = Task(id="t2", node_id="w", status=TaskStatus(state=TaskState.COMPLETE))
    control = await swarm(manager("m1"), node("w"), running, done)
    failed = RPC.format("FailedPrecondition")
    await refused(
        control.remove_node("m1", force=True),
        FailedPrecondition,
        failed + "node m1 is a cluster manager and is a member of the raft cluster. It must be demoted to worker "
        "before removal",
    )
    await refused(control.remove_node("w"), FailedPrecondition, failed + "node w is not down and can't be removed")
    await control.remove_node("w", force=True)
    states = {task.id: task.status.state for task in control.list_tasks()}
    assert states == {"t1": TaskState.ORPHANED, "t2": TaskState.COMPLETE}
    assert control.get_task("t1").status.message == "Task belonged to a node that has been deleted"
    until = control.cluster().removed_nodes["w"]
    assert until - LoopClock().now() > timedelta(days=96)


async def test_counts_of_a_service() -> None:
    """Running tasks are those observed running, but not what a dead node ran last; desired ones what was asked."""
    web = Service(id="s", spec=spec(replicas=3))
    everywhere = Service(id="g", spec=spec("all", replicas=None, mode=ServiceMode(global_=Empty())))
    running = TaskStatus(state=TaskState.RUNNING)
    tasks = [
        Task(id="1", slot=1, service_id="s", node_id="a", status=running),
        Task(id="2", slot=2, service_id="s", node_id="b", status=running, desired_state=TaskState.SHUTDOWN),
        Task(id="3", slot=2, service_id="s", node_id="a"),
        Task(id="4", service_id="g", node_id="a", status=running),
    ]
    control = await swarm(web, everywhere, node("a"), node("b", status=NodeStatus(state="down")), *tasks)
    status = control.service_status(web)
    assert (status.running_tasks, status.desired_tasks) == (1, 3)
    status = control.service_status(everywhere)
    assert (status.running_tasks, status.desired_tasks) == (1, 1)


async def test_up_to_date_is_what_an_update_would_leave_alone() -> None:
    """Other labels do not matter, another image does, constraints only where they fail."""
    service = Service(id="s", spec=spec(image="app:2"), spec_version=9)
    old = Task(id="1", service_id="s", node_id="a", spec=spec(image="app:1").task_template)
    same = Task(id="2", service_id="s", node_id="a", spec=spec(image="app:2").task_template)
    gone = Task(id="3", service_id="nope")
    control = await swarm(service, node("a"), old, same, gone)
    assert [control.is_up_to_date(task) for task in control.list_tasks()] == [False, True, False]


async def test_tokens_are_rotated_one_by_one() -> None:
    """Only the token that is asked for changes."""
    control = await swarm()
    await control.update_cluster(control.cluster().version.index, ClusterSpec(), rotate_worker_token=True)
    assert control.cluster().join_tokens == JoinTokens(worker="t1", manager="m0")
    await control.update_cluster(control.cluster().version.index, ClusterSpec(), rotate_manager_token=True)
    assert control.cluster().join_tokens == JoinTokens(worker="t1", manager="t2")
    with pytest.raises(OutOfSequence):
        await control.update_cluster(1, ClusterSpec())


async def test_a_swarm_update_keeps_what_it_leaves_open() -> None:
    """A history limit that is absent, and ticks of zero, stay as they were."""
    control = await swarm()
    limited_spec = ClusterSpec(orchestration=OrchestrationConfig(task_history_retention_limit=2))
    await control.update_cluster(control.cluster().version.index, limited_spec)
    open_spec = ClusterSpec(raft=RaftConfig(election_tick=0, heartbeat_tick=0))
    await control.update_cluster(control.cluster().version.index, open_spec)
    kept = control.cluster().spec
    assert kept.orchestration.task_history_retention_limit == 2
    assert (kept.raft.election_tick, kept.raft.heartbeat_tick) == (10, 1)


@pytest.mark.parametrize(
    ("asked", "kind", "text"),
    [
        (ClusterSpec(name="x"), InvalidArgument, "modification of cluster name is not allowed"),
        (
            ClusterSpec(ca_config=CAConfig(node_cert_expiry=10**9)),
            InvalidArgument,
            "minimum certificate expiry time is: 1h0m0s",
        ),
        (
            ClusterSpec(dispatcher=DispatcherConfig(heartbeat_period=-1)),
            InvalidArgument,
            "heartbeat time period cannot be a negative duration",
        ),
        (ClusterSpec(encryption_config=EncryptionConfig(auto_lock_managers=True)), Unimplemented, "autolock"),
    ],
)
async def test_a_wrong_swarm_spec_is_refused(asked: ClusterSpec, kind: type[ShoalError], text: str) -> None:
    """Each with its own sentence; nothing is changed."""
    control = await swarm()
    with pytest.raises(kind, match=text):
        await control.update_cluster(control.cluster().version.index, asked)


def test_a_swarm_begins_with_itself_and_three_networks() -> None:
    """The ingress network has the first subnet of the pool; bridge and host stand for the nodes' own."""
    objects = initial_objects(
        SeededIds(1),
        cluster_id="c",
        root_ca=RootCA(),
        tls_info=TLSInfo(),
        join_tokens=JoinTokens(),
        spec=ClusterSpec(),
        default_addr_pool=["172.30.0.0/16"],
        subnet_size=26,
    )
    cluster, ingress, bridge, host = objects
    assert isinstance(cluster, Cluster) and cluster.spec.orchestration.task_history_retention_limit == 5
    assert isinstance(ingress, Network) and ingress.ipam.config[0].subnet == "172.30.0.0/26"
    assert (ingress.vxlan_id, ingress.spec.ingress) == (4096, True)
    for network, name in ((bridge, "bridge"), (host, "host")):
        assert isinstance(network, Network) and network.spec.name == network.driver == name


@pytest.mark.parametrize(
    "work",
    [
        lambda: check_pool(["10.0.0.0/8"], 30),
        lambda: check_pool(["10.0.0.0/33"], 24),
        lambda: check_pool(["10.0.0.0/26"], 24),
        lambda: check_pool(["10.0.0.0/8", "10.1.0.0/16"], 24),
    ],
)
def test_a_pool_that_makes_no_sense_is_refused(work: Callable[[], object]) -> None:
    """Masks beyond 29 bits or shorter than the pool's, no CIDR, overlapping pools."""
    with pytest.raises(InvalidArgument):
        work()


class RacedStore(MemoryStore):
    """A store in which somebody else writes the object right before its first removal."""

    raced = False

    async def commit(self, writes: Sequence[Write], *, fence: Fence | None = None) -> int:
        if not self.raced and isinstance(writes[0], Delete):
            self.raced = True
            newest = self.view.get(Service, writes[0].thing.id)
            assert newest is not None
            await super().commit([Put(thing=newest)])
        return await super().commit(writes, fence=fence)


async def test_a_command_without_a_version_wins_over_concurrent_changes() -> None:
    """Removing a service succeeds although the leader writes it at the same time."""
    clock = LoopClock()
    store = RacedStore(clock)
    control = Control(store, clock, SeededIds(2))
    await control.create_service(spec())
    await control.remove_service("web")
    assert store.raced and control.list_services() == []
