"""Addresses and subnets: which one is next. Pure functions over what is taken."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Set
from ipaddress import IPv4Address, IPv4Network

from shoal.model.errors import InvalidArgument, PermissionDenied, ShoalError
from shoal.model.swarm_spec import IPAM, IPAMConfig

LOCAL_POOLS = [IPv4Network(f"172.{second}.0.0/16") for second in range(17, 32)] + list(
    IPv4Network("192.168.0.0/16").subnets(new_prefix=20)
)
"""Where networks without a subnet of their own get one, in this order (Engine API reference, 18.8)."""
OVERLAPS = "invalid pool request: Pool overlaps with other one on this address space"


def next_address(
    subnet: IPv4Network, taken: Set[IPv4Address], *, within: IPv4Network | None = None, last: IPv4Address | None = None
) -> IPv4Address | None:
    """The first free host address after `last`, round the corner if need be; None when all are taken.

    `within` limits the choice to a part of the subnet. Network and broadcast address are never given out.
    """
    scope = within or subnet
    lowest = max(int(scope.network_address), int(subnet.network_address) + 1)
    highest = min(int(scope.broadcast_address), int(subnet.broadcast_address) - 1)
    if subnet.prefixlen >= 31:
        lowest, highest = int(subnet.network_address), int(subnet.broadcast_address)
    start = int(last) + 1 if last else lowest
    if not lowest <= start <= highest:
        start = lowest
    used = {int(address) for address in taken}
    for candidates in (range(start, highest + 1), range(lowest, start)):
        for value in candidates:
            if value not in used:
                return IPv4Address(value)
    return None


def next_subnet(taken: Iterable[IPv4Network], pools: Iterable[IPv4Network] = tuple(LOCAL_POOLS)) -> IPv4Network:
    """The first of `pools` that overlaps nothing that is taken."""
    taken = list(taken)
    for pool in pools:
        if not any(pool.overlaps(other) for other in taken):
            return pool
    raise ShoalError(
        "could not find an available, non-overlapping IPv4 address pool among the defaults to assign to the network"
    )


def parse_subnet(text: str) -> IPv4Network:
    """A subnet as a user writes it; InvalidArgument with docker's words."""
    try:
        subnet = ipaddress.ip_interface(text).network
    except ValueError as fault:
        raise InvalidArgument(f"invalid network config:\ninvalid subnet {text}: invalid CIDR block notation") from fault
    if str(subnet) != text:
        raise InvalidArgument(f"invalid network config:\ninvalid subnet {text}: it should be {subnet}")
    if not isinstance(subnet, IPv4Network):
        raise InvalidArgument(f"invalid network config:\ninvalid subnet {text}: IPv6 is not supported")
    return subnet


def parse_address(text: str, what: str = "address") -> IPv4Address:
    """An IPv4 address as a user writes it; InvalidArgument says `what` it is."""
    try:
        return IPv4Address(text)
    except ValueError as fault:
        raise InvalidArgument(f"invalid {what}: {text}") from fault


def complete(asked: IPAM | None, taken: Iterable[IPv4Network], pools: Iterable[IPv4Network]) -> IPAM:
    """`asked` with subnet and gateway filled in. PermissionDenied (docker's 403) when a subnet overlaps `taken`."""
    taken = list(taken)
    asked = asked or IPAM()
    configs = []
    for config in asked.config or [IPAMConfig()]:
        subnet = parse_subnet(config.subnet) if config.subnet else next_subnet(taken, pools)
        if any(subnet.overlaps(other) for other in taken):
            raise PermissionDenied(OVERLAPS)
        taken.append(subnet)
        _check_range(subnet, config)
        gateway = parse_address(config.gateway, "gateway address") if config.gateway else None
        if gateway and gateway not in subnet:
            raise InvalidArgument(f"invalid network config:\ninvalid gateway {gateway}: parent subnet is {subnet}")
        if not gateway:
            within = IPv4Network(config.ip_range) if config.ip_range else None
            gateway = next_address(subnet, set(), within=within)
        configs.append(
            IPAMConfig(
                subnet=str(subnet),
                gateway=str(gateway),
                ip_range=config.ip_range,
                auxiliary_addresses=config.auxiliary_addresses,
            )
        )
    return IPAM(driver=asked.driver or "default", options=asked.options, config=configs)


def _check_range(subnet: IPv4Network, config: IPAMConfig) -> None:
    if config.ip_range:
        within = parse_subnet(config.ip_range)
        if not within.subnet_of(subnet):
            raise InvalidArgument(f"invalid network config:\ninvalid ip-range {within}: parent subnet is {subnet}")
    for text in config.auxiliary_addresses.values():
        if parse_address(text, "auxiliary address") not in subnet:
            raise InvalidArgument(
                f"invalid network config:\ninvalid auxiliary address {text}: parent subnet is {subnet}"
            )
