"""Tasks and their statuses, wire <-> model."""

from __future__ import annotations

from google.protobuf.wrappers_pb2 import Int64Value

from shoal.kit.clock import ZERO_TIME
from shoal.model import objects as m
from shoal.model import swarm_spec as s
from shoal.model.states import TaskState
from shoal.wire.basics import (
    annotations_to_wire,
    driver_from_wire,
    driver_to_wire,
    from_duration,
    from_enum,
    from_timestamp,
    generic_from_wire,
    generic_to_wire,
    meta_from_wire,
    meta_to_wire,
    platform_from_wire,
    platform_to_wire,
    resources_from_wire,
    resources_to_wire,
    to_duration,
    to_enum,
    to_timestamp,
)
from shoal.wire.convert_container import container_from_wire, container_to_wire
from shoal.wire.convert_network import (
    NetworkOf,
    attachment_from_wire,
    attachment_to_wire,
    endpoint_from_wire,
    endpoint_to_wire,
    network_from_wire,
    ports_from_wire,
    ports_to_wire,
)
from shoal.wire.pb import swarmkit_pb2 as pb


def task_to_wire(task: m.Task, network_of: NetworkOf) -> pb.Task:
    """A task as a worker gets it, with its networks whole."""
    return pb.Task(
        id=task.id,
        meta=meta_to_wire(task),
        spec=_spec_to_wire(task.spec, task.registry_auth),
        spec_version=pb.Version(index=task.spec_version),
        service_id=task.service_id,
        slot=task.slot,
        node_id=task.node_id,
        annotations=annotations_to_wire(task.name, task.labels),
        service_annotations=annotations_to_wire(task.service_name, task.service_labels),
        status=status_to_wire(task.status),
        desired_state=task.desired_state.name,
        networks=[attachment_to_wire(attachment, network_of) for attachment in task.networks_attachments],
        endpoint=endpoint_to_wire(task.endpoint),
        log_driver=driver_to_wire(task.log_driver),
        assigned_generic_resources=[generic_to_wire(resource) for resource in task.generic_resources],
    )


def task_from_wire(task: pb.Task) -> m.Task:
    """The counterpart of `task_to_wire`, as far as a worker needs it; `networks_from_wire` has its networks."""
    return m.Task(
        id=task.id,
        **meta_from_wire(task.meta),
        name=task.annotations.name,
        labels=dict(task.annotations.labels),
        spec=_spec_from_wire(task.spec),
        registry_auth=task.spec.container.pull_options.registry_auth,
        spec_version=task.spec_version.index,
        service_id=task.service_id,
        service_name=task.service_annotations.name,
        service_labels=dict(task.service_annotations.labels),
        slot=task.slot,
        node_id=task.node_id,
        status=status_from_wire(task.status),
        desired_state=state_from_wire(task.desired_state),
        networks_attachments=[attachment_from_wire(attachment) for attachment in task.networks],
        endpoint=endpoint_from_wire(task.endpoint),
        log_driver=driver_from_wire(task, "log_driver"),
        generic_resources=[generic_from_wire(resource) for resource in task.assigned_generic_resources],
    )


def networks_from_wire(task: pb.Task) -> list[m.Network]:
    """The networks that a task on the wire carries with it."""
    return [network_from_wire(attachment.network) for attachment in task.networks]


def state_from_wire(number: int) -> TaskState:
    """A state; one that only newer peers know counts as the highest known one below it."""
    return max((state for state in TaskState if state <= number), default=TaskState.NEW)


def status_to_wire(status: m.TaskStatus) -> pb.TaskStatus:
    """What an agent saw of a task."""
    container, ports = status.container_status, status.port_status
    return pb.TaskStatus(
        timestamp=to_timestamp(status.timestamp),
        state=status.state.name,
        message=status.message,
        err=status.err,
        container=(
            pb.ContainerStatus(
                container_id=container.container_id, pid=container.pid, exit_code=_int32(container.exit_code)
            )
            if container
            else None
        ),
        port_status=pb.PortStatus(ports=ports_to_wire(ports.ports)) if ports else None,
        applied_at=to_timestamp(status.applied_at),
    )


def status_from_wire(status: pb.TaskStatus) -> m.TaskStatus:
    """The counterpart of `status_to_wire`."""
    container = status.container
    return m.TaskStatus(
        timestamp=from_timestamp(status, "timestamp") or ZERO_TIME,
        state=state_from_wire(status.state),
        message=status.message,
        err=status.err,
        container_status=(
            m.ContainerStatus(container_id=container.container_id, pid=container.pid, exit_code=container.exit_code)
            if status.WhichOneof("runtime_status") == "container"
            else None
        ),
        port_status=(
            m.PortStatus(ports=ports_from_wire(status.port_status.ports)) if status.HasField("port_status") else None
        ),
        applied_at=from_timestamp(status, "applied_at"),
    )


