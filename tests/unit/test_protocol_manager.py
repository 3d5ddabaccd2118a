"""The serving half's pure parts: liveness, records, assignments, network state, keys."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from shoal.manager.dispatcher import records
from shoal.manager.dispatcher.assignments import Assignments
from shoal.manager.dispatcher.liveness import Deadlines, Registrations, heartbeat_period, jittered
from shoal.manager.dispatcher.messages import managers
from shoal.manager.logbroker import whom_to_ask
from shoal.manager.network_keys import network_keys
from shoal.manager.network_state import snapshot, touched
from shoal.model.errors import Unavailable
from shoal.model.netstate import EndpointRecord
from shoal.model.objects import (
    Cluster,
    Endpoint,
    ManagerStatus,
    Network,
    NetworkAddresses,
    NetworkAttachment,
    Node,
    NodeStatus,
    RootCA,
    Service,
    Task,
    TaskStatus,
    VirtualIP,
)
from shoal.model.service_logs import LogSelector
from shoal.model.states import TaskState
from shoal.model.swarm_spec import (
    ClusterSpec,
    DispatcherConfig,
    NetworkAttachmentConfig,
    NetworkSpec,
    PortConfig,
    ServiceSpec,
    TaskSpec,
)
from shoal.store.view import Changed, View

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_heartbeat_period() -> None:
    """The period is the cluster's, else a second, slower in big swarms; beats are spread by a tenth."""
    assert heartbeat_period(None, 3) == 1.0
    assert heartbeat_period(None, 600) == 3.0
    assert heartbeat_period(None, 5000) == 5.0
    cluster = Cluster(id="c", spec=ClusterSpec(dispatcher=DispatcherConfig(heartbeat_period=7 * 10**9)))
    assert heartbeat_period(cluster, 3) == 7.0
    rng = random.Random(1)
    assert all(0.9 <= jittered(1.0, rng) <= 1.1 for _ in range(100))


def test_deadlines() -> None:
    """A node that is not heard from in time is told once; one that is heard from is not."""
    deadlines = Deadlines()
    deadlines.set("a", 3.0)
    deadlines.set("b", 4.0)
    deadlines.set("a", 6.0)
    assert deadlines.next() == 4.0
    assert deadlines.expired(5.0) == ["b"]
    assert deadlines.expired(5.0) == []
    deadlines.delay(2.0, 5.0)
    assert deadlines.next() == 8.0
    deadlines.delay(2.0, 10.5)
    assert deadlines.next() == 10.5
    deadlines.drop("a")
    assert deadlines.next() is None


def test_registrations_are_limited() -> None:
    """More than three registrations within eight seconds are refused."""
    registrations = Registrations()
    for moment in (0.0, 1.0, 2.0):
        registrations.check("n", moment)
    with pytest.raises(Unavailable):
        registrations.check("n", 7.9)
    registrations.check("other", 7.9)
    registrations.check("n", 8.0)
    registrations.forget("n")
    registrations.check("n", 8.1)


def test_reports_only_rise() -> None:
    """An older state is dropped, a repeated report changes nothing, a new one is stamped by the manager's clock."""
    task = Task(id="t", status=TaskStatus(state=TaskState.RUNNING, message="started", applied_at=NOW))
    assert records.reported(task, TaskStatus(state=TaskState.STARTING), NOW) is task
    later = NOW + timedelta(seconds=1)
    assert records.reported(task, TaskStatus(state=TaskState.RUNNING, message="started"), later) is task
    failed = records.reported(task, TaskStatus(state=TaskState.FAILED, err="x"), later)
    assert (failed.status.state, failed.status.applied_at) == (TaskState.FAILED, later)


def test_the_address_of_a_manager() -> None:
    """A session over loopback does not make 127.0.0.1 a node's address: a manager announces one."""
    manager = Node(id="m", manager_status=ManagerStatus(addr="10.1.0.5:2377"))
    assert records.underlay(manager, "127.0.0.1") == "10.1.0.5"
    assert records.underlay(manager, "10.9.9.9") == "10.9.9.9"
    assert records.underlay(Node(id="w", status=NodeStatus(addr="10.1.0.6")), "::1") == "10.1.0.6"
    assert records.underlay(Node(id="w"), "127.0.0.1") == "127.0.0.1"


def test_orphans() -> None:
    """Tasks of a node that is down for a day are given up; until then it is known when to look again."""
    down = Node(id="n", status=NodeStatus(state="down"), down_since=NOW)
    running = Task(id="t1", node_id="n", status=TaskStatus(state=TaskState.RUNNING))
    ended = Task(id="t2", node_id="n", status=TaskStatus(state=TaskState.FAILED))
    view = View([down, running, ended])
    assert records.orphans(view, NOW + timedelta(hours=23)) == ([], NOW + timedelta(hours=24))
    tasks, moment = records.orphans(view, NOW + timedelta(hours=24))
    assert (tasks, moment) == ([running], None)
    assert records.orphaned(running, NOW).status.state == TaskState.ORPHANED


