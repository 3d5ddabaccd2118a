"""Swarm objects as the API prints them: cluster, node, service, task, network."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from shoal.api.printing import or_null, printed
from shoal.kit.units import parse_duration
from shoal.model.base import ZERO_TIME
from shoal.model.objects import Cluster, Endpoint, Network, Node, Service, Task, TLSInfo
from shoal.model.swarm_spec import ServiceMode, ServiceSpec, UpdateConfig

NetworkOf = Callable[[str], "dict[str, Any] | None"]
"""The network of an id, as it stands inside a task; made by `networks_in_tasks`."""

_SECOND = 10**9


def node(thing: Node) -> dict[str, Any]:
    """A node; `ManagerStatus` on managers only."""
    shown: dict[str, Any] = printed(thing)
    description = shown["Description"]
    description.setdefault("Platform", {})
    description.setdefault("Resources", {})
    description.setdefault("Engine", {})
    return shown


def service(thing: Service) -> dict[str, Any]:
    """A service. Registry credentials are never printed."""
    shown: dict[str, Any] = printed(thing)
    if thing.endpoint == Endpoint() and thing.spec.endpoint_spec is None:
        shown["Endpoint"] = {"Spec": {}}
    return shown


def with_defaults(spec: ServiceSpec) -> dict[str, Any]:
    """`spec` with what the swarm assumes where it says nothing (`insertDefaults=true`)."""
    shown: dict[str, Any] = printed(spec)
    template = shown["TaskTemplate"]
    if "ContainerSpec" in template:
        template["ContainerSpec"].setdefault("StopGracePeriod", 10 * _SECOND)
        template["ContainerSpec"].setdefault("DNSConfig", {})
    policy = template.setdefault("RestartPolicy", {})
    policy.setdefault("Condition", "any")
    policy.setdefault("Delay", 5 * _SECOND)
    policy.setdefault("MaxAttempts", 0)
    template.setdefault("Resources", {"Limits": {}, "Reservations": {}})
    template.setdefault("Placement", {})
    if spec.mode in (ServiceMode(), ServiceMode(replicated=None)):
        shown["Mode"] = {"Replicated": {"Replicas": 1}}
    if spec.mode.replicated_job is None and spec.mode.global_job is None:
        for key in ("UpdateConfig", "RollbackConfig"):
            if key not in shown:
                shown[key] = printed(UpdateConfig(parallelism=1))
            shown[key]["FailureAction"] = shown[key].get("FailureAction") or "pause"
            shown[key]["Monitor"] = shown[key].get("Monitor") or 5 * _SECOND
            shown[key]["Order"] = shown[key].get("Order") or "stop-first"
    shown.setdefault("EndpointSpec", {})
    shown["EndpointSpec"]["Mode"] = shown["EndpointSpec"].get("Mode") or "vip"
    return shown


def networks_in_tasks(find: Callable[[str], Network | None]) -> NetworkOf:
    """Prints each network once, however many tasks are on it."""

    @cache
    def shown(id: str) -> dict[str, Any] | None:
        found = find(id)
        return swarm_network_in_task(found) if found is not None else None

    return shown


def task(thing: Task, network_of: NetworkOf) -> dict[str, Any]:
    """A task; each of its networks is printed whole."""
    shown: dict[str, Any] = printed(thing)
    shown["Status"].setdefault("ContainerStatus", {"ContainerID": "", "PID": 0, "ExitCode": 0})
    shown["Status"]["PortStatus"] = shown["Status"].get("PortStatus") or {}
    attachments = [
        {"Network": found, "Addresses": attachment.addresses}
        for attachment in thing.networks_attachments
        if (found := network_of(attachment.network_id)) is not None
    ]
    if attachments:
        shown["NetworksAttachments"] = attachments
    else:
        shown.pop("NetworksAttachments", None)
    shown["Volumes"] = None
    return shown


def swarm_network_in_task(thing: Network) -> dict[str, Any]:
    """A network the way it stands inside a task: spec, driver state and addresses apart."""
    spec = printed(thing.spec)
    return {
        "ID": thing.id,
        "Version": {"Index": thing.version.index},
        "CreatedAt": printed(thing.created_at),
        "UpdatedAt": printed(thing.updated_at),
        "Spec": {
            "Name": thing.spec.name,
            "Labels": thing.spec.labels,
            "DriverConfiguration": {"Name": thing.driver},
            **{key: spec[key] for key in ("Attachable", "Internal", "Ingress") if spec.get(key)},
            "IPAMOptions": {"Driver": {"Name": "default"}},
            "Scope": "swarm",
        },
        "DriverState": {"Name": thing.driver, "Options": _overlay_options(thing)},
        "IPAMOptions": {"Driver": {"Name": "default"}, "Configs": [printed(pool) for pool in thing.ipam.config]},
    }


def network(thing: Network) -> dict[str, Any]:
    """A swarm network as GET /networks prints it, without what only this node knows of it."""
    return {
        "Name": thing.spec.name,
        "Id": thing.id,
        "Created": printed(thing.created_at),
        "Scope": "swarm",
        "Driver": thing.driver,
        "EnableIPv4": True,
        "EnableIPv6": thing.spec.enable_ipv6,
        "IPAM": {
            "Driver": thing.ipam.driver or "default",
            "Options": or_null(thing.ipam.options),
            "Config": [
                {
                    "Subnet": pool.subnet,
                    **({"IPRange": pool.ip_range} if pool.ip_range else {}),
                    "Gateway": pool.gateway,
                }
                for pool in thing.ipam.config
            ],
        },
        "Internal": thing.spec.internal,
        "Attachable": thing.spec.attachable,
        "Ingress": thing.spec.ingress,
        "ConfigFrom": {"Network": ""},
        "ConfigOnly": False,
        "Containers": None,
        "Options": {**thing.spec.options, **_overlay_options(thing)},
        "Labels": or_null(thing.spec.labels),
    }


def _overlay_options(thing: Network) -> dict[str, str]:
    return {"com.docker.network.driver.overlay.vxlanid_list": str(thing.vxlan_id)} if thing.vxlan_id else {}


def cluster(thing: Cluster) -> dict[str, Any]:
    """The swarm as GET /info has it: without its join tokens."""
    shown: dict[str, Any] = printed(thing)
    spec = shown["Spec"]
    ca = spec.setdefault("CAConfig", {})
    ca["NodeCertExpiry"] = ca.get("NodeCertExpiry") or parse_duration("2160h")
    dispatcher = spec.setdefault("Dispatcher", {})
    dispatcher["HeartbeatPeriod"] = dispatcher.get("HeartbeatPeriod") or _SECOND
    orchestration = spec.setdefault("Orchestration", {})
    orchestration.setdefault("TaskHistoryRetentionLimit", 5)
    spec.setdefault("Raft", {}).setdefault("KeepOldSnapshots", 0)
    spec.setdefault("EncryptionConfig", {"AutoLockManagers": False})
    spec.setdefault("TaskDefaults", {})
    spec["Raft"] = printed(thing.spec.raft) | {"KeepOldSnapshots": thing.spec.raft.keep_old_snapshots}
    shown["TLSInfo"] = _tls(thing.tls_info)
    return shown


def _tls(info: TLSInfo) -> dict[str, Any]:
    return {
        "TrustRoot": info.trust_root,
        "CertIssuerSubject": printed(info.cert_issuer_subject),
        "CertIssuerPublicKey": printed(info.cert_issuer_public_key),
    }


def swarm(thing: Cluster) -> dict[str, Any]:
    """The swarm as GET /swarm has it: with its join tokens."""
    tokens = {"Worker": thing.join_tokens.worker, "Manager": thing.join_tokens.manager}
    return cluster(thing) | {"JoinTokens": tokens}


NEVER = printed(ZERO_TIME)
"""The time of what never happened."""
