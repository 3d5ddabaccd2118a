"""The conversion wire <-> model loses nothing that the other side needs."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from shoal.model import objects as m
from shoal.model import swarm_spec as s
from shoal.model.privileges import AppArmor, CredentialSpec, Privileges, Seccomp, SELinuxContext
from shoal.model.service_logs import LogRequest, LogSelector, ServiceLogLine
from shoal.model.states import TaskState
from shoal.wire.basics import from_duration, to_duration
from shoal.wire.convert_container import container_from_wire, container_to_wire
from shoal.wire.convert_logs import (
    line_from_wire,
    line_to_wire,
    request_from_wire,
    request_to_wire,
    selector_from_wire,
    selector_to_wire,
)
from shoal.wire.convert_network import VXLAN_IDS, network_from_wire, network_to_wire
from shoal.wire.convert_node import description_from_wire, description_to_wire, node_from_wire, node_to_wire
from shoal.wire.convert_task import networks_from_wire, state_from_wire, status_from_wire, task_from_wire, task_to_wire
from shoal.wire.pb import swarmkit_pb2 as pb

text = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=6)
texts = st.lists(text, max_size=3)
labels = st.dictionaries(text, text, max_size=2)
naturals = st.integers(0, 2**40)
small = st.integers(0, 65535)
moments = st.datetimes(datetime(1971, 1, 1), datetime(2100, 1, 1)).map(lambda value: value.replace(tzinfo=UTC))
drivers = st.builds(s.Driver, name=text, options=labels)
ports = st.builds(
    s.PortConfig,
    name=text,
    protocol=st.sampled_from(["tcp", "udp", "sctp"]),
    target_port=small,
    published_port=small,
    publish_mode=st.sampled_from(["ingress", "host"]),
)
mounts = st.builds(
    s.Mount,
    type=st.sampled_from(["bind", "volume", "tmpfs", "npipe", "cluster"]),
    source=text,
    target=text,
    read_only=st.booleans(),
    consistency=st.sampled_from(["", "consistent", "cached", "delegated"]),
    bind_options=st.none()
    | st.builds(
        s.Mount.BindOptions,
        propagation=st.sampled_from(["rprivate", "private", "rshared", "shared", "rslave", "slave"]),
        non_recursive=st.booleans(),
    ),
    volume_options=st.none()
    | st.builds(
        s.Mount.VolumeOptions,
        no_copy=st.booleans(),
        labels=labels,
        driver_config=st.none() | drivers,
        subpath=text,
    ),
    tmpfs_options=st.none()
    | st.builds(
        s.Mount.TmpfsOptions,
        size_bytes=naturals,
        mode=st.integers(0, 0o7777),
        options=st.lists(st.lists(text, min_size=1, max_size=2), max_size=2),
    ),
)
files = st.fixed_dictionaries({"Name": text, "UID": text, "GID": text, "Mode": st.integers(0, 0o777)})
privileges = st.none() | st.sampled_from(
    [
        Privileges(),
        Privileges(no_new_privileges=True),
        Privileges(
            credential_spec=CredentialSpec(file="spec.json"), selinux_context=SELinuxContext(disable=True, level="s0")
        ),
        Privileges(seccomp=Seccomp(mode="custom", profile=b"{}"), apparmor=AppArmor(mode="disabled")),
    ]
)
healthchecks = st.builds(
    s.HealthConfig,
    test=texts,
    interval=naturals,
    timeout=naturals,
    retries=small,
    start_period=naturals,
    start_interval=naturals,
)
containers = st.builds(
    s.ContainerSpec,
    image=text,
    labels=labels,
    command=texts,
    args=texts,
    hostname=text,
    env=texts,
    dir=text,
    user=text,
    groups=texts,
    privileges=privileges,
    init=st.none() | st.booleans(),
    stop_signal=text,
    tty=st.booleans(),
    open_stdin=st.booleans(),
    read_only=st.booleans(),
    mounts=st.lists(mounts, max_size=2),
    stop_grace_period=st.none() | naturals,
    healthcheck=st.none() | healthchecks,
    hosts=texts,
    dns_config=st.none() | st.builds(s.DNSConfig, nameservers=texts, search=texts, options=texts),
    secrets=st.lists(
        st.fixed_dictionaries({"SecretID": text, "SecretName": text}, optional={"File": files}), max_size=2
    ),
    configs=st.lists(
        st.fixed_dictionaries({"ConfigID": text, "ConfigName": text, "File": files})
        | st.fixed_dictionaries({"ConfigID": text, "ConfigName": text, "Runtime": st.just({})}),
        max_size=2,
    ),
    isolation=st.sampled_from(["", "process", "hyperv"]),
    sysctls=labels,
    capability_add=texts,
    capability_drop=texts,
    ulimits=st.lists(st.builds(s.Ulimit, name=text, soft=naturals, hard=naturals), max_size=2),
    oom_score_adj=st.integers(-1000, 1000),
)
generics = st.builds(
    s.GenericResource, named_resource_spec=st.builds(s.GenericResource.Named, kind=text, value=text)
) | st.builds(
    s.GenericResource, discrete_resource_spec=st.builds(s.GenericResource.Discrete, kind=text, value=naturals)
)
resources = st.builds(
    s.Resources, nano_cpus=naturals, memory_bytes=naturals, generic_resources=st.lists(generics, max_size=2)
)
requirements = st.builds(
    s.ResourceRequirements,
    limits=st.none() | st.builds(s.Limit, nano_cpus=naturals, memory_bytes=naturals, pids=small),
    reservations=st.none() | resources,
    swap_bytes=st.none() | st.integers(-1, 2**40),
    memory_swappiness=st.none() | st.integers(0, 100),
)
platforms = st.builds(s.Platform, architecture=text, os=text)
specs = st.builds(
    s.TaskSpec,
    container_spec=containers,
    resources=st.none() | requirements,
    restart_policy=st.none()
    | st.builds(
        s.RestartPolicy,
        condition=st.sampled_from(["none", "on-failure", "any"]),
        delay=st.none() | naturals,
        max_attempts=naturals,
        window=st.none() | naturals,
    ),
    placement=st.none()
    | st.builds(
        s.Placement,
        constraints=texts,
        preferences=st.lists(
            st.builds(s.PlacementPreference, spread=st.builds(s.SpreadOver, spread_descriptor=text)), max_size=2
        ),
        max_replicas=naturals,
        platforms=st.lists(platforms, max_size=2),
    ),
    networks=st.lists(st.builds(s.NetworkAttachmentConfig, target=text, aliases=texts, driver_opts=labels), max_size=2),
    log_driver=st.none() | drivers,
    force_update=small,
)
statuses = st.builds(
    m.TaskStatus,
    timestamp=moments,
    state=st.sampled_from(TaskState),
    message=text,
    err=text,
    container_status=st.none()
    | st.builds(m.ContainerStatus, container_id=text, pid=small, exit_code=st.integers(-(2**31), 2**31 - 1)),
    port_status=st.none() | st.builds(m.PortStatus, ports=st.lists(ports, max_size=2)),
    applied_at=st.none() | moments,
)
endpoints = st.builds(
    m.Endpoint,
    spec=st.builds(s.EndpointSpec, mode=st.sampled_from(["vip", "dnsrr"]), ports=st.lists(ports, max_size=2)),
    ports=st.lists(ports, max_size=2),
    virtual_ips=st.lists(st.builds(m.VirtualIP, network_id=text, addr=text), max_size=2),
)
tasks = st.builds(
    m.Task,
    id=text,
    version=st.builds(m.Version, index=naturals),
    created_at=moments,
    updated_at=moments,
    name=text,
    labels=labels,
    spec=specs,
    service_id=text,
    slot=naturals,
    node_id=text,
    status=statuses,
    desired_state=st.sampled_from(TaskState),
    networks_attachments=st.lists(
        st.builds(m.NetworkAttachment, network_id=text, addresses=texts, aliases=texts, driver_opts=labels), max_size=2
    ),
    generic_resources=st.lists(generics, max_size=2),
    spec_version=naturals,
    service_name=text,
    service_labels=labels,
    endpoint=endpoints,
    registry_auth=text,
    log_driver=st.none() | drivers,
)
ipams = st.builds(
    s.IPAM,
    driver=st.sampled_from(["default", "null"]),
    options=labels,
    config=st.lists(
        st.builds(s.IPAMConfig, subnet=text, ip_range=text, gateway=text, auxiliary_addresses=labels), max_size=2
    ),
)
networks = st.builds(
    m.Network,
    id=text,
    spec=st.builds(
        s.NetworkSpec,
        name=text,
        labels=labels,
        driver=st.sampled_from(["overlay", "macvlan"]),
        internal=st.booleans(),
        attachable=st.booleans(),
        ingress=st.booleans(),
        enable_ipv6=st.booleans(),
        ipam=st.none() | ipams,
        options=labels,
    ),
    driver=st.sampled_from(["overlay", "bridge"]),
    vxlan_id=st.integers(0, 2**24 - 1),
    ipam=ipams,
)
descriptions = st.builds(
    m.NodeDescription,
    hostname=text,
    platform=platforms,
    resources=resources,
    engine=st.builds(
        m.EngineDescription,
        engine_version=text,
        labels=labels,
        plugins=st.lists(st.builds(m.Plugin, type=text, name=text), max_size=2),
    ),
    tls_info=st.builds(
        m.TLSInfo, trust_root=text, cert_issuer_subject=st.binary(max_size=4), cert_issuer_public_key=st.binary()
    ),
)


@given(containers)
def test_container(spec: s.ContainerSpec) -> None:
    """A container spec comes back from the wire as it was."""
    sent = pb.ContainerSpec.FromString(container_to_wire(spec).SerializeToString())
    assert container_from_wire(sent) == spec


@given(tasks)
def test_task(task: m.Task) -> None:
    """A task comes back from the wire as it was: spec, status, endpoint, attachments, credentials."""
    sent = pb.Task.FromString(task_to_wire(task, lambda _: None).SerializeToString())
    found = task_from_wire(sent)
    assert found == task


@given(statuses)
def test_status(status: m.TaskStatus) -> None:
    """A status comes back from the wire as it was."""
    from shoal.wire.convert_task import status_to_wire

    assert status_from_wire(status_to_wire(status)) == status


@given(networks)
def test_network(network: m.Network) -> None:
    """A network comes back from the wire as it was, its VXLAN id included."""
    assert network_from_wire(network_to_wire(network)) == network


def test_what_real_engines_insist_on() -> None:
    """A network on the wire always has driver_state with the VXLAN id and an IPAM driver."""
    sent = network_to_wire(m.Network(id="n", vxlan_id=4097))
    assert sent.driver_state.name == "overlay"
    assert sent.driver_state.options[VXLAN_IDS] == "4097"
    assert sent.ipam.driver.name == "default"


def test_task_carries_its_networks() -> None:
    """A task on the wire has each of its networks whole."""
    network = m.Network(id="n1", spec=s.NetworkSpec(name="front", driver="overlay"), vxlan_id=5000)
    task = m.Task(id="t", networks_attachments=[m.NetworkAttachment(network_id="n1", addresses=["10.0.1.3/24"])])
    sent = task_to_wire(task, {"n1": network}.get)
    assert networks_from_wire(sent) == [network]
    assert task_from_wire(sent).networks_attachments == task.networks_attachments


@given(descriptions, st.sampled_from(["active", "pause", "drain"]), st.sampled_from(["worker", "manager"]), labels)
def test_node(description: m.NodeDescription, availability: str, role: str, names: dict[str, str]) -> None:
    """A node comes back from the wire as it was; so does its description alone."""
    assert description_from_wire(description_to_wire(description)) == description
    node = m.Node(
        id="n",
        spec=s.NodeSpec(labels=names, role=role, availability=availability),
        description=description,
        status=m.NodeStatus(state="ready", addr="10.0.0.1"),
        manager_status=m.ManagerStatus(leader=True, reachability="reachable", addr="10.0.0.1:2377"),
        role=role,
        member_id=7,
        certificate=m.Certificate(role=role, state="issued", csr=b"csr", pem=b"pem"),
        attachments=[m.NetworkAddresses(network_id="x", addresses=["10.0.0.2/24"])],
    )
    assert node_from_wire(node_to_wire(node, lambda _: None)) == node


@given(
    st.builds(
        LogRequest,
        follow=st.booleans(),
        tail=st.none() | naturals,
        since=st.none() | moments,
        stdout=st.just(True),
        stderr=st.booleans(),
    )
)
def test_log_request(request: LogRequest) -> None:
    """What is asked of logs comes back from the wire as it was; the tail has docker's encoding."""
    assert request_from_wire(request_to_wire(request)) == request
    assert request_to_wire(LogRequest(tail=10)).tail == -11
    assert request_to_wire(LogRequest()).tail == 0


@given(moments, st.sampled_from([1, 2]), st.binary(max_size=5), labels)
def test_log_line(moment: datetime, stream: int, data: bytes, attrs: dict[str, str]) -> None:
    """A line of a log and a selector come back from the wire as they were."""
    line = ServiceLogLine(
        service_id="s", node_id="n", task_id="t", moment=moment, stream=stream, data=data, attrs=attrs
    )
    assert line_from_wire(line_to_wire(line)) == line
    selector = LogSelector(service_ids=["a"], node_ids=["b"], task_ids=["c"])
    assert selector_from_wire(selector_to_wire(selector)) == selector


@given(st.integers(-(2**50), 2**50))
def test_duration(value: int) -> None:
    """A duration comes back from the wire to the nanosecond."""
    assert from_duration(pb.HeartbeatResponse(period=to_duration(value)), "period") == value


def test_unknown_state() -> None:
    """A state that only a newer peer knows counts as the one below it."""
    assert state_from_wire(512) is TaskState.RUNNING
    assert state_from_wire(520) is TaskState.RUNNING