def assigned(id: str, **fields: object) -> Task:
    """A task on node n."""
    values: dict[str, object] = {"node_id": "n", "status": TaskStatus(state=TaskState.ASSIGNED), **fields}
    return Task(id=id, **values)  # type: ignore[arg-type]


def test_assignments() -> None:
    """All tasks first, then only what changed, each message following the one before it; statuses are no news."""
    view = View([assigned("a"), assigned("b"), assigned("new", status=TaskStatus(state=TaskState.PENDING))])
    told = Assignments("n")
    first = told.complete(view)
    assert [change.assignment.task.id for change in first.changes] == ["a", "b"]
    assert first.applies_to == ""
    view.put(assigned("a", status=TaskStatus(state=TaskState.RUNNING)))
    told.touch(["a"])
    assert told.update(view, lambda _: False) == (None, set())
    view.put(assigned("a", desired_state=TaskState.SHUTDOWN))
    view.put(assigned("new"))
    view.remove(Task, "b")
    told.touch(["a", "b", "new"])
    second, _ = told.update(view, lambda _: False)
    assert second is not None
    assert second.applies_to == first.results_in
    assert [(c.assignment.task.id, c.action) for c in second.changes] == [("a", 0), ("b", 1), ("new", 0)]


def test_an_order_to_stop_is_held() -> None:
    """A running task on a network is told to stop only when nobody sends it traffic any more."""
    attached = [NetworkAttachment(network_id="x", addresses=["10.0.1.2/24"])]
    running = assigned("a", status=TaskStatus(state=TaskState.RUNNING), networks_attachments=attached)
    view = View([running])
    told = Assignments("n")
    told.complete(view)
    view.put(replace(running, desired_state=TaskState.SHUTDOWN))
    told.touch(["a"])
    assert told.update(view, lambda _: True) == (None, {"a"})
    message, held = told.update(view, lambda _: False)
    assert message is not None
    assert held == set()


def network_world() -> View:
    """A service of two tasks on one network and the ingress, on two nodes."""
    attachments = [
        NetworkAttachment(network_id="front", addresses=["10.0.1.5/24"], aliases=["w"]),
        NetworkAttachment(network_id="ingress", addresses=["10.0.0.5/24"]),
    ]
    held = [
        NetworkAddresses(network_id="front", addresses=["10.0.1.2/24"]),
        NetworkAddresses(network_id="ingress", addresses=["10.0.0.2/24"]),
    ]
    port = PortConfig(target_port=80, published_port=8080)
    return View(
        [
            Network(id="front", spec=NetworkSpec(name="frontend")),
            Network(id="ingress", spec=NetworkSpec(name="ingress", ingress=True)),
            Network(id="other", spec=NetworkSpec(name="other")),
            Node(id="n1", status=NodeStatus(state="ready", addr="192.168.99.101"), attachments=held),
            Node(id="n2", status=NodeStatus(state="ready", addr="192.168.99.102"), attachments=held[1:]),
            Service(
                id="s",
                spec=ServiceSpec(
                    name="web",
                    task_template=TaskSpec(networks=[NetworkAttachmentConfig(target="frontend", aliases=["www"])]),
                ),
                endpoint=Endpoint(
                    ports=[port, PortConfig(target_port=81, published_port=81, publish_mode="host")],
                    virtual_ips=[
                        VirtualIP(network_id="front", addr="10.0.1.3/24"),
                        VirtualIP(network_id="ingress", addr="10.0.0.3/24"),
                    ],
                ),
            ),
            Task(
                id="t",
                service_id="s",
                service_name="web",
                slot=1,
                node_id="n1",
                status=TaskStatus(state=TaskState.RUNNING),
                networks_attachments=attachments,
            ),
        ],
        revision=9,
    )


def test_network_snapshot() -> None:
    """A network's snapshot has its services with bare addresses, its endpoints and its nodes; ports on ingress only."""
    view = network_world()
    front, ingress = view.get(Network, "front"), view.get(Network, "ingress")
    assert front is not None
    assert ingress is not None
    found = snapshot(view, front, view.all(Task))
    assert found.revision == 9
    (service,) = found.services
    assert (service.name, service.vip, service.aliases, service.ports) == ("web", "10.0.1.3", ["www"], [])
    assert found.endpoints == [
        EndpointRecord(
            task_id="t", service_id="s", name="web.1.t", node_id="n1", address="10.0.1.5", aliases=["w"], active=True
        )
    ]
    assert [(peer.node_id, peer.underlay, peer.address) for peer in found.peers] == [
        ("n1", "192.168.99.101", "10.0.1.2")
    ]
    on_ingress = snapshot(view, ingress, view.all(Task))
    assert [port.published_port for port in on_ingress.services[0].ports] == [8080]
    assert [peer.node_id for peer in on_ingress.peers] == ["n1", "n2"]


