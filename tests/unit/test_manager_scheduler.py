"""Where tasks run: spread, filters, preferences, explanations."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from shoal.manager.scheduler.filters import explain
from shoal.model.objects import EngineDescription, NodeStatus, Plugin
from shoal.model.states import TaskState
from shoal.model.swarm_spec import (
    ContainerSpec,
    Driver,
    Empty,
    EndpointSpec,
    GenericResource,
    Mount,
    NodeSpec,
    Placement,
    PlacementPreference,
    Platform,
    PortConfig,
    ResourceRequirements,
    Resources,
    ServiceMode,
    SpreadOver,
)
from tests.unit.manager_world import World, node, spec

GIB = 2**30


def placed(world: World, name: str = "web") -> Counter[str]:
    return Counter(task.node_id for task in world.alive(name) if task.status.state >= TaskState.ASSIGNED)


def reserve(cpus: float = 0, memory: int = 0, **kinds: int) -> ResourceRequirements:
    generic = [
        GenericResource(discrete_resource_spec=GenericResource.Discrete(kind=kind, value=value))
        for kind, value in kinds.items()
    ]
    asked = Resources(nano_cpus=int(cpus * 10**9), memory_bytes=memory, generic_resources=generic)
    return ResourceRequirements(reservations=asked)


@given(nodes=st.integers(1, 9), counts=st.lists(st.integers(0, 30), min_size=1, max_size=4))
@settings(max_examples=60)
def test_without_constraints_the_spread_is_even(nodes: int, counts: list[int]) -> None:
    """Of each service no node has two tasks more than another, however many services there are."""
    world = World(*(node(f"n{i}") for i in range(nodes)))
    for index, count in enumerate(counts):
        world.serve(spec(f"s{index}", count))
        found = [placed(world, f"s{index}")[f"n{i}"] for i in range(nodes)]
        assert sum(found) == count and max(found) - min(found) <= 1


@given(
    availability=st.lists(st.sampled_from(["active", "pause", "drain"]), min_size=1, max_size=5),
    states=st.lists(st.sampled_from(["ready", "down", "unknown"]), min_size=5, max_size=5),
    disks=st.lists(st.sampled_from(["ssd", "hdd", ""]), min_size=5, max_size=5),
    cpus=st.lists(st.integers(1, 4), min_size=5, max_size=5),
    replicas=st.integers(1, 12),
    most=st.integers(0, 3),
)
@settings(max_examples=150)
def test_no_task_is_ever_where_it_may_not_be(
    availability: list[str], states: list[str], disks: list[str], cpus: list[int], replicas: int, most: int
) -> None:
    """State, availability, constraints, reservations and the maximum per node hold for every placed task."""
    nodes = [
        node(
            f"n{i}",
            spec=NodeSpec(availability=mode, labels={"disk": disks[i]} if disks[i] else {}),
            status=NodeStatus(state=states[i]),
            description=replace(node("x").description, resources=Resources(nano_cpus=cpus[i] * 10**9)),
        )
        for i, mode in enumerate(availability)
    ]
    world = World(*nodes)
    placement = Placement(constraints=["node.labels.disk!=hdd"], max_replicas=most)
    world.serve(spec(replicas=replicas, template={"placement": placement, "resources": reserve(1)}))
    found = placed(world)
    room = 0
    for i, one in enumerate(nodes):
        usable = availability[i] == "active" and states[i] == "ready" and disks[i] != "hdd"
        fits = min(cpus[i], most or 99) if usable else 0
        room += fits
        assert found[one.id] <= fits
    assert sum(found.values()) == min(room, replicas)
    waiting = [task for task in world.alive() if task.status.state == TaskState.PENDING]
    assert len(waiting) == replicas - sum(found.values())
    assert all(task.status.err.startswith("no suitable node (") for task in waiting)


@pytest.mark.parametrize(
    ("template", "endpoint", "saying"),
    [
        ({"resources": reserve(64)}, None, "insufficient resources on 2 nodes"),
        ({"resources": reserve(memory=99 * GIB)}, None, "insufficient resources on 2 nodes"),
        ({"resources": reserve(gpu=1)}, None, "insufficient resources on 2 nodes"),
        (
            {"placement": Placement(constraints=["node.labels.disk==ssd"])},
            None,
            "scheduling constraints not satisfied on 2 nodes",
        ),
        ({"placement": Placement(platforms=[Platform(os="windows")])}, None, "unsupported platform on 2 nodes"),
        ({"placement": Placement(max_replicas=1)}, None, "max replicas per node limit exceed"),
        (
            {},
            EndpointSpec(ports=[PortConfig(target_port=80, published_port=80, publish_mode="host")]),
            "host-mode port already in use on 2 nodes",
        ),
    ],
)
def test_what_cannot_be_placed_says_why(
    template: dict[str, object], endpoint: EndpointSpec | None, saying: str
) -> None:
    """A task without a place stays pending, with swarm mode's explanation as its error."""
    world = World(node("a"), node("b"))
    world.serve(spec(replicas=3, template=template, endpoint_spec=endpoint))
    waiting = [task for task in world.alive() if not task.node_id]
    assert waiting
    assert {task.status.err for task in waiting} == {f"no suitable node ({saying})"}
    assert {task.status.message for task in waiting} == {"pending task scheduling"}


