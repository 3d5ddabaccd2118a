"""Model: JSON shapes, names, references, constraints, states."""

from __future__ import annotations

import subprocess
import sys
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.model import constraint, filters, names, reference
from shoal.model.base import decode, encode, go_name
from shoal.model.errors import InvalidArgument, NotFound
from shoal.model.netstate import mac_of
from shoal.model.objects import Node, NodeDescription, NodeStatus, Service, Task
from shoal.model.states import TaskState, advance
from shoal.model.swarm_spec import NodeSpec, Platform, ServiceSpec


@pytest.mark.parametrize(
    ("python", "go"),
    [
        ("nano_cpus", "NanoCPUs"),
        ("id", "ID"),
        ("tls_info", "TLSInfo"),
        ("dns_config", "DNSConfig"),
        ("task_template", "TaskTemplate"),
    ],
)
def test_fields_have_gos_names(python: str, go: str) -> None:
    """JSON names are Go's, acronyms in capitals."""
    assert go_name(python) == go


def test_a_spec_as_dockers_cli_sends_it_is_read() -> None:
    """Nulls count as absent, unknown fields are ignored, absent differs from zero."""
    spec = decode(
        b'{"Name":"web","Labels":null,"New":1,"TaskTemplate":{"ContainerSpec":{"Image":"nginx","Init":false},'
        b'"RestartPolicy":{"Condition":"any","Delay":0}},"Mode":{"Replicated":{"Replicas":0}}}',
        ServiceSpec,
    )
    assert spec.labels == {} and spec.mode.replicated is not None and spec.mode.replicated.replicas == 0
    assert spec.task_template.restart_policy is not None
    assert spec.task_template.restart_policy.delay == 0 and spec.task_template.restart_policy.window is None
    assert decode(encode(spec), ServiceSpec) == spec


@pytest.mark.parametrize(
    "text", [b"{", b'{"Name":[]}', b'{"Name": "\xff"}', b'{"Mode":{"Replicated":{"Replicas":"many"}}}']
)
def test_wrong_json_is_an_invalid_argument(text: bytes) -> None:
    """Broken or misshapen bodies are the client's fault: 400."""
    with pytest.raises(InvalidArgument):
        decode(text, ServiceSpec)


@pytest.mark.parametrize(
    ("typed", "full", "short"),
    [
        ("redis", "docker.io/library/redis:latest", "redis:latest"),
        ("user/app:2", "docker.io/user/app:2", "user/app:2"),
        ("localhost/x", "localhost/x:latest", "localhost/x:latest"),
        ("192.168.99.1:5000/a/b:1", "192.168.99.1:5000/a/b:1", "192.168.99.1:5000/a/b:1"),
        ("index.docker.io/library/redis:7", "docker.io/library/redis:7", "redis:7"),
        ("a@sha256:" + "0" * 64, "docker.io/library/a@sha256:" + "0" * 64, "a@sha256:" + "0" * 64),
    ],
)
def test_image_names_have_a_full_and_a_short_form(typed: str, full: str, short: str) -> None:
    """The two forms, and reading the one gives the other."""
    assert reference.normalise(typed) == full
    assert reference.familiar(reference.parse(full)) == short


@pytest.mark.parametrize("text", ["", ":x", "a:", "a@sha256:12", "up/Case", "a b", "a//b", "-x", "f" * 64])
def test_wrong_image_names_are_refused(text: str) -> None:
    """With docker's words for it."""
    with pytest.raises(InvalidArgument, match="invalid re"):
        reference.parse(text)


NODE = Node(
    id="n1",
    spec=NodeSpec(labels={"disk": "ssd"}),
    description=NodeDescription(hostname="alpha", platform=Platform(os="linux", architecture="x86_64")),
    status=NodeStatus(addr="10.1.2.3"),
    role="manager",
)


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("node.labels.disk==ssd", True), ("node.labels.disk == SSD", True), ("node.labels.disk!=ssd", False),
        ("node.labels.none!=x", True), ("node.labels.none==x", False), ("node.role==manager", True), ("node.id==n2", False),
        ("node.hostname==alpha", True), ("node.ip==10.1.0.0/16", True), ("node.ip==10.2.0.0/16", False),
        ("node.ip!=nonsense", False), ("node.platform.os==linux", True), ("node.unknown==x", False), ("node.unknown!=x", False),
    ],
)  # fmt: skip
def test_constraints_hold_as_in_swarmkit(text: str, holds: bool) -> None:
    """The constraint language: keys, operators, missing labels, addresses, unknown keys."""
    assert constraint.satisfied([text], NODE) is holds


@pytest.mark.parametrize("text", ["node.id", "==x", "node.id=x", "n==x", "node.id==a,b", "node.id=="])
def test_wrong_constraints_are_refused(text: str) -> None:
    """Each is an InvalidArgument (400), where docker answers 500."""
    with pytest.raises(InvalidArgument):
        constraint.parse([text])