def _int32(value: int) -> int:
    return (value + 2**31) % 2**32 - 2**31


def _spec_to_wire(spec: s.TaskSpec, registry_auth: str) -> pb.TaskSpec:
    resources, placement = spec.resources, spec.placement
    limits = resources.limits if resources else None
    pids = limits.pids if limits else 0
    container = spec.container_spec
    return pb.TaskSpec(
        container=container_to_wire(container, pids, registry_auth) if container else None,
        resources=_requirements_to_wire(resources) if resources else None,
        restart=_restart_to_wire(spec.restart_policy) if spec.restart_policy else None,
        placement=_placement_to_wire(placement) if placement else None,
        log_driver=driver_to_wire(spec.log_driver),
        networks=[
            pb.NetworkAttachmentConfig(
                target=network.target, aliases=network.aliases, driver_attachment_opts=network.driver_opts
            )
            for network in spec.networks
        ],
        force_update=spec.force_update,
    )


def _spec_from_wire(spec: pb.TaskSpec) -> s.TaskSpec:
    has_container = spec.WhichOneof("runtime") == "container"
    pids = spec.container.pids_limit if has_container else 0
    return s.TaskSpec(
        container_spec=container_from_wire(spec.container) if has_container else None,
        resources=_requirements_from_wire(spec.resources, pids) if spec.HasField("resources") or pids else None,
        restart_policy=_restart_from_wire(spec.restart) if spec.HasField("restart") else None,
        placement=_placement_from_wire(spec.placement) if spec.HasField("placement") else None,
        log_driver=driver_from_wire(spec, "log_driver"),
        networks=[
            s.NetworkAttachmentConfig(
                target=network.target,
                aliases=list(network.aliases),
                driver_opts=dict(network.driver_attachment_opts),
            )
            for network in spec.networks
        ],
        force_update=spec.force_update,
    )


def _requirements_to_wire(requirements: s.ResourceRequirements) -> pb.ResourceRequirements:
    limits, swap, swappiness = requirements.limits, requirements.swap_bytes, requirements.memory_swappiness
    return pb.ResourceRequirements(
        limits=pb.Resources(nano_cpus=limits.nano_cpus, memory_bytes=limits.memory_bytes) if limits else None,
        reservations=resources_to_wire(requirements.reservations),
        swap_bytes=None if swap is None else Int64Value(value=swap),
        memory_swappiness=None if swappiness is None else Int64Value(value=swappiness),
    )


def _requirements_from_wire(requirements: pb.ResourceRequirements, pids: int) -> s.ResourceRequirements:
    limits, has = requirements.limits, requirements.HasField
    return s.ResourceRequirements(
        limits=(
            s.Limit(nano_cpus=limits.nano_cpus, memory_bytes=limits.memory_bytes, pids=pids)
            if has("limits") or pids
            else None
        ),
        reservations=resources_from_wire(requirements.reservations) if has("reservations") else None,
        swap_bytes=requirements.swap_bytes.value if has("swap_bytes") else None,
        memory_swappiness=requirements.memory_swappiness.value if has("memory_swappiness") else None,
    )


def _restart_to_wire(policy: s.RestartPolicy) -> pb.RestartPolicy:
    return pb.RestartPolicy(
        condition=to_enum(policy.condition, "any"),
        delay=to_duration(policy.delay),
        max_attempts=policy.max_attempts or 0,
        window=to_duration(policy.window),
    )


def _restart_from_wire(policy: pb.RestartPolicy) -> s.RestartPolicy:
    return s.RestartPolicy(
        condition=from_enum(pb.RestartPolicy.RestartCondition, policy.condition),
        delay=from_duration(policy, "delay"),
        max_attempts=policy.max_attempts,
        window=from_duration(policy, "window"),
    )


def _placement_to_wire(placement: s.Placement) -> pb.Placement:
    return pb.Placement(
        constraints=placement.constraints,
        preferences=[
            pb.PlacementPreference(spread=pb.SpreadOver(spread_descriptor=preference.spread.spread_descriptor))
            for preference in placement.preferences
            if preference.spread
        ],
        platforms=[platform_to_wire(platform) for platform in placement.platforms],
        max_replicas=placement.max_replicas,
    )


def _placement_from_wire(placement: pb.Placement) -> s.Placement:
    return s.Placement(
        constraints=list(placement.constraints),
        preferences=[
            s.PlacementPreference(spread=s.SpreadOver(spread_descriptor=preference.spread.spread_descriptor))
            for preference in placement.preferences
        ],
        platforms=[platform_from_wire(platform) for platform in placement.platforms],
        max_replicas=placement.max_replicas,
    )
