"""A service with odd values anywhere is refused with a clear error, or it goes all the way and harms nobody.

What the API lets in has to survive the store, the decisions of the leader, the node protocol and the plan of the agent:
where one of them gave up on a task, all other tasks of its node would be stuck behind it.
"""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest

from shoal.agent.plan import plan
from shoal.api.body import decode_body
from shoal.api.convert import service_spec
from shoal.api.versions import MAXIMUM
from shoal.manager.control.validate import check_service
from shoal.model.base import decode, encode
from shoal.model.errors import InvalidArgument, ShoalError
from shoal.model.objects import Network, NodeDescription, Service, Task
from shoal.model.states import TaskState
from shoal.model.swarm_spec import ServiceSpec
from shoal.wire.convert_task import task_from_wire, task_to_wire
from tests.unit.manager_world import World, node
from tests.unit.places import Place, changed, places

ODD: list[Any] = [
    -1, 0, 2**31, 2**32, 2**63 - 1, 2**63, 2**64, -(2**63) - 1, 1.5, 1e300, "", "x", "%", "\0", "é" * 300, True,
    [], {}, ["x"], [1], [{}], {"a": "b"}, {"Mode": "x"}, {"Profile": "?"},
]  # fmt: skip

_HEALTH = {"Test": ["CMD", "a"], "Interval": 10**9, "Timeout": 10**9, "Retries": 3, "StartPeriod": 10**9,
           "StartInterval": 10**9}  # fmt: skip
_MOUNTS = [
    {"Type": "volume", "Source": "v", "Target": "/v", "ReadOnly": True, "Consistency": "cached", "VolumeOptions": {
        "NoCopy": True, "Labels": {"l": "m"}, "DriverConfig": {"Name": "local", "Options": {"o": "p"}}, "Subpath": "x"}},
    {"Type": "bind", "Source": "/etc", "Target": "/e", "BindOptions": {"Propagation": "rslave", "NonRecursive": True}},
    {"Type": "tmpfs", "Target": "/t", "TmpfsOptions": {"SizeBytes": 1000, "Mode": 448, "Options": [["noexec"]]}},
]  # fmt: skip
_PRIVILEGES = {
    "CredentialSpec": {"File": "a"}, "NoNewPrivileges": True, "AppArmor": {"Mode": "default"},
    "SELinuxContext": {"Disable": True, "User": "u", "Role": "r", "Type": "t", "Level": "l"},
    "Seccomp": {"Mode": "custom", "Profile": "e30="},
}  # fmt: skip
_CONTAINER = {
    "Image": "app:1", "Labels": {"x": "y"}, "Command": ["a"], "Args": ["b"], "Hostname": "h", "Env": ["A=b"], "Dir": "/",
    "User": "u", "Groups": ["g"], "Privileges": _PRIVILEGES, "Init": True, "StopSignal": "TERM", "TTY": True,
    "OpenStdin": True, "ReadOnly": True, "Mounts": _MOUNTS, "StopGracePeriod": 10**9, "Healthcheck": _HEALTH,
    "Hosts": ["1.2.3.4 a b"], "DNSConfig": {"Nameservers": ["1.1.1.1"], "Search": ["x"], "Options": ["y"]},
    "Isolation": "default", "Sysctls": {"a": "b"}, "CapabilityAdd": ["CAP_NET_ADMIN"], "CapabilityDrop": ["ALL"],
    "Ulimits": [{"Name": "nofile", "Hard": 10, "Soft": 5}], "OomScoreAdj": 5,
}  # fmt: skip
_AMOUNTS = {"NanoCPUs": 10**9, "MemoryBytes": 50_000_000}
_UPDATE = {"Parallelism": 1, "Delay": 1, "FailureAction": "pause", "Monitor": 1, "MaxFailureRatio": 0.1,
           "Order": "stop-first"}  # fmt: skip
FULL: dict[str, Any] = {
    "Name": "odd", "Labels": {"a": "b"},
    "TaskTemplate": {
        "ContainerSpec": _CONTAINER, "Runtime": "container", "ForceUpdate": 1, "Networks": [],
        "Resources": {"Limits": {**_AMOUNTS, "Pids": 10}, "Reservations": _AMOUNTS, "SwapBytes": 1,
                      "MemorySwappiness": 1},
        "RestartPolicy": {"Condition": "any", "Delay": 1, "MaxAttempts": 1, "Window": 1},
        "Placement": {"Constraints": ["node.role==worker"], "MaxReplicas": 1, "Platforms": [{"OS": "linux"}],
                      "Preferences": [{"Spread": {"SpreadDescriptor": "node.labels.a"}}]},
        "LogDriver": {"Name": "json-file", "Options": {"a": "b"}},
    },
    "Mode": {"Replicated": {"Replicas": 1}}, "UpdateConfig": _UPDATE, "RollbackConfig": _UPDATE,
    "EndpointSpec": {"Mode": "vip", "Ports": [
        {"Name": "n", "Protocol": "tcp", "TargetPort": 80, "PublishedPort": 80, "PublishMode": "ingress"}]},
}  # fmt: skip
"""A service that says everything a service can say, and runs."""


