"""A task as a container: name, labels, config, what binds it to this host, networks. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from shoal.agent.templates import expanded, facts_of
from shoal.model.container import (
    ContainerConfig,
    EndpointIPAM,
    EndpointSettings,
    HostConfig,
    LogConfig,
    NetworkingConfig,
    PortBinding,
)
from shoal.model.errors import InvalidArgument, ShoalError
from shoal.model.names import task_name
from shoal.model.objects import Network, NodeDescription, Task
from shoal.model.privileges import CredentialSpec, Privileges, SELinuxContext
from shoal.model.swarm_spec import ContainerSpec, GenericResource

LABEL_NODE = "com.docker.swarm.node.id"
LABEL_TASK = "com.docker.swarm.task.id"


class Plan(NamedTuple):
    """What to hand to the engine, and the swarm networks (ids) that must be there before."""

    name: str
    config: ContainerConfig
    host: HostConfig
    networking: NetworkingConfig
    networks: list[str]


def plan(task: Task, networks: Sequence[Network], description: NodeDescription) -> Plan:
    """The container of `task`; `networks` are those of its attachments.

    Raises InvalidArgument for templates that do not fit, ShoalError for what this node cannot run.
    """
    if task.spec.container_spec is None:
        raise ShoalError("unsupported task runtime: only containers can be run")
    if task.spec.container_spec.secrets or task.spec.container_spec.configs:
        raise ShoalError("secrets and configs are not supported by this node")
    spec = expanded(task.spec.container_spec, facts_of(task, description))
    mode, endpoints = _endpoints(task, networks)
    return Plan(
        name=task.name or task_name(task),
        config=_config(task, spec),
        host=_host(task, spec, mode),
        networking=NetworkingConfig(endpoints_config=endpoints),
        networks=list(endpoints),
    )


def labels(task: Task, own: dict[str, str]) -> dict[str, str]:
    """The container's labels; the swarm's own come last, so that nobody can forge them."""
    return own | {
        LABEL_NODE: task.node_id,
        "com.docker.swarm.service.id": task.service_id,
        "com.docker.swarm.service.name": task.service_name,
        "com.docker.swarm.task": "",
        LABEL_TASK: task.id,
        "com.docker.swarm.task.name": task.name or task_name(task),
    }


def _config(task: Task, spec: ContainerSpec) -> ContainerConfig:
    grace = spec.stop_grace_period
    return ContainerConfig(
        hostname=spec.hostname,
        user=spec.user,
        tty=spec.tty,
        open_stdin=spec.open_stdin,
        env=[*spec.env, *generic_environment(task.generic_resources)],
        entrypoint=spec.command or None,
        cmd=spec.args,
        healthcheck=spec.healthcheck,
        image=spec.image,
        working_dir=spec.dir,
        labels=labels(task, spec.labels),
        stop_signal=spec.stop_signal,
        stop_timeout=None if grace is None else -(-grace // 10**9),
        exposed_ports={f"{port.target_port}/{port.protocol}": {} for port in task.endpoint.ports},
    )


def generic_environment(resources: Sequence[GenericResource]) -> list[str]:
    """`DOCKER_RESOURCE_GPU=UUID1,UUID2`: what a task was given of a node's own resources."""
    found: dict[str, list[str]] = {}
    for resource in resources:
        if resource.named_resource_spec is not None:
            found.setdefault(resource.named_resource_spec.kind, []).append(resource.named_resource_spec.value)
        elif resource.discrete_resource_spec is not None:
            found.setdefault(resource.discrete_resource_spec.kind, []).append(
                str(resource.discrete_resource_spec.value)
            )
    return [f"DOCKER_RESOURCE_{kind.upper()}={','.join(values)}" for kind, values in sorted(found.items())]


