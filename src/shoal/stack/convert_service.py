"""A service of the tree to a ServiceSpec. Pure; every fault names the service."""

from __future__ import annotations

from shoal.kit.units import parse_bytes, parse_duration
from shoal.model.privileges import CredentialSpec, Privileges
from shoal.model.swarm_spec import (
    ContainerSpec,
    DNSConfig,
    Driver,
    Empty,
    EndpointSpec,
    GenericResource,
    HealthConfig,
    Limit,
    NetworkAttachmentConfig,
    Placement,
    PlacementPreference,
    PortConfig,
    ReplicatedJob,
    ReplicatedService,
    ResourceRequirements,
    Resources,
    RestartPolicy,
    ServiceMode,
    ServiceSpec,
    SpreadOver,
    TaskSpec,
    Ulimit,
    UpdateConfig,
)
from shoal.stack.convert_volumes import mounts
from shoal.stack.names import LABEL_IMAGE, LABEL_NAMESPACE, StackFault, scoped
from shoal.stack.shorthand import Tree


def service_spec(stack: str, name: str, service: Tree, tree: Tree) -> ServiceSpec:
    """The spec of the service `name` of `tree`. Raises StackFault."""
    try:
        return _service_spec(stack, name, service, tree)
    except (StackFault, ValueError) as fault:
        raise StackFault(f"service {name}: {fault}") from fault


def _service_spec(stack: str, name: str, service: Tree, tree: Tree) -> ServiceSpec:
    deploy = service.get("deploy") or {}
    return ServiceSpec(
        name=scoped(stack, name),
        labels={**deploy.get("labels", {}), LABEL_NAMESPACE: stack, LABEL_IMAGE: service["image"]},
        task_template=TaskSpec(
            container_spec=_container(stack, service, tree),
            resources=_resources(deploy.get("resources") or {}),
            restart_policy=_restart(deploy.get("restart_policy"), service.get("restart", "")),
            placement=_placement(deploy.get("placement") or {}),
            networks=_networks(stack, name, service, tree["networks"]),
            log_driver=_logging(service.get("logging")),
        ),
        mode=_mode(deploy.get("mode", ""), deploy.get("replicas")),
        update_config=_update(deploy.get("update_config")),
        rollback_config=_update(deploy.get("rollback_config")),
        endpoint_spec=EndpointSpec(mode=deploy.get("endpoint_mode", ""), ports=_ports(service.get("ports", []))),
    )


def _container(stack: str, service: Tree, tree: Tree) -> ContainerSpec:
    names = DNSConfig(nameservers=service.get("dns", []), search=service.get("dns_search", []))
    adds, drops = _capabilities(service.get("cap_add", []), service.get("cap_drop", []))
    grace = service.get("stop_grace_period")
    return ContainerSpec(
        image=service["image"],
        labels={**service.get("labels", {}), LABEL_NAMESPACE: stack},
        command=service.get("entrypoint") or [],
        args=service.get("command") or [],
        hostname=service.get("hostname", ""),
        env=_environment(service.get("environment", {})),
        dir=service.get("working_dir", ""),
        user=service.get("user", ""),
        privileges=_privileges(service.get("credential_spec")),
        init=service.get("init"),
        stop_signal=service.get("stop_signal", ""),
        tty=service.get("tty", False),
        open_stdin=service.get("stdin_open", False),
        read_only=service.get("read_only", False),
        mounts=mounts(stack, service, tree["volumes"]),
        stop_grace_period=parse_duration(grace) if grace else None,
        healthcheck=_health(service.get("healthcheck")),
        hosts=[_host(entry) for entry in service.get("extra_hosts", [])],
        dns_config=names if names != DNSConfig() else None,
        isolation=service.get("isolation", ""),
        sysctls=service.get("sysctls", {}),
        capability_add=adds,
        capability_drop=drops,
        ulimits=_ulimits(service.get("ulimits", {})),
        oom_score_adj=service.get("oom_score_adj", 0),
    )


def _environment(values: dict[str, str | None]) -> list[str]:
    """Sorted `K=V`; a name that nobody gave a value stands alone."""
    return sorted(name if value is None else f"{name}={value}" for name, value in values.items())


def _privileges(credential: Tree | None) -> Privileges | None:
    if not credential:
        return None
    if len(credential) > 1:
        raise StackFault(f"invalid credential spec: cannot specify both {' and '.join(sorted(credential))}")
    if "config" in credential:
        raise StackFault("credential_spec.config: configs are not supported yet")
    return Privileges(credential_spec=CredentialSpec(**credential))


def _host(entry: str) -> str:
    """`name:ip` (or `name=ip`) as `ip name`."""
    separator = "=" if "=" in entry.partition(":")[0] else ":"
    name, found, address = entry.partition(separator)
    if not found or not name or not address:
        raise StackFault(f"invalid extra_hosts entry: {entry}")
    return f"{address.strip('[]')} {name}"


def _capabilities(adds: list[str], drops: list[str]) -> tuple[list[str], list[str]]:
    """Upper case, with CAP_; adding wins over dropping, ALL swallows the rest."""

    def normal(names: list[str]) -> set[str]:
        upper = {name.strip().upper() for name in names}
        full = {name if name == "ALL" or name.startswith("CAP_") else f"CAP_{name}" for name in upper}
        return {"ALL"} if "ALL" in full else full

    added = normal(adds)
    return sorted(added), sorted(normal(drops) - added)


def _ulimits(given: Tree) -> list[Ulimit]:
    return [
        Ulimit(name=name, soft=limit, hard=limit)
        if isinstance(limit, int)
        else Ulimit(name=name, soft=limit["soft"], hard=limit["hard"])
        for name, limit in sorted(given.items())
    ]