def accepted(asked: dict[str, Any]) -> ServiceSpec:
    """The spec as a manager keeps it. Raises what the API would answer."""
    spec = service_spec(decode_body(json.dumps(asked).encode(), ServiceSpec), MAXIMUM, Random(1), lambda name: name)
    check_service(spec)
    return spec


def goes_all_the_way(spec: ServiceSpec) -> None:
    """Store, decisions, the node protocol, and the agent's plan."""
    assert decode(encode(spec), ServiceSpec) == spec
    world = World(node("n1"), node("n2"))
    world.put(Service(id="service", spec=spec))
    world.settle()
    for state in (TaskState.FAILED, TaskState.REJECTED):
        for task in world.view.all(Task):
            world.report(task, state)
        world.wait(60)
    world.respec(spec)
    for task in world.view.all(Task):
        message = task_to_wire(task, lambda id: world.view.get(Network, id)).SerializeToString()
        told = task_from_wire(type(task_to_wire(task, lambda id: None)).FromString(message))
        try:
            plan(told, [], NodeDescription(hostname="n1"))
        except ShoalError as fault:
            assert str(fault)  # the task is rejected with that reason


def test_the_whole_spec_is_accepted_and_runs() -> None:
    """Else what follows would prove nothing."""
    world = World(node("n1"))
    world.put(Service(id="service", spec=accepted(FULL)))
    world.settle()
    assert [task.status.state for task in world.view.all(Task)] == [TaskState.ASSIGNED]


@pytest.mark.parametrize("place", list(places(FULL)), ids=lambda place: ".".join(map(str, place)))
def test_an_odd_value_is_refused_or_harmless(place: Place) -> None:
    """At every place of a service's spec."""
    for value in ODD:
        try:
            spec = accepted(changed(FULL, place, value))
        except ShoalError as fault:
            assert str(fault)
            continue
        replicated = spec.mode.replicated
        if replicated is None or (replicated.replicas or 0) < 10:
            goes_all_the_way(spec)


_SPEC = ("TaskTemplate", "ContainerSpec")


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ((*_SPEC, "Mounts", 1, "BindOptions", "Propagation"), "x", 'invalid MountPropagation: "x"'),
        ((*_SPEC, "Mounts", 0, "Consistency"), "x", 'invalid mount consistency: "x"'),
        ((*_SPEC, "Isolation"), "hyperv", "invalid --isolation: \"hyperv\" - linux only supports 'default'"),
        ((*_SPEC, "Privileges", "Seccomp", "Mode"), "x", 'invalid Seccomp mode: "x"'),
        ((*_SPEC, "Privileges", "AppArmor", "Mode"), "x", 'invalid AppArmor mode: "x"'),
        ((*_SPEC, "Privileges", "CredentialSpec"), {}, "invalid CredentialSpec: must either provide"),
        (
            (*_SPEC, "Privileges", "CredentialSpec"),
            {"File": "a", "Registry": "b"},
            'invalid CredentialSpec: cannot specify both "file" and "registry" credential specs',
        ),
        (("Mode", "Replicated", "Replicas"), 10**9, "invalid replicas: 1000000000 is more than a service can have"),
        (("EndpointSpec", "Ports", 0, "Protocol"), "x", 'invalid protocol: "x"'),
        (("EndpointSpec", "Ports", 0, "PublishMode"), "x", 'invalid PublishMode: "x"'),
        (("TaskTemplate", "RestartPolicy", "MaxAttempts"), -1, "TaskTemplate.RestartPolicy.MaxAttempts"),
        ((*_SPEC, "Privileges", "Seccomp", "Profile"), "x", "TaskTemplate.ContainerSpec.Privileges.Seccomp.Profile"),
        ((*_SPEC, "StopGracePeriod"), 2**63, "9223372036854775808 does not fit into 64 bits"),
    ],
)
def test_the_error_says_what_is_wrong(place: Place, value: Any, message: str) -> None:
    """With the word and its kind, or the place."""
    with pytest.raises(InvalidArgument) as refused:
        accepted(changed(FULL, place, value))
    assert message in str(refused.value)