def test_explanations_are_counted_and_ordered() -> None:
    """The most frequent reason comes first; one node is singular; no node at all needs no reason."""
    assert explain(["ready", "resources", "resources"]) == (
        "no suitable node (insufficient resources on 2 nodes; 1 node not available for new tasks)"
    )
    assert explain([]) == "no suitable node"


def test_a_waiting_task_is_placed_as_soon_as_there_is_room() -> None:
    """A new node, and resources that become free, end the waiting."""
    world = World(node("a"))
    world.serve(spec("big", 4, template={"resources": reserve(1)}))
    world.serve(spec("late", 5, template={"resources": reserve(1)}))
    assert placed(world, "late") == {}
    world.put(node("b"))
    world.settle()
    assert placed(world, "late") == {"b": 4}
    world.run("late")
    world.respec(spec("big", 3, template={"resources": reserve(1)}))
    world.run("late")
    assert placed(world, "late") == {"b": 4, "a": 1}
    assert not any(task.status.err for task in world.alive("late"))


def test_architectures_have_two_names() -> None:
    """amd64 is x86_64."""
    world = World(node("a"))
    platforms = [Platform(architecture="arm64", os="linux"), Platform(architecture="amd64", os="linux")]
    world.serve(spec(template={"placement": Placement(platforms=platforms)}))
    assert placed(world) == {"a": 1}


def test_preferences_spread_over_labels_first() -> None:
    """Six tasks over two racks of one and three nodes: three each, although there are four nodes."""
    racks = {"a": "r1", "b": "r2", "c": "r2", "d": "r2"}
    world = World(*(node(id, spec=NodeSpec(labels={"rack": rack})) for id, rack in racks.items()))
    preference = PlacementPreference(spread=SpreadOver(spread_descriptor="node.labels.rack"))
    world.serve(spec(replicas=6, template={"placement": Placement(preferences=[preference])}))
    assert placed(world) == {"a": 3, "b": 1, "c": 1, "d": 1}


def test_a_branch_that_is_full_leaves_the_rest_to_the_others() -> None:
    """What a rack cannot take goes to the other racks."""
    racks = {"a": "r1", "b": "r2"}
    world = World(*(node(id, spec=NodeSpec(labels={"rack": rack})) for id, rack in racks.items()))
    world.put(
        replace(world.node("a"), description=replace(node("a").description, resources=Resources(nano_cpus=10**9)))
    )
    preference = PlacementPreference(spread=SpreadOver(spread_descriptor="node.labels.rack"))
    world.serve(spec(replicas=4, template={"placement": Placement(preferences=[preference]), "resources": reserve(1)}))
    assert placed(world) == {"a": 1, "b": 3}


def test_missing_drivers_rule_a_node_out() -> None:
    """A volume driver must be there; log drivers count only on nodes that name theirs; `latest` may be left out."""
    plugins = [Plugin(type="Volume", name="nfs:latest"), Plugin(type="Log", name="json-file")]
    able = replace(node("b").description, engine=EngineDescription(plugins=plugins))
    world = World(node("a"), node("b", description=able))
    mount = Mount(target="/data", source="v", volume_options=Mount.VolumeOptions(driver_config=Driver(name="nfs")))
    container = ContainerSpec(image="app:1", mounts=[mount])
    template = spec(replicas=2)
    world.serve(replace(template, task_template=replace(template.task_template, container_spec=container)))
    assert placed(world) == {"b": 2}
    world.serve(spec("logged", 2, template={"log_driver": Driver(name="gelf")}))
    assert placed(world, "logged") == {"a": 2}


def test_named_generic_resources_are_claimed_one_by_one() -> None:
    """Two tasks on a node with two graphics cards get one each; a third waits."""
    cards = [
        GenericResource(named_resource_spec=GenericResource.Named(kind="gpu", value=value)) for value in ("g1", "g2")
    ]
    has = Resources(nano_cpus=10**10, generic_resources=cards)
    world = World(node("a", description=replace(node("a").description, resources=has)))
    world.serve(spec(replicas=3, template={"resources": reserve(gpu=1)}))
    claimed = [task.generic_resources[0].named_resource_spec for task in world.alive() if task.generic_resources]
    assert sorted(one.value for one in claimed if one) == ["g1", "g2"]


def test_a_node_on_which_a_version_keeps_failing_is_avoided() -> None:
    """After five failures within five minutes the other node is preferred."""
    world = World(node("a"), node("b", spec=NodeSpec(availability="pause")))
    world.serve(spec(replicas=1))
    for _ in range(5):
        world.report(world.alive()[-1], TaskState.FAILED)
        world.wait(6)
        assert world.alive()[-1].node_id == "a"
    world.put(replace(world.node("b"), spec=NodeSpec()))
    world.put(node("c", spec=NodeSpec(availability="drain")))
    world.report(world.alive()[-1], TaskState.FAILED)
    world.wait(6)
    assert world.alive()[-1].node_id == "b"


def test_a_service_that_cannot_be_understood_stops_no_other() -> None:
    """Its tasks wait with the reason; the other service is deployed."""
    world = World(node("a"))
    world.serve(spec("bad", template={"placement": Placement(constraints=["nonsense"])}))
    world.serve(
        spec("worse", None, mode=ServiceMode(global_=Empty()), template={"placement": Placement(constraints=["?"])})
    )
    world.serve(spec(replicas=2))
    assert placed(world) == {"a": 2}
    assert world.alive("bad")[0].status.err == "constraint expected one operator from ==, !="