def _health(check: Tree | None) -> HealthConfig | None:
    if check is None:
        return None
    if check.get("disable"):
        if check.get("test"):
            raise StackFault("test and disable can't be set at the same time")
        return HealthConfig(test=["NONE"])
    times = {key: parse_duration(check[key]) for key in _TIMES if check.get(key)}
    return HealthConfig(test=check.get("test", []), retries=check.get("retries", 0), **times)


_TIMES = ("interval", "timeout", "start_period", "start_interval")


def _resources(given: Tree) -> ResourceRequirements:
    limits, reservations = given.get("limits"), given.get("reservations")
    return ResourceRequirements(
        limits=Limit(
            nano_cpus=_nano_cpus(limits.get("cpus")),
            memory_bytes=_bytes(limits.get("memory")),
            pids=limits.get("pids", 0),
        )
        if limits
        else None,
        reservations=Resources(
            nano_cpus=_nano_cpus(reservations.get("cpus")),
            memory_bytes=_bytes(reservations.get("memory")),
            generic_resources=[_generic(item) for item in reservations.get("generic_resources", [])],
        )
        if reservations
        else None,
    )


def _nano_cpus(given: str | float | None) -> int:
    from fractions import Fraction

    if not given:
        return 0
    try:
        billionths = Fraction(str(given)) * 10**9
    except (ValueError, ZeroDivisionError):
        raise StackFault(f"failed to parse {given} as a rational number") from None
    if billionths.denominator != 1:
        raise StackFault("value is too precise")
    return int(billionths)


def _bytes(given: str | int | None) -> int:
    return given if isinstance(given, int) else parse_bytes(given) if given else 0


def _generic(item: Tree) -> GenericResource:
    spec = item.get("discrete_resource_spec") or {}
    discrete = GenericResource.Discrete(kind=spec.get("kind", ""), value=int(spec.get("value", 0)))
    return GenericResource(discrete_resource_spec=discrete)


def _restart(policy: Tree | None, restart: str) -> RestartPolicy | None:
    """`deploy.restart_policy`, else what the old `restart` means."""
    if policy is not None:
        return RestartPolicy(
            condition=policy.get("condition", ""),
            delay=parse_duration(policy["delay"]) if "delay" in policy else None,
            max_attempts=policy.get("max_attempts"),
            window=parse_duration(policy["window"]) if "window" in policy else None,
        )
    name, colon, attempts = restart.partition(":")
    match name:
        case "" | "no":
            return None
        case "always" | "unless-stopped":
            return RestartPolicy(condition="any")
        case "on-failure":
            if colon and not attempts.isdigit():
                raise StackFault(f"invalid restart policy format: maximum retry count must be an integer: {restart}")
            return RestartPolicy(condition="on-failure", max_attempts=int(attempts) if attempts else None)
    raise StackFault(f"unknown restart policy: {restart}")


def _placement(given: Tree) -> Placement:
    return Placement(
        constraints=given.get("constraints", []),
        preferences=[
            PlacementPreference(spread=SpreadOver(spread_descriptor=preference.get("spread", "")))
            for preference in given.get("preferences", [])
        ],
        max_replicas=given.get("max_replicas_per_node", 0),
    )


def _logging(given: Tree | None) -> Driver | None:
    return Driver(name=given.get("driver", ""), options=given.get("options", {})) if given else None


def _mode(mode: str, replicas: int | None) -> ServiceMode:
    if mode in ("global", "global-job") and replicas is not None:
        raise StackFault("replicas can only be used with replicated or replicated-job mode")
    match mode:
        case "" | "replicated":
            return ServiceMode(replicated=ReplicatedService(replicas=replicas))
        case "global":
            return ServiceMode(global_=Empty())
        case "replicated-job":
            return ServiceMode(replicated_job=ReplicatedJob(max_concurrent=replicas, total_completions=replicas))
        case "global-job":
            return ServiceMode(global_job=Empty())
    raise StackFault(f"Unknown mode: {mode}")


def _update(given: Tree | None) -> UpdateConfig | None:
    if given is None:
        return None
    return UpdateConfig(
        parallelism=given.get("parallelism", 1),
        delay=parse_duration(given.get("delay", "0")),
        failure_action=given.get("failure_action", ""),
        monitor=parse_duration(given.get("monitor", "0")),
        max_failure_ratio=float(given.get("max_failure_ratio", 0)),
        order=given.get("order", ""),
    )


def _ports(given: list[Tree]) -> list[PortConfig]:
    found = [
        PortConfig(
            protocol=port.get("protocol") or "tcp",
            target_port=port.get("target", 0),
            published_port=port.get("published", 0),
            publish_mode=port.get("mode") or "ingress",
        )
        for port in given
    ]
    return sorted(found, key=lambda port: (port.published_port, port.target_port, port.protocol, port.publish_mode))


def _networks(stack: str, name: str, service: Tree, declared: Tree) -> list[NetworkAttachmentConfig]:
    found: list[NetworkAttachmentConfig] = []
    for network, settings in (service.get("networks") or {"default": None}).items():
        if network not in declared and network != "default":
            raise StackFault(f'undefined network "{network}"')
        target = declared.get(network, {}).get("name") or scoped(stack, network)
        aliases = [*((settings or {}).get("aliases") or []), name] if target not in ("bridge", "host", "none") else []
        options = {key: str(value) for key, value in ((settings or {}).get("driver_opts") or {}).items()}
        found.append(NetworkAttachmentConfig(target=target, aliases=aliases, driver_opts=options))
    return sorted(found, key=lambda attachment: attachment.target)