@pytest.mark.parametrize(
    ("status", "desired", "node", "listed", "active"),
    [
        (TaskState.ASSIGNED, TaskState.RUNNING, "ready", True, False),
        (TaskState.RUNNING, TaskState.RUNNING, "ready", True, True),
        (TaskState.RUNNING, TaskState.COMPLETE, "ready", True, True),
        (TaskState.RUNNING, TaskState.RUNNING, "unknown", True, True),
        (TaskState.RUNNING, TaskState.SHUTDOWN, "ready", True, False),
        (TaskState.RUNNING, TaskState.RUNNING, "down", True, False),
        (TaskState.FAILED, TaskState.RUNNING, "ready", False, False),
        (TaskState.PENDING, TaskState.RUNNING, "ready", False, False),
    ],
)
def test_who_gets_traffic(status: TaskState, desired: TaskState, node: str, listed: bool, active: bool) -> None:
    """Traffic goes to tasks that run and are to go on, on nodes that are not down; others are listed while they have
    an address."""
    view = network_world()
    task, host, front = view.get(Task, "t"), view.get(Node, "n1"), view.get(Network, "front")
    assert task is not None
    assert host is not None
    assert front is not None
    view.put(replace(task, status=replace(task.status, state=status), desired_state=desired))
    view.put(replace(host, status=replace(host.status, state=node)))
    found = snapshot(view, front, view.all(Task)).endpoints
    assert [record.active for record in found] == ([active] if listed else [])


def test_only_touched_networks() -> None:
    """A change touches the networks whose snapshot it changes, and no others."""
    view = network_world()
    task, node, service = view.get(Task, "t"), view.get(Node, "n2"), view.get(Service, "s")
    other = view.get(Network, "other")
    assert task is not None
    assert node is not None
    assert service is not None
    assert other is not None
    both = {"front", "ingress"}
    same_state = replace(task, status=replace(task.status, message="x"))
    assert touched(view, [Changed(task, same_state)]) == set()
    assert touched(view, [Changed(task, replace(task, desired_state=TaskState.SHUTDOWN))]) == both
    assert touched(view, [Changed(task, None)]) == both
    assert touched(view, [Changed(None, replace(task, node_id=""))]) == set()
    beat = replace(node, description=replace(node.description, hostname="x"))
    assert touched(view, [Changed(node, beat)]) == set()
    assert touched(view, [Changed(node, replace(node, status=replace(node.status, addr="10.9.9.9")))]) == {"ingress"}
    assert touched(view, [Changed(node, replace(node, status=replace(node.status, state="down")))]) == {"ingress"}
    assert touched(view, [Changed(service, replace(service, spec_version=4))]) == set()
    assert touched(view, [Changed(service, None)]) == both
    assert touched(view, [Changed(other, None)]) == {"other"}


def test_keys_for_real_engines() -> None:
    """Every manager derives the same ring of three 16-byte keys per subsystem; it moves on after twelve hours."""
    cluster = Cluster(id="c", root_ca=RootCA(key=b"key"))
    ring = network_keys(cluster, NOW)
    assert [len(key.key) for key in ring] == [16] * 6
    assert {key.subsystem for key in ring} == {"networking:gossip", "networking:ipsec"}
    assert network_keys(cluster, NOW + timedelta(minutes=1)) == ring
    later = network_keys(cluster, NOW + timedelta(hours=12))
    assert ring[1] in later
    assert ring != later
    assert network_keys(Cluster(id="c"), NOW) == []


def test_managers_of_a_session_message() -> None:
    """All managers are listed with the leader heaviest; the leader itself is there before its record says so."""
    view = View(
        [
            Node(id="b", manager_status=ManagerStatus(addr="b:1", reachability="reachable")),
            Node(id="c", manager_status=ManagerStatus(addr="c:1", reachability="unreachable")),
            Node(id="w"),
        ]
    )
    found = [(held.peer.node_id, held.peer.addr, held.weight) for held in managers(view, ("a", "a:1"))]
    assert found == [("a", "a:1", 100), ("b", "b:1", 10), ("c", "c:1", 1)]


def test_whose_logs() -> None:
    """Nodes with matching tasks are asked; a task without a node is told as missing, unless following."""
    view = View(
        [
            Task(id="a", service_id="s", node_id="n1", status=TaskStatus(state=TaskState.RUNNING)),
            Task(id="b", service_id="s", node_id="n2", status=TaskStatus(state=TaskState.PREPARING)),
            Task(id="c", service_id="s", status=TaskStatus(state=TaskState.PENDING)),
            Task(id="d", service_id="x", node_id="n3", status=TaskStatus(state=TaskState.RUNNING)),
        ]
    )
    selector = LogSelector(service_ids=["s"])
    assert whom_to_ask(view, selector, False) == ({"n1"}, ["task c has not been scheduled"])
    assert whom_to_ask(view, selector, True) == ({"n1", "n2"}, [])
    assert whom_to_ask(view, LogSelector(node_ids=["n3"]), False) == ({"n3"}, [])
