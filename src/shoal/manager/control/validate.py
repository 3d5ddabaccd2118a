"""What a service's spec must satisfy, in docker's order and words (SwarmKit's control API). Raises InvalidArgument."""

from __future__ import annotations

from collections.abc import Iterable

from shoal.model import constraint, reference
from shoal.model.errors import InvalidArgument
from shoal.model.names import check_service_name
from shoal.model.swarm_spec import (
    ContainerSpec,
    EndpointSpec,
    HealthConfig,
    Limit,
    Mount,
    Placement,
    ResourceRequirements,
    Resources,
    RestartPolicy,
    ServiceSpec,
    TaskSpec,
    UpdateConfig,
)

LEAST_NANO_CPUS = 10**6
LEAST_MEMORY = 4 * 2**20
_MILLISECOND = 10**6
_MOUNT_TYPES = ("bind", "volume", "tmpfs")


def check_service(spec: ServiceSpec) -> None:
    """Everything that can be said of a service without looking at the swarm."""
    check_service_name(spec.name)
    _check_task(spec.task_template)
    _check_update(spec.update_config)
    _check_update(spec.rollback_config)
    _check_endpoint(spec.endpoint_spec)


def _check_task(spec: TaskSpec) -> None:
    _check_resources(spec.resources or ResourceRequirements())
    _check_restart(spec.restart_policy or RestartPolicy())
    constraint.parse((spec.placement or Placement()).constraints)
    if spec.container_spec is None:
        raise InvalidArgument("TaskSpec: missing runtime")
    _check_container(spec.container_spec)


def _check_resources(resources: ResourceRequirements) -> None:
    for part in (resources.limits, resources.reservations):
        if part is not None:
            _check_amounts(part)
    for wanted in (resources.reservations or Resources()).generic_resources:
        if wanted.named_resource_spec is not None or wanted.discrete_resource_spec is None:
            raise InvalidArgument("invalid generic resource reservation: only discrete resources can be reserved")
        if wanted.discrete_resource_spec.value <= 0:
            raise InvalidArgument(
                f"invalid generic resource value {wanted.discrete_resource_spec.value}: Must be at least 1"
            )


def _check_amounts(part: Limit | Resources) -> None:
    if part.nano_cpus and part.nano_cpus < LEAST_NANO_CPUS:
        raise InvalidArgument(f"invalid cpu value {part.nano_cpus / 10**9:g}: Must be at least 0.001")
    if part.memory_bytes and part.memory_bytes < LEAST_MEMORY:
        raise InvalidArgument(f"invalid memory value {part.memory_bytes}: Must be at least 4MiB")


def _check_restart(policy: RestartPolicy) -> None:
    for name, value in (("delay", policy.delay), ("window", policy.window)):
        if value is not None and value < 0:
            raise InvalidArgument(f"TaskSpec: restart-{name} cannot be negative")


def _check_container(spec: ContainerSpec) -> None:
    if not spec.image:
        raise InvalidArgument("ContainerSpec: image reference must be provided")
    try:
        reference.parse(spec.image)
    except InvalidArgument:
        raise InvalidArgument(f'ContainerSpec: "{spec.image}" is not a valid repository/tag') from None
    _check_mounts(spec.mounts)
    if spec.healthcheck is not None:
        _check_health(spec.healthcheck)


def _check_mounts(mounts: Iterable[Mount]) -> None:
    targets: set[str] = set()
    for mount in mounts:
        if mount.type not in _MOUNT_TYPES:
            raise InvalidArgument(f'invalid MountType: "{mount.type}"')
        if not mount.target:
            raise InvalidArgument("ContainerSpec: mount target must be provided")
        if mount.target in targets:
            raise InvalidArgument(f"ContainerSpec: duplicate mount point: {mount.target}")
        targets.add(mount.target)


def _check_health(check: HealthConfig) -> None:
    durations = (
        ("Interval", check.interval),
        ("Timeout", check.timeout),
        ("StartPeriod", check.start_period),
        ("StartInterval", check.start_interval),
    )
    for name, value in durations:
        if value and value < _MILLISECOND:
            raise InvalidArgument(f"ContainerSpec: {name} in Healthcheck cannot be less than one millisecond")
    if check.retries < 0:
        raise InvalidArgument("ContainerSpec: Retries in Healthcheck cannot be negative")


def _check_update(config: UpdateConfig | None) -> None:
    if config is None:
        return
    if config.parallelism < 0:
        raise InvalidArgument("TaskSpec: update-parallelism cannot be negative")
    if config.delay < 0:
        raise InvalidArgument("TaskSpec: update-delay cannot be negative")
    if config.monitor < 0:
        raise InvalidArgument("TaskSpec: update-monitor cannot be negative")
    if not 0 <= config.max_failure_ratio <= 1:
        raise InvalidArgument("TaskSpec: update-maxfailureratio cannot be less than 0 or bigger than 1")


def _check_endpoint(spec: EndpointSpec | None) -> None:
    if spec is None:
        return
    published: set[tuple[str, int]] = set()
    for port in spec.ports:
        if spec.mode == "dnsrr" and port.publish_mode == "ingress":
            raise InvalidArgument("EndpointSpec: port published with ingress mode can't be used with dnsrr mode")
        if port.published_port:
            number = (port.protocol, port.published_port)
            if number in published:
                raise InvalidArgument("EndpointSpec: duplicate published ports provided")
            published.add(number)
