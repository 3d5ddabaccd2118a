"""Container specs, wire <-> model.

Two fields live elsewhere in the model: the limit on processes (`Limit.pids`) and the registry's credentials
(`Task.registry_auth`); `convert_task` puts them in their place.
"""

from __future__ import annotations

from google.protobuf.wrappers_pb2 import BoolValue

from shoal.model import swarm_spec as s
from shoal.wire.basics import from_duration, from_enum, to_duration
from shoal.wire.convert_mounts import mount_from_wire, mount_to_wire
from shoal.wire.convert_privileges import (
    config_reference_from_wire,
    config_reference_to_wire,
    privileges_from_wire,
    privileges_to_wire,
    secret_reference_from_wire,
    secret_reference_to_wire,
)
from shoal.wire.pb import swarmkit_pb2 as pb


def container_to_wire(spec: s.ContainerSpec, pids: int = 0, registry_auth: str = "") -> pb.ContainerSpec:
    """The container of a task."""
    dns, health = spec.dns_config, spec.healthcheck
    return pb.ContainerSpec(
        image=spec.image,
        labels=spec.labels,
        command=spec.command,
        args=spec.args,
        env=spec.env,
        dir=spec.dir,
        user=spec.user,
        mounts=[mount_to_wire(mount) for mount in spec.mounts],
        stop_grace_period=to_duration(spec.stop_grace_period),
        pull_options=pb.ContainerSpec.PullOptions(registry_auth=registry_auth) if registry_auth else None,
        groups=spec.groups,
        secrets=[secret_reference_to_wire(reference) for reference in spec.secrets],
        tty=spec.tty,
        hostname=spec.hostname,
        dns_config=(
            pb.ContainerSpec.DNSConfig(nameservers=dns.nameservers, search=dns.search, options=dns.options)
            if dns
            else None
        ),
        healthcheck=health_to_wire(health) if health else None,
        hosts=spec.hosts,
        open_stdin=spec.open_stdin,
        read_only=spec.read_only,
        stop_signal=spec.stop_signal,
        configs=[config_reference_to_wire(reference) for reference in spec.configs],
        privileges=privileges_to_wire(spec.privileges),
        init=None if spec.init is None else BoolValue(value=spec.init),
        isolation=f"ISOLATION_{(spec.isolation or 'default').upper()}",
        pids_limit=pids,
        sysctls=spec.sysctls,
        capability_add=spec.capability_add,
        capability_drop=spec.capability_drop,
        ulimits=[pb.ContainerSpec.Ulimit(name=u.name, soft=u.soft, hard=u.hard) for u in spec.ulimits],
        oom_score_adj=spec.oom_score_adj,
    )


def container_from_wire(spec: pb.ContainerSpec) -> s.ContainerSpec:
    """The counterpart of `container_to_wire`."""
    isolation = from_enum(pb.ContainerSpec.Isolation, spec.isolation).removeprefix("isolation-")
    dns = spec.dns_config
    return s.ContainerSpec(
        image=spec.image,
        labels=dict(spec.labels),
        command=list(spec.command),
        args=list(spec.args),
        env=list(spec.env),
        dir=spec.dir,
        user=spec.user,
        mounts=[mount_from_wire(mount) for mount in spec.mounts],
        stop_grace_period=from_duration(spec, "stop_grace_period"),
        groups=list(spec.groups),
        secrets=[secret_reference_from_wire(reference) for reference in spec.secrets],
        tty=spec.tty,
        hostname=spec.hostname,
        dns_config=(
            s.DNSConfig(nameservers=list(dns.nameservers), search=list(dns.search), options=list(dns.options))
            if spec.HasField("dns_config")
            else None
        ),
        healthcheck=health_from_wire(spec.healthcheck) if spec.HasField("healthcheck") else None,
        hosts=list(spec.hosts),
        open_stdin=spec.open_stdin,
        read_only=spec.read_only,
        stop_signal=spec.stop_signal,
        configs=[config_reference_from_wire(reference) for reference in spec.configs],
        privileges=privileges_from_wire(spec.privileges) if spec.HasField("privileges") else None,
        init=spec.init.value if spec.HasField("init") else None,
        isolation="" if isolation == "default" else isolation,
        sysctls=dict(spec.sysctls),
        capability_add=list(spec.capability_add),
        capability_drop=list(spec.capability_drop),
        ulimits=[s.Ulimit(name=u.name, soft=u.soft, hard=u.hard) for u in spec.ulimits],
        oom_score_adj=spec.oom_score_adj,
    )


def health_to_wire(health: s.HealthConfig) -> pb.HealthConfig:
    """A health check; a duration of 0 means inherit, on both sides."""
    return pb.HealthConfig(
        test=health.test,
        interval=to_duration(health.interval or None),
        timeout=to_duration(health.timeout or None),
        retries=health.retries,
        start_period=to_duration(health.start_period or None),
        start_interval=to_duration(health.start_interval or None),
    )


def health_from_wire(health: pb.HealthConfig) -> s.HealthConfig:
    """The counterpart of `health_to_wire`."""
    return s.HealthConfig(
        test=list(health.test),
        interval=from_duration(health, "interval") or 0,
        timeout=from_duration(health, "timeout") or 0,
        retries=health.retries,
        start_period=from_duration(health, "start_period") or 0,
        start_interval=from_duration(health, "start_interval") or 0,
    )
