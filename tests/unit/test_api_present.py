"""What the API prints: private fields stay private, states are words, Go's habits are kept."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import msgspec

from shoal.api import present, present_container, present_engine
from shoal.api.printing import PRIVATE, printed
from shoal.api.versions import MAXIMUM, ApiVersion
from shoal.model.base import go_name
from shoal.model.container import Container, ContainerConfig, ContainerState, EndpointSettings, HostConfig, PortBinding
from shoal.model.engine import Image
from shoal.model.objects import (
    Cluster,
    Endpoint,
    JoinTokens,
    ManagerStatus,
    Network,
    NetworkAttachment,
    Node,
    RootCA,
    Service,
    Task,
    TaskStatus,
    Version,
)  # fmt: skip
from shoal.model.states import TaskState
from shoal.model.swarm_spec import (
    IPAM,
    ContainerSpec,
    EndpointSpec,
    IPAMConfig,
    NetworkSpec,
    PortConfig,
    ReplicatedService,
    ServiceMode,
    ServiceSpec,
    TaskSpec,
    UpdateConfig,
)  # fmt: skip

PLACES = present_container.Places(Path("/data/c"), Path("/run/netns"))
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def text_of(value: object) -> str:
    return msgspec.json.encode(value).decode()


def test_private_fields_are_never_printed() -> None:
    """Credentials, keys and the managers' own notes do not leave the managers."""
    secrets = {
        "service": present.service(Service(id="s", registry_auth="TOPSECRET", previous_registry_auth="TOPSECRET")),
        "task": present.task(Task(id="t", registry_auth="TOPSECRET"), lambda _: None),
        "cluster": present.swarm(Cluster(id="c", root_ca=RootCA(key=b"TOPSECRET"))),
        "info": present.cluster(Cluster(id="c", join_tokens=JoinTokens(worker="TOPSECRET"))),
    }
    for name, shown in secrets.items():
        assert "TOPSECRET" not in text_of(shown), name
        assert "VE9QU0VDUkVU" not in text_of(shown), name
    for kind, fields in PRIVATE.items():
        for field in fields:
            assert field in kind.__struct_fields__, f"{kind.__name__}.{field} is no field"
    assert "IsShoal" not in text_of(present.node(Node(id="n", is_shoal=True)))


def test_join_tokens_are_in_get_swarm_only() -> None:
    """GET /swarm has the tokens."""
    cluster = Cluster(id="c", join_tokens=JoinTokens(worker="W", manager="M"))
    assert present.swarm(cluster)["JoinTokens"] == {"Worker": "W", "Manager": "M"}
    assert "JoinTokens" not in present.cluster(cluster)


def test_cluster_defaults_are_shown() -> None:
    """`docker info` prints heartbeat, expiry and history limit even where nobody set them."""
    spec = present.cluster(Cluster(id="c"))["Spec"]
    assert spec["Dispatcher"]["HeartbeatPeriod"] == 1_000_000_000
    assert spec["CAConfig"]["NodeCertExpiry"] == 90 * 24 * 3600 * 10**9
    assert spec["Orchestration"]["TaskHistoryRetentionLimit"] == 5
    assert spec["Name"] == "default"
    assert spec["EncryptionConfig"] == {"AutoLockManagers": False}


def test_task_states_are_words_and_networks_whole() -> None:
    """A task prints its states as words, and each of its networks with its addresses."""
    network = Network(
        id="net1", spec=NetworkSpec(name="web"), vxlan_id=4097, ipam=IPAM(config=[IPAMConfig(subnet="10.0.1.0/24")])
    )
    task = Task(
        id="t1", slot=1, service_id="s1", node_id="n1", status=TaskStatus(state=TaskState.RUNNING, message="started"),
        networks_attachments=[NetworkAttachment(network_id="net1", addresses=["10.0.1.3/24"])],
    )  # fmt: skip
    shown = present.task(task, present.networks_in_tasks({"net1": network}.get))
    assert shown["Status"]["State"] == "running"
    assert shown["DesiredState"] == "running"
    assert shown["Status"]["ContainerStatus"] == {"ContainerID": "", "PID": 0, "ExitCode": 0}
    attachment = shown["NetworksAttachments"][0]
    assert attachment["Addresses"] == ["10.0.1.3/24"]
    assert attachment["Network"]["Spec"]["Name"] == "web"
    assert "NetworksAttachments" not in present.task(Task(id="t2"), {}.get)


def test_ports_always_say_protocol_and_mode() -> None:
    """Defaults of ports are printed: clients build `*:8080->80/tcp` from them."""
    port = PortConfig(target_port=80, published_port=8080)
    service = Service(
        id="s", version=Version(index=7), spec=ServiceSpec(name="web", endpoint_spec=EndpointSpec(ports=[port])),
        endpoint=Endpoint(spec=EndpointSpec(mode="vip", ports=[port]), ports=[port]),
    )  # fmt: skip
    shown = present.service(service)
    full = {"Protocol": "tcp", "TargetPort": 80, "PublishedPort": 8080, "PublishMode": "ingress"}
    assert shown["Endpoint"]["Ports"] == [full]
    assert shown["Spec"]["EndpointSpec"]["Ports"] == [full]
    assert shown["Version"] == {"Index": 7}
    assert "PreviousSpec" not in shown
    assert "UpdateStatus" not in shown