@given(st.sampled_from(TaskState), st.lists(st.sampled_from(TaskState)))
def test_no_report_lowers_a_state(first: TaskState, reports: list[TaskState]) -> None:
    """Observed state is monotone, whatever arrives in whatever order."""
    state = first
    for report in reports:
        assert advance(state, report) >= state
        state = advance(state, report)
    assert state == max([first, *reports])


def test_states_have_swarmkits_numbers_and_dockers_words() -> None:
    """The numbers are on the wire, the words in the API."""
    assert (TaskState.RUNNING, TaskState.REMOVE, TaskState.ORPHANED) == (512, 800, 832)
    assert all(TaskState.parse(state.word) is state for state in TaskState)
    assert TaskState.COMPLETE.terminal and not TaskState.RUNNING.terminal


def test_things_are_found_by_id_then_name_then_beginning() -> None:
    """An exact id wins over a name, a name over a prefix; several prefixes are ambiguous; none is not found."""
    services = [
        Service(id="abc1", spec=ServiceSpec(name="web")),
        Service(id="abd2", spec=ServiceSpec(name="abc1")),
        Service(id="xyz3", spec=ServiceSpec(name="ab")),
    ]
    assert names.find("service", services, "abc1", "spec.name").id == "abc1"
    assert names.find("service", services, "ab", "spec.name").id == "xyz3"
    assert names.find("service", services, "xy", "spec.name").id == "xyz3"
    with pytest.raises(InvalidArgument, match=r"service a is ambiguous \(2 matches found\)"):
        names.find("service", services, "a", "spec.name")
    with pytest.raises(NotFound, match="service q not found"):
        names.find("service", services, "q", "spec.name")


def test_task_names_have_slot_or_node() -> None:
    """`web.1.<id>`, and of a global service's task the node instead of the slot."""
    assert names.task_name(Task(id="t", service_name="web", slot=2)) == "web.2.t"
    assert names.task_name(Task(id="t", service_name="web", node_id="n")) == "web.n.t"


@pytest.mark.parametrize("name", ["web", "a-b_c", "x" * 63])
def test_good_service_names_pass(name: str) -> None:
    """DNS labels of up to 63 characters."""
    names.check_service_name(name)


@pytest.mark.parametrize("name", ["", "-a", "a-", "a.b", "a b", "x" * 64])
def test_bad_service_names_are_refused(name: str) -> None:
    """Everything else is not."""
    with pytest.raises(InvalidArgument):
        names.check_service_name(name)


@pytest.mark.parametrize(
    ("name", "fault"), [("v", "too short"), ("a/b", "includes invalid characters"), ("a" * 256, "too long")]
)
def test_a_wrong_name_of_a_volume(name: str, fault: str) -> None:
    """Each with docker's words."""
    with pytest.raises(InvalidArgument, match=f"create {name}: .*{fault}"):
        names.check_volume_name(name)


def test_made_up_names_are_container_names() -> None:
    """What a nameless container or service gets is a valid name."""
    name = names.random_name(Random(1))
    names.check_container_name(name)
    names.check_service_name(name)


def test_filters_have_two_forms() -> None:
    """Today's clients send maps, older ones lists; unknown keys are refused by name."""
    assert filters.parse('{"name":{"a":true,"b":false}}', ["name"]) == {"name": ["a"]}
    assert filters.parse('{"name":["a"]}', ["name"]) == {"name": ["a"]}
    with pytest.raises(InvalidArgument, match="invalid filter 'x'"):
        filters.parse('{"x":["a"]}', ["name"])
    assert filters.match_labels({"label": ["a", "b=1"]}, {"a": "", "b": "1"})
    assert not filters.match_labels({"label": ["a", "b=1"]}, {"a": "", "b": "2"})


@pytest.mark.parametrize(
    ("text", "value"), [("1", True), ("true", True), ("", False), ("0", False), ("No", False), (None, False)]
)
def test_query_booleans_are_dockers(text: str | None, value: bool) -> None:
    """Anything but a few words for no is yes."""
    assert filters.truth(text) is value


def test_an_overlay_address_has_one_mac() -> None:
    """Derived, so it need not be sent."""
    assert mac_of("10.0.1.255") == "02:42:0a:00:01:ff"


def test_threads_may_meet_a_type_at_once() -> None:
    """msgspec crashes when two threads meet a struct for the first time; whoever converts goes in turn. In a process of
    its own, because here it has met them all."""
    script = """
import sys, threading
sys.setswitchinterval(1e-6)
from shoal.machine.record import parse_record
from shoal.model.base import decode
from shoal.model.container import HostConfig
gate = threading.Barrier(16)
def meet(work):
    gate.wait()
    work()
works = [lambda: decode(b"{}", HostConfig), lambda: parse_record(b'{"ConfigVersion": 3, "Driver": {}}')] * 8
threads = [threading.Thread(target=meet, args=(work,)) for work in works]
for thread in threads: thread.start()
for thread in threads: thread.join()
print("whole")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "whole\n", "")
