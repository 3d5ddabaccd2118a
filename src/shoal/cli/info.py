"""`info`."""

from __future__ import annotations

from typing import Any

from shoal import __version__
from shoal.cli.command import OBJECT_FORMAT, Context, Options, ShoalFault, command, text_of
from shoal.cli.printing import template_of
from shoal.cli.words import Json
from shoal.kit.units import binary_size, human_duration


@command(
    "system info",
    "[OPTIONS]",
    flags=f"""
  -f, --format string   {OBJECT_FORMAT}
""",
)
def run(context: Context, options: Options) -> int:
    """Everything about the daemon."""
    template = template_of(options.text("format"))
    fault, info = "", {}
    try:
        info = context.client.get("/info")
    except ShoalFault as wrong:
        fault = text_of(wrong)
    if template:
        try:
            context.out(template({**info, "ClientInfo": {"Version": __version__, "Context": "default"}}))
        except ValueError as wrong:
            context.err(f"template parsing error: {wrong}")
            return 1
    else:
        context.out(f"Client: Shoal\n Version:    {__version__}\n Context:    default\n\nServer:")
        if info:
            context.out("\n".join(server(info)))
    if fault:
        context.err(fault if template else f"ERROR: {fault}\nerrors pretty printing info")
        return 1
    for warning in info.get("Warnings") or []:
        context.err(warning)
    return 0


def server(info: Json) -> list[str]:
    """The lines about the daemon."""
    lines = [
        f" Containers: {info.get('Containers', 0)}",
        f"  Running: {info.get('ContainersRunning', 0)}",
        f"  Paused: {info.get('ContainersPaused', 0)}",
        f"  Stopped: {info.get('ContainersStopped', 0)}",
        f" Images: {info.get('Images', 0)}",
        f" Server Version: {info.get('ServerVersion', '')}",
        f" Storage Driver: {info.get('Driver', '')}",
        *(f"  {key}: {value}" for key, value in info.get("DriverStatus") or []),
        f" Logging Driver: {info.get('LoggingDriver', '')}",
        f" Cgroup Driver: {info.get('CgroupDriver', '')}",
        f" Cgroup Version: {info.get('CgroupVersion', '')}",
        " Plugins:",
    ]
    plugins = info.get("Plugins") or {}
    lines += [f"  {kind}: {' '.join(plugins.get(kind) or [])}" for kind in ("Volume", "Network")]
    if plugins.get("Authorization"):
        lines.append(f"  Authorization: {' '.join(plugins['Authorization'])}")
    lines.append(f"  Log: {' '.join(plugins.get('Log') or [])}")
    return [*lines, *swarm(info.get("Swarm") or {}), *_runtimes(info), *_machine(info), *_settings(info)]


def swarm(swarm: Json) -> list[str]:
    """The lines about the swarm."""
    state = swarm.get("LocalNodeState") or "inactive"
    lines = [f" Swarm: {state}"]
    if state in ("inactive", "locked"):
        return lines
    lines.append(f"  NodeID: {swarm.get('NodeID', '')}")
    if swarm.get("Error"):
        lines.append(f"  Error: {swarm['Error']}")
    manager = swarm.get("ControlAvailable", False)
    lines.append(f"  Is Manager: {str(manager).lower()}")
    cluster = swarm.get("Cluster")
    if manager and cluster and not swarm.get("Error"):
        lines += _cluster(swarm, cluster)
    lines.append(f"  Node Address: {swarm.get('NodeAddr', '')}")
    managers = sorted(peer.get("Addr", "") for peer in swarm.get("RemoteManagers") or [])
    if managers:
        lines += ["  Manager Addresses:", *(f"   {address}" for address in managers)]
    return lines


