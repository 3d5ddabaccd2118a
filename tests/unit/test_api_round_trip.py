"""What a client reads and sends back unchanged changes nothing: else every `scale` would restart every task."""

from __future__ import annotations

import json
import types
import typing
from random import Random
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from shoal.api import present
from shoal.api.body import decode_body
from shoal.api.convert import node_spec, service_spec
from shoal.api.versions import MAXIMUM
from shoal.model.objects import Cluster, Node, Service
from shoal.model.privileges import AppArmor, CredentialSpec, Privileges, Seccomp, SELinuxContext
from shoal.model.swarm_spec import (
    ClusterSpec,
    ContainerSpec,
    EndpointSpec,
    NodeSpec,
    ServiceMode,
    ServiceSpec,
    TaskSpec,
)

CHOICES: dict[str, list[Any]] = {
    "condition": ["", "any", "none", "on-failure"],
    "failure_action": ["", "pause", "continue"],
    "order": ["", "stop-first", "start-first"],
    "runtime": ["", "container"],
    "isolation": ["", "default"],
    "role": ["worker", "manager"],
    "availability": ["active", "pause", "drain"],
    "protocol": ["", "tcp", "udp"],
    "publish_mode": ["", "ingress", "host"],
    "secrets": [[]],
    "configs": [[]],
    "replicated_job": [None],
    "global_job": [None],
    "propagation": ["", "rslave"],
    "consistency": ["", "cached"],
    "privileges": [
        None,
        Privileges(
            no_new_privileges=True, credential_spec=CredentialSpec(file="x"), apparmor=AppArmor(mode="disabled")
        ),
        Privileges(selinux_context=SELinuxContext(level="s0"), seccomp=Seccomp(mode="custom", profile=b"{}")),
    ],
}


def strategy(kind: Any) -> st.SearchStrategy[Any]:
    """Any value of a type of the model."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        return strategy(arguments[0])
    if isinstance(kind, types.UnionType) or origin is typing.Union:
        return st.one_of(*(strategy(option) for option in arguments))
    if kind is type(None):
        return st.none()
    if origin is list:
        return st.lists(strategy(arguments[0]), max_size=2)
    if origin is dict:
        return st.dictionaries(st.sampled_from(["a", "com.x/B"]), strategy(arguments[1]), max_size=2)
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return built(kind)
    simple: dict[Any, st.SearchStrategy[Any]] = {
        str: st.sampled_from(["", "x", "Ünïcode 1"]),
        int: st.sampled_from([0, 1, 65535]),
        bool: st.booleans(),
        float: st.sampled_from([0.0, 0.25]),
        Any: st.just("x"),
    }
    return simple[kind]


def built(kind: type[msgspec.Struct]) -> st.SearchStrategy[Any]:
    """Any value of a struct."""
    hints = typing.get_type_hints(kind, include_extras=True)
    fields = {
        name: st.sampled_from(CHOICES[name]) if name in CHOICES else strategy(hints[name])
        for name in kind.__struct_fields__
    }
    if kind is ServiceMode:
        return st.one_of(
            st.just(ServiceMode()),
            st.builds(kind, replicated=fields["replicated"]),
            st.builds(kind, global_=fields["global_"]),
        )
    if kind is EndpointSpec:
        fields["mode"] = st.sampled_from(["", "vip", "dnsrr"])
    if kind is TaskSpec:
        fields["container_spec"] = built(ContainerSpec)
    return st.builds(kind, **fields)


def converted(spec: ServiceSpec) -> ServiceSpec:
    return service_spec(spec, MAXIMUM, Random(1), lambda target: target)


def read_back(shown: Any, kind: Any) -> Any:
    """`shown` as a client would send it back."""
    return decode_body(json.dumps(shown).encode(), kind)


@given(built(ServiceSpec))
def test_a_service_spec_survives_the_client(spec: ServiceSpec) -> None:
    """Printed, read back and converted, a stored service spec equals itself."""
    stored = converted(spec)
    shown = present.service(Service(id="s", spec=stored))
    assert converted(read_back(shown["Spec"], ServiceSpec)) == stored


@given(built(NodeSpec))
def test_a_node_spec_survives_the_client(spec: NodeSpec) -> None:
    """The same for nodes."""
    shown = present.node(Node(id="n", spec=spec))
    assert node_spec(read_back(shown["Spec"], NodeSpec)) == spec


def test_a_cluster_spec_keeps_its_meaning() -> None:
    """`docker swarm update` sends the whole spec with defaults filled in: those are the swarm's own defaults."""
    shown = present.swarm(Cluster(id="c"))
    back = read_back(shown["Spec"], ClusterSpec)
    assert back.dispatcher.heartbeat_period == 10**9
    assert back.orchestration.task_history_retention_limit == 5
    assert present.swarm(Cluster(id="c", spec=back))["Spec"] == shown["Spec"]


def test_other_engines_words_for_nothing_are_nothing() -> None:
    """Isolation `default` and runtime `container` mean what absence means."""
    plain = ServiceSpec(name="s", task_template=TaskSpec(container_spec=ContainerSpec(image="a")))
    wordy = ServiceSpec(
        name="s",
        task_template=TaskSpec(container_spec=ContainerSpec(image="a", isolation="default"), runtime="container"),
    )
    assert converted(plain) == converted(wordy)