def test_zeros_that_mean_something_are_printed() -> None:
    """Zero replicas and a parallelism of zero (all at once) are not left out."""
    service = Service(
        id="s",
        spec=ServiceSpec(
            name="web",
            mode=ServiceMode(replicated=ReplicatedService(replicas=0)),
            update_config=UpdateConfig(parallelism=0),
        ),
    )
    spec = present.service(service)["Spec"]
    assert spec["Mode"] == {"Replicated": {"Replicas": 0}}
    assert spec["UpdateConfig"]["Parallelism"] == 0
    assert spec["Labels"] == {}
    assert spec["TaskTemplate"]["ForceUpdate"] == 0


def test_insert_defaults_fills_what_the_swarm_assumes() -> None:
    """`service inspect --pretty` shows update and restart settings that nobody gave."""
    spec = ServiceSpec(name="web", task_template=TaskSpec(container_spec=ContainerSpec(image="redis")))
    shown = present.with_defaults(spec)
    assert shown["UpdateConfig"]["Parallelism"] == 1
    assert shown["UpdateConfig"]["Monitor"] == 5 * 10**9
    assert shown["TaskTemplate"]["RestartPolicy"] == {"Condition": "any", "Delay": 5 * 10**9, "MaxAttempts": 0}
    assert shown["TaskTemplate"]["ContainerSpec"]["StopGracePeriod"] == 10 * 10**9
    assert shown["EndpointSpec"]["Mode"] == "vip"
    assert shown["Mode"] == {"Replicated": {"Replicas": 1}}


def test_manager_status_is_of_managers_only() -> None:
    """A worker has no ManagerStatus; a manager that does not lead has one with its reachability."""
    assert "ManagerStatus" not in present.node(Node(id="n"))
    status = ManagerStatus(reachability="reachable", addr="10.0.0.1:2377")
    shown = present.node(Node(id="n", manager_status=status))
    assert shown["ManagerStatus"] == {"Reachability": "reachable", "Addr": "10.0.0.1:2377"}
    assert shown["Spec"]["Labels"] == {}


def container() -> Container:
    return Container(
        id="c" * 64, name="web", created=NOW, image_id="sha256:1", path="sh", args=["-c", "echo hi"],
        config=ContainerConfig(image="redis", exposed_ports={"80/tcp": {}, "81/tcp": {}}),
        host_config=HostConfig(network_mode="bridge"),
        state=ContainerState(status="running", running=True, started_at=NOW),
        networks={"bridge": EndpointSettings(ip_address="172.17.0.2", gateway="172.17.0.1", dns_names=["web", "c" * 12])},
        ports={"80/tcp": [PortBinding(host_ip="0.0.0.0", host_port="8080")]},
    )  # fmt: skip


def test_container_inspect_has_dockers_shape() -> None:
    """Name with a slash, addresses of the bridge on top, exposed ports that are not published as null."""
    shown = present_container.inspect(container(), MAXIMUM, PLACES)
    assert shown["Name"] == "/web"
    assert shown["NetworkSettings"]["IPAddress"] == "172.17.0.2"
    assert shown["NetworkSettings"]["Ports"] == {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}], "81/tcp": None}
    assert shown["HostConfig"]["RestartPolicy"]["Name"] == "no"
    assert shown["HostConfig"]["Binds"] is None
    assert shown["State"]["StartedAt"] == "2026-01-02T03:04:05Z"
    assert shown["State"]["FinishedAt"] == "0001-01-01T00:00:00Z"
    assert "Health" not in shown["State"]
    assert "Healthcheck" not in shown["Config"]


def test_container_summary_has_dockers_shape() -> None:
    """A row of `docker ps`."""
    shown = present_container.summary(container(), "redis", NOW, MAXIMUM)
    assert shown["Names"] == ["/web"]
    assert shown["Status"] == "Up Less than a second"
    assert shown["Ports"] == [
        {"IP": "0.0.0.0", "PrivatePort": 80, "Type": "tcp", "PublicPort": 8080},
        {"PrivatePort": 81, "Type": "tcp"},
    ]
    assert shown["Command"] == "sh -c 'echo hi'"


def test_aliases_before_1_45() -> None:
    """Older clients get the short id among the aliases, and no DNSNames."""
    old = present_container.inspect(container(), ApiVersion(1, 44), PLACES)["NetworkSettings"]["Networks"]["bridge"]
    assert old["Aliases"] == ["c" * 12]
    assert "DNSNames" not in old


def test_untagged_images_by_version() -> None:
    """`<none>:<none>` stood in RepoTags before 1.43; VirtualSize before 1.44."""
    image = Image(id="sha256:1", size=5)
    assert present_engine.image_summary(image, MAXIMUM)["RepoTags"] == []
    old = present_engine.image_summary(image, ApiVersion(1, 42))
    assert old["RepoTags"] == ["<none>:<none>"]
    assert old["VirtualSize"] == 5


def test_every_struct_can_be_printed() -> None:
    """Printing equals the struct's own JSON wherever no rule of Go's says otherwise."""
    assert printed(NetworkSpec(name="n", labels={"a": "b"})) == {"Name": "n", "Labels": {"a": "b"}}
    assert go_name("virtual_ips") == "VirtualIPs"