def _cluster(swarm: Json, cluster: Json) -> list[str]:
    spec = cluster.get("Spec") or {}
    raft, authority = spec.get("Raft") or {}, spec.get("CAConfig") or {}
    orchestration, dispatcher = spec.get("Orchestration") or {}, spec.get("Dispatcher") or {}
    locked = (spec.get("EncryptionConfig") or {}).get("AutoLockManagers", False)
    retention = orchestration.get("TaskHistoryRetentionLimit")
    lines = [
        f"  ClusterID: {cluster.get('ID', '')}",
        f"  Managers: {swarm.get('Managers', 0)}",
        f"  Nodes: {swarm.get('Nodes', 0)}",
        "  Default Address Pool: " + "".join(f"{pool}  " for pool in cluster.get("DefaultAddrPool") or []),
        f"  SubnetSize: {cluster.get('SubnetSize', 0)}",
        f"  Data Path Port: {cluster.get('DataPathPort', 0)}",
        "  Orchestration:",
        f"   Task History Retention Limit: {5 if retention is None else retention}",
        "  Raft:",
        f"   Snapshot Interval: {raft.get('SnapshotInterval', 0)}",
    ]
    if raft.get("KeepOldSnapshots") is not None:
        lines.append(f"   Number of Old Snapshots to Retain: {raft['KeepOldSnapshots']}")
    lines += [
        f"   Heartbeat Tick: {raft.get('HeartbeatTick', 0)}",
        f"   Election Tick: {raft.get('ElectionTick', 0)}",
        "  Dispatcher:",
        f"   Heartbeat Period: {_span(dispatcher.get('HeartbeatPeriod', 0))}",
        "  CA Configuration:",
        f"   Expiry Duration: {_span(authority.get('NodeCertExpiry', 0))}",
        f"   Force Rotate: {authority.get('ForceRotate', 0)}",
    ]
    if authority.get("ExternalCAs"):
        lines.append("   External CAs:")
        lines += [f"     {item.get('Protocol', '')}: {item.get('URL', '')}" for item in authority["ExternalCAs"]]
    rotating = str(cluster.get("RootRotationInProgress", False)).lower()
    return [*lines, f"  Autolock Managers: {str(locked).lower()}", f"  Root Rotation In Progress: {rotating}"]


def _span(nanoseconds: int) -> str:
    return human_duration(nanoseconds / 1e9)


def _runtimes(info: Json) -> list[str]:
    lines = [f" Runtimes: {' '.join(sorted(info.get('Runtimes') or {}))}"]
    lines.append(f" Default Runtime: {info.get('DefaultRuntime', '')}")
    lines.append(f" Init Binary: {info.get('InitBinary', '')}")
    for key, name in (("ContainerdCommit", "containerd"), ("RuncCommit", "runc"), ("InitCommit", "init")):
        lines.append(f" {name} version: {(info.get(key) or {}).get('ID', '')}")
    options = info.get("SecurityOptions") or []
    if options:
        lines.append(" Security Options:")
    for option in options:
        fields = dict(part.partition("=")[::2] for part in option.split(","))
        lines.append(f"  {fields.pop('name', option)}")
        lines += [f"   {key.title()}: {value}" for key, value in fields.items()]
    return lines


def _machine(info: Json) -> list[str]:
    return [
        f" Kernel Version: {info.get('KernelVersion', '')}",
        f" Operating System: {info.get('OperatingSystem', '')}",
        f" OSType: {info.get('OSType', '')}",
        f" Architecture: {info.get('Architecture', '')}",
        f" CPUs: {info.get('NCPU', 0)}",
        f" Total Memory: {binary_size(info.get('MemTotal', 0))}",
        f" Name: {info.get('Name', '')}",
        f" ID: {info.get('ID', '')}",
        f" Docker Root Dir: {info.get('DockerRootDir', '')}",
        f" Debug Mode: {str(info.get('Debug', False)).lower()}",
    ]


def _settings(info: Json) -> list[str]:
    registry: dict[str, Any] = info.get("RegistryConfig") or {}
    insecure = [*(name for name, item in (registry.get("IndexConfigs") or {}).items() if not item.get("Secure"))]
    insecure += registry.get("InsecureRegistryCIDRs") or []
    lines: list[str] = []
    for key, title in (("HttpProxy", "HTTP Proxy"), ("HttpsProxy", "HTTPS Proxy"), ("NoProxy", "No Proxy")):
        if info.get(key):
            lines.append(f" {title}: {info[key]}")
    if info.get("Labels"):
        lines += [" Labels:", *(f"  {label}" for label in info["Labels"])]
    lines.append(f" Experimental: {str(info.get('ExperimentalBuild', False)).lower()}")
    if insecure:
        lines += [" Insecure Registries:", *(f"  {name}" for name in insecure)]
    if registry.get("Mirrors"):
        lines += [" Registry Mirrors:", *(f"  {mirror}" for mirror in registry["Mirrors"])]
    lines.append(f" Live Restore Enabled: {str(info.get('LiveRestoreEnabled', False)).lower()}")
    if info.get("DefaultAddressPools"):
        lines.append(" Default Address Pools:")
        lines += [f"   Base: {pool['Base']}, Size: {pool['Size']}" for pool in info["DefaultAddressPools"]]
    return [*lines, ""]