def _host(task: Task, spec: ContainerSpec, mode: str) -> HostConfig:
    requirements, dns = task.spec.resources, spec.dns_config
    limits = requirements.limits if requirements else None
    memory = limits.memory_bytes if limits else 0
    swap = requirements.swap_bytes if requirements else None
    driver = task.log_driver
    return HostConfig(
        mounts=spec.mounts,
        network_mode=mode,
        port_bindings=_bindings(task),
        log_config=LogConfig(type=driver.name, config=driver.options) if driver else LogConfig(),
        cap_add=spec.capability_add,
        cap_drop=spec.capability_drop,
        dns=dns.nameservers if dns else [],
        dns_options=dns.options if dns else [],
        dns_search=dns.search if dns else [],
        extra_hosts=[_extra_host(entry) for entry in spec.hosts],
        group_add=spec.groups,
        readonly_rootfs=spec.read_only,
        security_opt=security_options(spec.privileges or Privileges()),
        sysctls=spec.sysctls,
        init=spec.init,
        memory=memory,
        memory_swap=0 if swap is None else -1 if swap < 0 else memory + swap,
        memory_swappiness=requirements.memory_swappiness if requirements else None,
        nano_cpus=limits.nano_cpus if limits else 0,
        pids_limit=limits.pids if limits and limits.pids else None,
        oom_score_adj=spec.oom_score_adj,
        ulimits=spec.ulimits,
    )


def _bindings(task: Task) -> dict[str, list[PortBinding]]:
    found: dict[str, list[PortBinding]] = {}
    for port in task.endpoint.ports:
        if port.publish_mode == "host":
            number = str(port.published_port) if port.published_port else ""
            found.setdefault(f"{port.target_port}/{port.protocol}", []).append(PortBinding(host_port=number))
    return found


def _extra_host(entry: str) -> str:
    """`10.0.0.1 name alias` (a line of a hosts file) as the engine wants it: `name:10.0.0.1`."""
    address, _, names = entry.partition(" ")
    name = names.split()
    if not name:
        raise InvalidArgument(f"bad format for extra host: {entry}")
    return f"{name[0]}:{address}"


def security_options(privileges: Privileges) -> list[str]:
    """The engine's `--security-opt`s for a service's privileges; those it cannot honour it will refuse by name."""
    options: list[str] = []
    credential = privileges.credential_spec or CredentialSpec()
    selinux = privileges.selinux_context or SELinuxContext()
    for key in ("config", "file", "registry"):
        if value := getattr(credential, key):
            options.append(f"credentialspec={key}://{value}")
    if selinux.disable:
        options.append("label=disable")
    for key in ("user", "role", "type", "level"):
        if value := getattr(selinux, key):
            options.append(f"label={key}:{value}")
    if privileges.no_new_privileges:
        options.append("no-new-privileges=true")
    if privileges.seccomp and privileges.seccomp.mode == "unconfined":
        options.append("seccomp=unconfined")
    elif privileges.seccomp and privileges.seccomp.mode == "custom":
        options.append("seccomp=" + privileges.seccomp.profile.decode(errors="replace"))
    if privileges.apparmor and privileges.apparmor.mode == "disabled":
        options.append("apparmor=unconfined")
    return options


def _endpoints(task: Task, networks: Sequence[Network]) -> tuple[str, dict[str, EndpointSettings]]:
    """The network mode, and the swarm networks by id with the addresses that the allocator chose."""
    by_id = {network.id: network for network in networks}
    endpoints: dict[str, EndpointSettings] = {}
    for attachment in sorted(task.networks_attachments, key=lambda held: _is_ingress(by_id.get(held.network_id))):
        network = by_id.get(attachment.network_id)
        if network is not None and network.driver in ("host", "bridge", "null"):
            name = "none" if network.driver == "null" else network.driver
            if network.spec.name in ("", name):
                return name, {}
            return network.spec.name, {}
        address = attachment.addresses[0].partition("/")[0] if attachment.addresses else ""
        endpoints[attachment.network_id] = EndpointSettings(
            ipam_config=EndpointIPAM(ipv4_address=address) if address else None,
            aliases=attachment.aliases,
            driver_opts=attachment.driver_opts,
        )
    return (next(iter(endpoints)) if endpoints else ""), endpoints


def _is_ingress(network: Network | None) -> bool:
    return network is not None and network.spec.ingress
