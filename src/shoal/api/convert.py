"""A service spec as the API got it -> the spec that the swarm keeps: what the engine adds before a manager sees it.

Absent stays absent where that has a meaning of its own (restart policy, update config); words are checked, empty
ones get their default (reference: Docker Engine API, ServiceCreate).
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from msgspec.structs import replace

from shoal.api import versions
from shoal.api.versions import ApiVersion
from shoal.model.errors import InvalidArgument, Unimplemented
from shoal.model.names import random_name
from shoal.model.privileges import CredentialSpec, Privileges
from shoal.model.swarm_spec import (
    PROPAGATIONS,
    ContainerSpec,
    Empty,
    EndpointSpec,
    Mount,
    NetworkAttachmentConfig,
    NodeSpec,
    PortConfig,
    ReplicatedService,
    RestartPolicy,
    ServiceMode,
    ServiceSpec,
    TaskSpec,
    UpdateConfig,
)

_RESTART_CONDITIONS = ("any", "none", "on-failure")
_FAILURE_ACTIONS = ("pause", "continue", "rollback")
_ORDERS = ("stop-first", "start-first")
_CONSISTENCIES = ("", "default", "consistent", "cached", "delegated")
_SECCOMP_MODES = ("", "default", "unconfined", "custom")
_APPARMOR_MODES = ("", "default", "disabled")
MOST_REPLICAS = 100_000
"""A slip of the finger in `service scale` must not fill the memory of one leader after the other."""

NetworkId = Callable[[str], str]
"""The id of a network that services may use, from its id, name or the beginning of its id; raises when it may not."""


def service_spec(spec: ServiceSpec, version: ApiVersion, rng: Random, network_id: NetworkId) -> ServiceSpec:
    """`spec` with a name, one mode, and networks by id. Raises InvalidArgument, Unimplemented."""
    template = _task_spec(spec.task_template, network_id)
    deprecated = spec.networks if versions.networks_in_service_spec(version) and not template.networks else []
    if deprecated:
        template = replace(template, networks=_networks(deprecated, network_id))
    return replace(
        spec,
        name=spec.name or random_name(rng),
        task_template=template,
        mode=_mode(spec.mode),
        update_config=_update_config(spec.update_config, "update"),
        rollback_config=_update_config(spec.rollback_config, "rollback"),
        networks=[],
        endpoint_spec=_endpoint_spec(spec.endpoint_spec),
    )


def _task_spec(spec: TaskSpec, network_id: NetworkId) -> TaskSpec:
    if spec.runtime == "attachment":
        raise InvalidArgument('invalid task spec: spec type "attachment" not supported')
    if spec.runtime == "plugin":
        raise Unimplemented("services of plugins are not supported")
    if spec.runtime not in ("", "container"):
        raise InvalidArgument(f'unsupported runtime: "{spec.runtime}"')
    if spec.container_spec is None:
        raise InvalidArgument("mismatched runtime: ContainerSpec is required")
    if spec.container_spec.secrets or spec.container_spec.configs:
        raise Unimplemented(
            "secrets and configs are not supported by this version of Shoal: they come in a later version"
        )
    return replace(
        spec,
        container_spec=_container_spec(spec.container_spec),
        # Clients send back what they read from other engines: this word is those engines' form of "not said".
        runtime="" if spec.runtime == "container" else spec.runtime,
        restart_policy=_restart(spec.restart_policy),
        networks=_networks(spec.networks, network_id),
    )


def _container_spec(spec: ContainerSpec) -> ContainerSpec:
    if spec.isolation not in ("", "default"):
        raise InvalidArgument(f"invalid --isolation: \"{spec.isolation}\" - linux only supports 'default'")
    for mount in spec.mounts:
        _check_mount(mount)
    if spec.privileges is not None:
        _check_privileges(spec.privileges)
    return replace(spec, isolation="")  # "default" is other engines' form of "not said"


def _check_mount(mount: Mount) -> None:
    if mount.bind_options is not None and mount.bind_options.propagation.lower() not in ("", *PROPAGATIONS):
        raise InvalidArgument(f'invalid MountPropagation: "{mount.bind_options.propagation}"')
    if mount.consistency.lower() not in _CONSISTENCIES:
        raise InvalidArgument(f'invalid mount consistency: "{mount.consistency}"')


def _check_privileges(privileges: Privileges) -> None:
    seccomp, apparmor, credential = privileges.seccomp, privileges.apparmor, privileges.credential_spec
    if seccomp is not None and seccomp.mode not in _SECCOMP_MODES:
        raise InvalidArgument(f'invalid Seccomp mode: "{seccomp.mode}"')
    if apparmor is not None and apparmor.mode not in _APPARMOR_MODES:
        raise InvalidArgument(f'invalid AppArmor mode: "{apparmor.mode}"')
    if credential is not None:
        _check_credential(credential)


def _check_credential(spec: CredentialSpec) -> None:
    given = [f'"{key}"' for key in ("config", "file", "registry") if getattr(spec, key)]
    if not given:
        raise InvalidArgument(
            'invalid CredentialSpec: must either provide "file", "registry", or "config" for credential spec'
        )
    if len(given) > 1:
        raise InvalidArgument(
            f"invalid CredentialSpec: cannot specify both {', '.join(given[:-1])} and {given[-1]} credential specs"
        )


def _networks(asked: list[NetworkAttachmentConfig], network_id: NetworkId) -> list[NetworkAttachmentConfig]:
    return [replace(network, target=network_id(network.target)) for network in asked]


def _restart(policy: RestartPolicy | None) -> RestartPolicy | None:
    if policy is None:
        return None
    condition = policy.condition or "any"
    if condition not in _RESTART_CONDITIONS:
        raise InvalidArgument(f'invalid RestartCondition: "{condition}"')
    return replace(policy, condition=condition)


def _mode(mode: ServiceMode) -> ServiceMode:
    given = [part for part in (mode.replicated, mode.global_, mode.replicated_job, mode.global_job) if part is not None]
    if len(given) > 1:
        raise InvalidArgument("must specify only one service mode")
    if mode.replicated_job is not None or mode.global_job is not None:
        raise Unimplemented("jobs are not supported by this version of Shoal: they come in a later version")
    if mode.global_ is not None:
        return ServiceMode(global_=Empty())
    replicas = mode.replicated.replicas if mode.replicated else None
    if replicas is not None and replicas < 0:
        raise InvalidArgument(f"invalid replicas: {replicas} is negative")
    if replicas is not None and replicas > MOST_REPLICAS:
        raise InvalidArgument(f"invalid replicas: {replicas} is more than a service can have, {MOST_REPLICAS}")
    return ServiceMode(replicated=ReplicatedService(replicas=1 if replicas is None else replicas))


def _update_config(config: UpdateConfig | None, what: str) -> UpdateConfig | None:
    if config is None:
        return None
    action, order = config.failure_action or "pause", config.order or "stop-first"
    if action not in _FAILURE_ACTIONS or (what == "rollback" and action == "rollback"):
        raise InvalidArgument(f"unrecognized update failure action {action}")
    if order not in _ORDERS:
        raise InvalidArgument(f"unrecognized update order {order}")
    return replace(config, failure_action=action, order=order)


def _endpoint_spec(spec: EndpointSpec | None) -> EndpointSpec | None:
    if spec is None:
        return None
    mode = spec.mode or "vip"
    if mode not in ("vip", "dnsrr"):
        raise InvalidArgument(f'invalid resolution mode: "{spec.mode}"')
    return EndpointSpec(mode=mode, ports=[_port(port) for port in spec.ports])


def _port(port: PortConfig) -> PortConfig:
    for number in (port.target_port, port.published_port):
        if not 0 <= number <= 65535:
            raise InvalidArgument(f"invalid port: {number} is not between 0 and 65535")
    protocol, mode = port.protocol.lower() or "tcp", port.publish_mode.lower() or "ingress"
    if protocol not in ("tcp", "udp", "sctp"):
        raise InvalidArgument(f'invalid protocol: "{port.protocol}"')
    if mode not in ("ingress", "host"):
        raise InvalidArgument(f'invalid PublishMode: "{port.publish_mode}"')
    return replace(port, protocol=protocol, publish_mode=mode)


def node_spec(spec: NodeSpec) -> NodeSpec:
    """The whole spec of a node, as an update sends it, with its words checked. Raises InvalidArgument."""
    role, availability = spec.role.lower(), spec.availability.lower()
    if role not in ("worker", "manager"):
        raise InvalidArgument(f'invalid Role: "{spec.role}"')
    if availability not in ("active", "pause", "drain"):
        raise InvalidArgument(f'invalid Availability: "{spec.availability}"')
    return replace(spec, role=role, availability=availability)
