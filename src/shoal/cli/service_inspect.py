"""`service inspect`, also for people."""

from __future__ import annotations

from shoal.api.client import Client, DaemonError, filters, quote
from shoal.cli.command import OBJECT_FORMAT, CommandFault, Context, Options, command, fail
from shoal.cli.printing import inspect
from shoal.cli.words import Json, moment, since
from shoal.kit.units import binary_size, format_duration


@command(
    "service inspect",
    "[OPTIONS] SERVICE [SERVICE...]",
    args=(1, None),
    flags=f"""
  -f, --format string   {OBJECT_FORMAT}
      --pretty          Print the information in a human friendly format
""",
)
def run(context: Context, options: Options) -> int:
    """Services by id or name."""
    if options.flag("pretty") and options.changed("format"):
        fail("--format is incompatible with human friendly format")

    def find(name: str) -> Json:
        try:
            found: Json = context.client.get(f"/services/{quote(name)}", {"insertDefaults": options.flag("pretty")})
        except DaemonError as fault:
            if fault.status != 404:
                raise
            raise CommandFault(f"Error: no such service: {name}") from fault
        return found

    if not options.flag("pretty"):
        return inspect(context, options.args, find, options.text("format"))
    for name in options.args:
        service = find(name)
        context.out(pretty(service, _network_names(context.client, service)))
    return 0


def _network_names(client: Client, service: Json) -> dict[str, str]:
    targets = [network["Target"] for network in service["Spec"]["TaskTemplate"].get("Networks") or []]
    if not targets:
        return {}
    return {
        network["Id"]: network["Name"] for network in client.get("/networks", {"filters": filters({"id": targets})})
    }


def pretty(service: Json, networks: dict[str, str]) -> str:
    """The lines for people; `networks` names the networks by id."""
    spec = service["Spec"]
    template = spec["TaskTemplate"]
    lines = ["", f"ID:\t\t{service['ID']}", f"Name:\t\t{spec['Name']}"]
    if spec.get("Labels"):
        lines += ["Labels:", *(f" {key}={value}" for key, value in sorted(spec["Labels"].items()))]
    lines += _mode(spec.get("Mode") or {})
    lines += _update_status(service.get("UpdateStatus") or {})
    lines += _placement(template.get("Placement") or {})
    lines += _update("UpdateConfig", "Update order:      ", spec.get("UpdateConfig"))
    lines += _update("RollbackConfig", "Rollback order:    ", spec.get("RollbackConfig"))
    container = template.get("ContainerSpec") or {}
    lines += _container(container)
    lines += _mounts(container.get("Mounts") or [])
    lines += _references("Configs", container.get("Configs") or [], "Config")
    lines += _references("Secrets", container.get("Secrets") or [], "Secret")
    lines += _log_driver(template.get("LogDriver"))
    lines += _resources(template.get("Resources"))
    if template.get("Networks"):
        names = [networks.get(network["Target"], network["Target"]) for network in template["Networks"]]
        lines.append("Networks: " + "".join(f"{name} " for name in names))
    lines.append(f"Endpoint Mode:\t{(spec.get('EndpointSpec') or {}).get('Mode', '')}")
    lines += _ports(service.get("Endpoint", {}).get("Ports") or [])
    lines += _health(container.get("Healthcheck"))
    return "\n".join(lines) + "\n"


def _mode(mode: Json) -> list[str]:
    if mode.get("Global") is not None:
        return ["Service Mode:\tGlobal"]
    if mode.get("GlobalJob") is not None:
        return ["Service Mode:\tGlobalJob"]
    if mode.get("ReplicatedJob") is not None:
        job = mode["ReplicatedJob"]
        return [
            "Service Mode:\tReplicatedJob",
            f" Max Concurrent: {job.get('MaxConcurrent', 1)}",
            f" Total Completions: {job.get('TotalCompletions', 1)}",
        ]
    return ["Service Mode:\tReplicated", f" Replicas:\t{(mode.get('Replicated') or {}).get('Replicas', 1)}"]


def _update_status(status: Json) -> list[str]:
    if not status.get("State"):
        return []
    lines = ["UpdateStatus:", f" State:\t\t{status['State']}"]
    started, completed = moment(status.get("StartedAt") or ""), moment(status.get("CompletedAt") or "")
    if started:
        lines.append(f" Started:\t{since(started).lower()}")
    if completed and status["State"] in ("completed", "rollback_completed"):
        lines.append(f" Completed:\t{since(completed).lower()}")
    return [*lines, f" Message:\t{status.get('Message', '')}"]


