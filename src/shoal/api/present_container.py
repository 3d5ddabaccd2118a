"""Containers as the API prints them: inspect and the rows of `docker ps`."""

from __future__ import annotations

import shlex
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from shoal.api import versions
from shoal.api.human import status_text
from shoal.api.printing import or_null, printed
from shoal.api.versions import ApiVersion
from shoal.model.base import ZERO_TIME
from shoal.model.container import Container, EndpointSettings, MountPoint

_HOST_CONFIG_DEFAULTS: dict[str, Any] = {
    "ContainerIDFile": "",
    "ConsoleSize": [0, 0],
    "Cgroup": "",
    "CpuCount": 0,
    "CpuPercent": 0,
    "IOMaximumIOps": 0,
    "IOMaximumBandwidth": 0,
}
"""What docker prints besides, and Shoal does not offer."""

_NULL_WHEN_EMPTY = (
    "Binds", "VolumesFrom", "CapAdd", "CapDrop", "ExtraHosts", "GroupAdd", "SecurityOpt", "Links", "Devices", "Ulimits",
    "BlkioDeviceReadBps", "BlkioDeviceWriteBps", "BlkioDeviceReadIOps", "BlkioDeviceWriteIOps", "DeviceCgroupRules",
    "DeviceRequests",
)  # fmt: skip
_ABSENT_WHEN_EMPTY = ("Mounts", "StorageOpt", "Tmpfs", "Sysctls", "Init", "Annotations")

_CONFIG_ABSENT_WHEN_EMPTY = (
    "ExposedPorts", "Healthcheck", "NetworkDisabled", "MacAddress", "StopSignal", "StopTimeout", "Shell",
)  # fmt: skip
_CONFIG_NULL_WHEN_EMPTY = ("Cmd", "Volumes", "Entrypoint", "OnBuild")

_NO_ADDRESS: dict[str, Any] = {
    "EndpointID": "",
    "Gateway": "",
    "GlobalIPv6Address": "",
    "GlobalIPv6PrefixLen": 0,
    "IPAddress": "",
    "IPPrefixLen": 0,
    "IPv6Gateway": "",
    "MacAddress": "",
}


class Places(NamedTuple):
    """Where the engine keeps a container's files, and the network namespaces of all."""

    folder: Path
    namespaces: Path


def inspect(thing: Container, version: ApiVersion, places: Places) -> dict[str, Any]:
    """GET /containers/x/json."""
    state = printed(thing.state)
    if state.get("Health") is None:
        state.pop("Health", None)
    return {
        "Id": thing.id,
        "Created": printed(thing.created),
        "Path": thing.path,
        "Args": thing.args,
        "State": state,
        "Image": thing.image_id,
        "ResolvConfPath": str(places.folder / "resolv.conf"),
        "HostnamePath": str(places.folder / "hostname"),
        "HostsPath": str(places.folder / "hosts"),
        "LogPath": thing.log_path,
        "Name": f"/{thing.name}",
        "RestartCount": thing.restart_count,
        "Driver": "overlay2",
        "Platform": "linux",
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": "",
        "ExecIDs": None,
        "HostConfig": _host_config(thing),
        "GraphDriver": {"Data": None, "Name": "overlay2"},
        "Mounts": [_mount(mount) for mount in thing.mounts],
        "Config": _config(thing),
        "NetworkSettings": _network_settings(thing, version, places),
    }


def _config(thing: Container) -> dict[str, Any]:
    config: dict[str, Any] = printed(thing.config)
    for key in _CONFIG_ABSENT_WHEN_EMPTY:
        if not config[key]:
            del config[key]
    for key in _CONFIG_NULL_WHEN_EMPTY:
        config[key] = or_null(config[key])
    return config


def _host_config(thing: Container) -> dict[str, Any]:
    config: dict[str, Any] = _HOST_CONFIG_DEFAULTS | printed(thing.host_config)
    for key in _NULL_WHEN_EMPTY:
        config[key] = or_null(config[key])
    for key in _ABSENT_WHEN_EMPTY:
        if not config[key]:
            del config[key]
    config["RestartPolicy"]["Name"] = config["RestartPolicy"]["Name"] or "no"
    config["OomKillDisable"] = config["OomKillDisable"] or None
    return config


def _mount(mount: MountPoint) -> dict[str, Any]:
    shown: dict[str, Any] = printed(mount)
    return {key: value for key, value in shown.items() if value != "" or key not in ("Name", "Driver")}


def _network_settings(thing: Container, version: ApiVersion, places: Places) -> dict[str, Any]:
    running = thing.state.running
    bridge = thing.networks.get("bridge")
    return {
        "Bridge": "",
        "SandboxID": thing.id if running else "",
        "SandboxKey": str(places.namespaces / thing.id) if running else "",
        "Ports": _ports_by_name(thing),
        "HairpinMode": False,
        "LinkLocalIPv6Address": "",
        "LinkLocalIPv6PrefixLen": 0,
        "SecondaryIPAddresses": None,
        "SecondaryIPv6Addresses": None,
        **({key: value for key, value in _endpoint(bridge).items() if key in _NO_ADDRESS} if bridge else _NO_ADDRESS),
        "Networks": {
            name: versions.endpoint(version, _endpoint(endpoint), thing.id) for name, endpoint in thing.networks.items()
        },
    }


def _endpoint(endpoint: EndpointSettings) -> dict[str, Any]:
    shown: dict[str, Any] = printed(endpoint)
    for key in ("Links", "Aliases", "DriverOpts", "DNSNames"):
        shown[key] = or_null(shown[key])
    return shown | {"GwPriority": 0}


def _ports_by_name(thing: Container) -> dict[str, Any]:
    if not thing.state.running:
        return {}
    ports: dict[str, Any] = dict.fromkeys(thing.config.exposed_ports)
    for name, bindings in thing.ports.items():
        ports[name] = [printed(binding) for binding in bindings] or None
    return ports


def _port_list(thing: Container) -> list[dict[str, Any]]:
    rows = []
    for name, bindings in _ports_by_name(thing).items():
        number, _, protocol = name.partition("/")
        if not number.isdigit():
            continue
        base = {"PrivatePort": int(number), "Type": protocol or "tcp"}
        if not bindings:
            rows.append(base)
        for binding in bindings or ():
            public = {"PublicPort": int(binding["HostPort"])} if binding["HostPort"] else {}
            rows.append({"IP": binding["HostIp"], **base, **public})
    return rows


def command_text(thing: Container) -> str:
    """What runs, as one line."""
    return " ".join(part if part and " " not in part else shlex.quote(part) for part in [thing.path, *thing.args])


def summary(thing: Container, image: str, now: datetime, version: ApiVersion) -> dict[str, Any]:
    """An entry of GET /containers/json; `image` is what it was created from, as shown."""
    return {
        "Id": thing.id,
        "Names": [f"/{thing.name}"],
        "Image": image,
        "ImageID": thing.image_id,
        "Command": command_text(thing),
        "Created": int(thing.created.timestamp()) if thing.created != ZERO_TIME else 0,
        "Ports": _port_list(thing),
        "Labels": thing.config.labels,
        "State": thing.state.status,
        "Status": status_text(thing.state, now),
        "HostConfig": {"NetworkMode": thing.host_config.network_mode},
        "NetworkSettings": {
            "Networks": {
                name: versions.endpoint(version, _endpoint(endpoint), thing.id)
                for name, endpoint in thing.networks.items()
            }
        },
        "Mounts": [_mount(mount) for mount in thing.mounts],
    }
