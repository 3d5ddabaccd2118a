"""Images, volumes, local networks and events as the API prints them."""

from __future__ import annotations

from typing import Any

from shoal.api import versions
from shoal.api.printing import or_null, printed
from shoal.api.versions import ApiVersion
from shoal.kit.clock import nanoseconds
from shoal.model.base import ZERO_TIME
from shoal.model.container import Container
from shoal.model.engine import Event, Image, LocalNetwork, Volume


def image(thing: Image, version: ApiVersion) -> dict[str, Any]:
    """GET /images/x/json."""
    config = printed(thing.config)
    for key in ("Cmd", "Volumes", "Entrypoint", "OnBuild", "Labels"):
        config[key] = or_null(config[key])
    for key in ("ExposedPorts", "Healthcheck", "NetworkDisabled", "MacAddress", "StopSignal", "StopTimeout", "Shell"):
        if not config[key]:
            del config[key]
    shown = {
        "Id": thing.id,
        "RepoTags": thing.repo_tags,
        "RepoDigests": thing.repo_digests,
        "Parent": "",
        "Comment": thing.comment,
        "Created": printed(thing.created),
        "DockerVersion": "",
        "Author": thing.author,
        "Config": config,
        "Architecture": thing.architecture,
        **({"Variant": thing.variant} if thing.variant else {}),
        "Os": thing.os,
        "Size": thing.size,
        "GraphDriver": {"Data": None, "Name": "overlay2"},
        "RootFS": {"Type": "layers", "Layers": thing.layers},
        "Metadata": {"LastTagTime": printed(thing.last_tagged)},
    }
    return versions.image_size(version, shown)


def image_summary(thing: Image, version: ApiVersion, containers: int = -1) -> dict[str, Any]:
    """An entry of GET /images/json."""
    shown = {
        "Id": thing.id,
        "ParentId": "",
        "RepoTags": thing.repo_tags,
        "RepoDigests": thing.repo_digests,
        "Created": int(thing.created.timestamp()) if thing.created != ZERO_TIME else 0,
        "Size": thing.size,
        "SharedSize": -1,
        "Labels": or_null(thing.config.labels),
        "Containers": containers,
    }
    return versions.image_summary(version, shown)


def volume(thing: Volume, usage: tuple[int, int] | None = None) -> dict[str, Any]:
    """A volume; `usage` (bytes, containers that use it) for `system df`."""
    shown: dict[str, Any] = printed(thing)
    shown["Labels"] = or_null(shown["Labels"])
    shown["Options"] = or_null(shown["Options"])
    if usage is not None:
        shown["UsageData"] = {"Size": usage[0], "RefCount": usage[1]}
    return shown


def local_network(thing: LocalNetwork) -> dict[str, Any]:
    """A network of this engine, without its containers."""
    return {
        "Name": thing.name,
        "Id": thing.id,
        "Created": printed(thing.created),
        "Scope": thing.scope,
        "Driver": thing.driver,
        "EnableIPv4": True,
        "EnableIPv6": thing.enable_ipv6,
        "IPAM": {
            "Driver": thing.ipam.driver or "default",
            "Options": or_null(thing.ipam.options),
            "Config": or_null([printed(pool) for pool in thing.ipam.config]),
        },
        "Internal": thing.internal,
        "Attachable": thing.attachable,
        "Ingress": thing.ingress,
        "ConfigFrom": {"Network": ""},
        "ConfigOnly": False,
        "Containers": {},
        "Options": or_null(thing.options),
        "Labels": or_null(thing.labels),
    }


def containers_on(name: str, network_id: str, containers: list[Container]) -> dict[str, Any]:
    """The running containers of a network, as network inspect lists them."""
    shown = {}
    for container in containers:
        endpoint = container.networks.get(name)
        if endpoint is None or not container.state.running:
            continue
        if endpoint.network_id not in ("", network_id):
            continue
        address = f"{endpoint.ip_address}/{endpoint.ip_prefix_len}" if endpoint.ip_address else ""
        ipv6 = (
            f"{endpoint.global_ipv6_address}/{endpoint.global_ipv6_prefix_len}" if endpoint.global_ipv6_address else ""
        )
        shown[container.id] = {
            "Name": container.name,
            "EndpointID": endpoint.endpoint_id,
            "MacAddress": endpoint.mac_address,
            "IPv4Address": address,
            "IPv6Address": ipv6,
        }
    return shown


def event(thing: Event, version: ApiVersion) -> dict[str, Any]:
    """An event of GET /events."""
    nanos = nanoseconds(thing.moment)
    shown = {
        "Type": thing.type,
        "Action": thing.action,
        "Actor": {"ID": thing.actor.id, "Attributes": thing.actor.attributes},
        "scope": thing.scope,
        "time": nanos // 10**9,
        "timeNano": nanos,
    }
    return versions.event(version, shown)
