"""Service and node specs as they come in: what the engine adds, keeps absent, or refuses."""

from __future__ import annotations

from random import Random

import pytest

from shoal.api.body import decode_body
from shoal.api.convert import node_spec, service_spec
from shoal.api.versions import MAXIMUM, ApiVersion
from shoal.model.errors import InvalidArgument, ShoalError, Unimplemented
from shoal.model.swarm_spec import NodeSpec, ServiceSpec


def converted(text: str, version: ApiVersion = MAXIMUM) -> ServiceSpec:
    return service_spec(decode_body(text.encode(), ServiceSpec), version, Random(1), lambda name: f"id-of-{name}")


def with_template(text: str) -> str:
    """`text` with the smallest valid template where the dots are."""
    return text.replace("...", MINIMAL)


MINIMAL = '"TaskTemplate": {"ContainerSpec": {"Image": "redis"}}'


def test_a_nameless_service_gets_a_name() -> None:
    """An empty name becomes adjective_surname."""
    assert "_" in converted(with_template("{...}")).name
    assert converted(with_template('{"Name": "web", ...}')).name == "web"


@pytest.mark.parametrize("mode", ["", ', "Mode": {}', ', "Mode": {"Replicated": {}}', ', "Mode": {"Replicated": null}'])
def test_one_replica_is_the_default(mode: str) -> None:
    """No mode, or no number, means replicated with one replica."""
    spec = converted(with_template("{...}".replace("...", "..." + mode)))
    assert spec.mode.replicated is not None
    assert spec.mode.replicated.replicas == 1


def test_zero_replicas_stay_zero() -> None:
    """Zero differs from absent."""
    spec = converted(with_template('{..., "Mode": {"Replicated": {"Replicas": 0}}}'))
    assert spec.mode.replicated is not None
    assert spec.mode.replicated.replicas == 0


def test_absent_policies_stay_absent() -> None:
    """Restart policy, update config and endpoint spec keep their absence; the swarm's defaults apply on use."""
    spec = converted(with_template("{...}"))
    assert spec.task_template.restart_policy is None
    assert spec.update_config is None
    assert spec.endpoint_spec is None


def test_present_policies_are_filled() -> None:
    """Empty words become their defaults; a parallelism of zero is kept: all at once."""
    spec = converted(
        '{"TaskTemplate": {"ContainerSpec": {"Image": "a"}, "RestartPolicy": {"MaxAttempts": 0}}, "UpdateConfig": {},'
        ' "EndpointSpec": {"Ports": [{"TargetPort": 80, "Protocol": "", "PublishMode": ""}]}}'
    )
    policy, update, endpoint = spec.task_template.restart_policy, spec.update_config, spec.endpoint_spec
    assert policy is not None
    assert (policy.condition, policy.delay, policy.max_attempts) == ("any", None, 0)
    assert update is not None
    assert (update.parallelism, update.failure_action, update.order) == (0, "pause", "stop-first")
    assert endpoint is not None
    assert (endpoint.mode, endpoint.ports[0].protocol, endpoint.ports[0].publish_mode) == ("vip", "tcp", "ingress")


def test_networks_become_ids() -> None:
    """Targets are resolved; the deprecated list beside the template counts before 1.44 only."""
    spec = converted('{"TaskTemplate": {"ContainerSpec": {"Image": "a"}, "Networks": [{"Target": "n"}]}}')
    assert [network.target for network in spec.task_template.networks] == ["id-of-n"]
    old = with_template('{..., "Networks": [{"Target": "n"}]}')
    assert [n.target for n in converted(old, ApiVersion(1, 43)).task_template.networks] == ["id-of-n"]
    assert converted(old).task_template.networks == []


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        (
            with_template('{..., "Mode": {"Global": {}, "Replicated": {}}}'),
            InvalidArgument,
            "must specify only one service mode",
        ),
        (with_template('{..., "Mode": {"GlobalJob": {}}}'), Unimplemented, "jobs"),
        ('{"Name": "x"}', InvalidArgument, "ContainerSpec is required"),
        ('{"TaskTemplate": {"Runtime": "attachment"}}', InvalidArgument, 'spec type "attachment" not supported'),
        ('{"TaskTemplate": {"Runtime": "plugin"}}', Unimplemented, "plugins"),
        (
            '{"TaskTemplate": {"ContainerSpec": {"Image": "a"}, "RestartPolicy": {"Condition": "x"}}}',
            InvalidArgument,
            'invalid RestartCondition: "x"',
        ),
        (
            with_template('{..., "UpdateConfig": {"FailureAction": "x"}}'),
            InvalidArgument,
            "unrecognized update failure action x",
        ),
        (with_template('{..., "UpdateConfig": {"Order": "x"}}'), InvalidArgument, "unrecognized update order x"),
        (with_template('{..., "EndpointSpec": {"Mode": "x"}}'), InvalidArgument, 'invalid resolution mode: "x"'),
        (
            with_template('{..., "EndpointSpec": {"Ports": [{"TargetPort": 70000}]}}'),
            InvalidArgument,
            "invalid port: 70000",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(text: str, kind: type[ShoalError], message: str) -> None:
    """Wrong words and combinations get docker's status and words."""
    with pytest.raises(kind, match=message):
        converted(text)


def test_node_specs_are_checked() -> None:
    """Role and availability are one of their words."""
    assert node_spec(NodeSpec(role="manager", availability="drain")).role == "manager"
    with pytest.raises(InvalidArgument, match='invalid Role: "boss"'):
        node_spec(NodeSpec(role="boss"))
    with pytest.raises(InvalidArgument, match='invalid Availability: "off"'):
        node_spec(NodeSpec(availability="off"))
