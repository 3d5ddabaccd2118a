"""What docker offers for containers and Shoal does not: refused by name, never dropped in silence. Pure."""

from __future__ import annotations

import re

from shoal.model.container import ContainerConfig, EndpointSettings, HostConfig
from shoal.model.errors import InvalidArgument, Unimplemented

_NO_LINKS = "--link is not supported: containers on a network of your own find each other by their names"
_DEVICE_RULE = re.compile(r"[acb] ([0-9]+|\*):([0-9]+|\*) [rwm]{1,3}")
_DEVICE_MODE = re.compile(r"[rwm]{0,3}")
_MAC = re.compile(r"[0-9a-fA-F]{2}([:-][0-9a-fA-F]{2}){5}")


def check(config: ContainerConfig, host: HostConfig) -> None:
    """Raise what a container cannot have: InvalidArgument or Unimplemented, in docker's words if it has any.

    What clients send when their user asked for nothing passes.
    """
    if config.mac_address:
        check_mac(config.mac_address)
    if host.links:
        raise Unimplemented(_NO_LINKS)
    if host.userns_mode not in ("", "host"):
        raise InvalidArgument(f"--userns: invalid USER mode: {host.userns_mode}")
    if host.isolation not in ("", "default"):
        raise InvalidArgument(f"invalid --isolation: \"{host.isolation}\" - linux only supports 'default'")
    if host.storage_opt:
        raise InvalidArgument("--storage-opt is supported only for overlay over xfs with 'pquota' mount option")
    if host.volume_driver not in ("", "local"):
        driver = host.volume_driver
        raise InvalidArgument(f'error looking up volume plugin {driver}: plugin "{driver}" not found')
    if host.cpu_realtime_period or host.cpu_realtime_runtime:
        raise InvalidArgument("kernel does not support CPU real-time scheduler")
    for request in host.device_requests:
        wanted = " ".join(f"[{' '.join(names)}]" for names in request.capabilities)
        raise Unimplemented(f'could not select device driver "{request.driver}" with capabilities: [{wanted}]')
    for device in host.devices:
        if not _DEVICE_MODE.fullmatch(device.cgroup_permissions):
            raise InvalidArgument(f"invalid device mode: {device.cgroup_permissions}")
    for rule in host.device_cgroup_rules:
        if not _DEVICE_RULE.fullmatch(rule):
            raise InvalidArgument(f"invalid device cgroup rule format: '{rule}'")
    if "" in host.annotations:
        raise InvalidArgument("invalid Annotations: the empty string is not permitted as an annotation key")


def check_endpoint(asked: EndpointSettings) -> None:
    """The same for what is asked of one network."""
    ipam = asked.ipam_config
    if asked.links:
        raise Unimplemented(_NO_LINKS)
    if ipam and ipam.ipv6_address:
        raise InvalidArgument(f"invalid endpoint settings:\ninvalid address {ipam.ipv6_address}: IPv6 is not supported")
    if ipam and ipam.link_local_ips:
        raise Unimplemented("invalid endpoint settings:\nlink-local addresses are not supported")
    if asked.mac_address:
        check_mac(asked.mac_address)


def check_mac(address: str) -> None:
    """Raises InvalidArgument."""
    if not _MAC.fullmatch(address):
        raise InvalidArgument(f"invalid endpoint settings:\ninvalid MAC address {address}")