def _placement(placement: Json) -> list[str]:
    lines = ["Placement:"]
    if placement.get("Constraints"):
        lines.append(f" Constraints:\t[{' '.join(placement['Constraints'])}]")
    if placement.get("Preferences"):
        spreads = [
            f"spread={(item.get('Spread') or {}).get('SpreadDescriptor', '')}" for item in placement["Preferences"]
        ]
        lines.append(f" Preferences:   [{', '.join(spreads)}]")
    if placement.get("MaxReplicas"):
        lines.append(f" Max Replicas Per Node:   {placement['MaxReplicas']}")
    return lines


def _update(title: str, order: str, config: Json | None) -> list[str]:
    if not config:
        return []
    lines = [f"{title}:", f" Parallelism:\t{config.get('Parallelism', 0)}"]
    if config.get("Delay"):
        lines.append(f" Delay:\t\t{format_duration(config['Delay'])}")
    lines.append(f" On failure:\t{config.get('FailureAction') or 'pause'}")
    if config.get("Monitor"):
        lines.append(f" Monitoring Period: {format_duration(config['Monitor'])}")
    ratio = config.get("MaxFailureRatio", 0)
    return [
        *lines,
        f" Max failure ratio: {ratio:g}",
        f" {order}{config.get('Order') or 'stop-first'}",
    ]


def _container(container: Json) -> list[str]:
    lines = ["ContainerSpec:", f" Image:\t\t{container.get('Image', '')}"]
    for key, title in (("Command", "Command"), ("Args", "Args"), ("Env", "Env")):
        if container.get(key):
            lines.append(f" {title}:\t\t" + "".join(f"{item} " for item in container[key]))
    if container.get("Dir"):
        lines.append(f" Dir:\t\t{container['Dir']}")
    if container.get("Init") is not None:
        lines.append(f" Init:\t\t{str(container['Init']).lower()}")
    if container.get("User"):
        lines.append(f" User: {container['User']}")
    if container.get("Sysctls"):
        lines += ["Sysctls:", *(f" {key}: {value}" for key, value in sorted(container["Sysctls"].items()))]
    for key, title in (("CapabilityAdd", "Capabilities: Add"), ("CapabilityDrop", "Capabilities: Drop")):
        if container.get(key):
            lines.append(f" {title}:\t{', '.join(container[key])}")
    return lines


def _mounts(mounts: list[Json]) -> list[str]:
    lines = ["Mounts:"] if mounts else []
    for mount in mounts:
        lines += [
            f" Target:\t{mount.get('Target', '')}",
            f"  Source:\t{mount.get('Source', '')}",
            f"  ReadOnly:\t{str(mount.get('ReadOnly', False)).lower()}",
            f"  Type:\t\t{mount.get('Type', 'volume')}",
        ]
    return lines


def _references(title: str, references: list[Json], kind: str) -> list[str]:
    lines = [f"{title}:"] if references else []
    for reference in references:
        lines += [
            f" Target:\t{(reference.get('File') or {}).get('Name', '')}",
            f"  Source:\t{reference[kind + 'Name']}",
        ]
    return lines


def _log_driver(driver: Json | None) -> list[str]:
    if not driver:
        return []
    lines = ["Log Driver:", f" Name:\t\t{driver.get('Name', '')}"]
    if driver.get("Options"):
        options = " ".join(f"{key}={value}" for key, value in sorted(driver["Options"].items()))
        lines += [" LogOpts:", f"  {options}"]
    return lines


def _resources(resources: Json | None) -> list[str]:
    if resources is None:
        return []
    lines = ["Resources:"]
    for key in ("Reservations", "Limits"):
        values = resources.get(key) or {}
        if not (values.get("NanoCPUs") or values.get("MemoryBytes")):
            continue
        lines.append(f" {key}:")
        if values.get("NanoCPUs"):
            lines.append(f"  CPU:\t\t{values['NanoCPUs'] / 10**9:g}")
        if values.get("MemoryBytes"):
            lines.append(f"  Memory:\t{binary_size(values['MemoryBytes'])}")
    return lines


def _ports(ports: list[Json]) -> list[str]:
    lines = ["Ports:"] if ports else []
    for port in ports:
        lines += [
            f" PublishedPort = {port.get('PublishedPort', 0)}",
            f"  Protocol = {port.get('Protocol', 'tcp')}",
            f"  TargetPort = {port.get('TargetPort', 0)}",
            f"  PublishMode = {port.get('PublishMode', 'ingress')}",
        ]
    if lines:
        lines[-1] += " "
    return lines


def _health(check: Json | None) -> list[str]:
    if not check or not check.get("Test"):
        return []
    lines = [
        " Healthcheck:",
        f"  Interval = {format_duration(check.get('Interval', 0))}",
        f"  Retries = {check.get('Retries', 0)}",
        f"  StartPeriod =\t{format_duration(check.get('StartPeriod', 0))}",
        f"  Timeout =\t{format_duration(check.get('Timeout', 0))}",
        "  Tests:",
        *(f"\t Test = {test}" for test in check["Test"]),
    ]
    lines[-1] += " "
    return [*lines]
