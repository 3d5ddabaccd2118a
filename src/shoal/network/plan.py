"""Which interfaces a container gets, with which addresses and ports: decided before anything is made."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from msgspec.structs import replace

from shoal.kit.ids import Ids
from shoal.model.container import EndpointSettings, PortBinding
from shoal.model.errors import InvalidArgument, PermissionDenied, ShoalError, Unimplemented
from shoal.model.netstate import mac_of
from shoal.network.leases import Leases
from shoal.network.places import Place
from shoal.network.ports import HostPort, HostPorts, parse_port, parse_range
from shoal.network.sandbox import Attachment, PublishedBinding, SandboxRequest


def wanted(request: SandboxRequest) -> dict[str, EndpointSettings]:
    """The networks (name or id) that a container asks for, in order: `endpoints`, and that of the network mode.

    A mode of `bridge` or `default` counts only where nothing else is asked for.
    """
    mode = request.network_mode
    if mode in ("", "default", "bridge"):
        return dict(request.endpoints) or {"bridge": EndpointSettings()}
    return request.endpoints if mode in request.endpoints else {mode: EndpointSettings(), **request.endpoints}


def attach(
    request: SandboxRequest,
    place: Place,
    asked: EndpointSettings,
    *,
    present: Iterable[Attachment],
    leases: Leases,
    ids: Ids,
) -> Attachment:
    """A new interface on `place`, beside those that are `present`. The address is leased on local networks."""
    address = asked.ipam_config.ipv4_address if asked.ipam_config else ""
    if place.is_default_bridge and address:
        raise InvalidArgument(
            "invalid endpoint settings:\nuser specified IP address is supported on user defined networks only"
        )
    if place.is_default_bridge and asked.aliases:
        raise InvalidArgument(
            "invalid endpoint settings:\nnetwork-scoped aliases are only supported for user-defined networks"
        )
    if place.kind == "overlay":
        if not request.managed:
            raise tasks_only(place.name, attachable=place.attachable)
        if not address:
            raise ShoalError(
                f"attaching to network failed, make sure your network options are correct and check manager logs: "
                f"no address was allocated on network {place.name}"
            )
        address = address.split("/")[0]
    else:
        address = str(leases.choose(place, address, request.container_id))
    endpoint_id = ids.hex_id()
    settings = replace(
        asked,
        network_id=place.id,
        endpoint_id=endpoint_id,
        gateway="" if place.kind == "overlay" or place.internal else place.gateway,
        ip_address=address,
        ip_prefix_len=place.subnet.prefixlen,
        mac_address=mac_of(address) if place.kind == "overlay" else asked.mac_address or mac_of(address),
        dns_names=[] if place.is_default_bridge else _names(request, asked),
    )
    used = {item.interface for item in present}
    interface = next(f"eth{number}" for number in range(len(used) + 1) if f"eth{number}" not in used)
    kind = "gateway" if place.is_gateway else place.kind
    return Attachment(
        network_id=place.id,
        network_name=place.name,
        kind=kind,
        interface=interface,
        host_interface=f"veth{endpoint_id[:10]}",
        settings=settings,
        internal=place.internal,
    )


def tasks_only(network: str, *, attachable: bool) -> ShoalError:
    """Why a container that is no task cannot be on the overlay `network`: nobody has given it an address there."""
    if attachable:
        return Unimplemented(
            f"Could not attach to network {network}: joining an attachable overlay network from docker run is not "
            "supported yet; use a service"
        )
    return PermissionDenied(
        f"Could not attach to network {network}: rpc error: code = PermissionDenied desc = network {network} not "
        "manually attachable"
    )


def _names(request: SandboxRequest, asked: EndpointSettings) -> list[str]:
    names = [request.name, *asked.aliases, request.container_id[:12], request.hostname]
    return list(dict.fromkeys(name for name in names if name))


def publish(
    request: SandboxRequest, ports: HostPorts, endpoint_id: str, default_ip: str = ""
) -> list[PublishedBinding]:
    """Take the host ports that a container wants; ShoalError with docker's words when one is taken.

    Ports taken before the failure stay with the container's id: the caller releases them.
    """
    bindings = []
    try:
        for text, hosts in _asked_ports(request):
            number, protocol = parse_port(text)
            for host in hosts:
                address = _host_address(host.host_ip or default_ip)
                port = _take(ports, protocol, address, host.host_port, request.container_id)
                bindings.append(
                    PublishedBinding(protocol=protocol, host_ip=address, host_port=port, container_port=number)
                )
    except InvalidArgument:
        raise
    except ShoalError as fault:
        raise ShoalError(
            f"driver failed programming external connectivity on endpoint {request.name} ({endpoint_id}): {fault}"
        ) from fault
    return bindings


def _asked_ports(request: SandboxRequest) -> Iterable[tuple[str, list[PortBinding]]]:
    for text, hosts in request.port_bindings.items():
        yield text, hosts or [PortBinding()]
    if request.publish_all:
        for text in request.exposed_ports:
            if text not in request.port_bindings:
                yield text, [PortBinding()]


def _host_address(text: str) -> str:
    if text in ("", "0.0.0.0", "::"):
        return ""
    if ":" in text:
        raise InvalidArgument(f"invalid host IP address: {text}: IPv6 is not supported")
    try:
        return str(ipaddress.IPv4Address(text))
    except ValueError:
        raise InvalidArgument(f"invalid host IP address: {text}") from None


def _take(ports: HostPorts, protocol: str, address: str, host_port: str, owner: str) -> int:
    if host_port in ("", "0"):
        return ports.take_any(protocol, address, owner).number
    candidates = parse_range(host_port)
    if len(candidates) > 1:
        return ports.take_any(protocol, address, owner, candidates).number
    ports.take(HostPort(protocol, address, candidates[0]), owner)
    return candidates[0]


def shown_ports(request: SandboxRequest, bindings: Iterable[PublishedBinding]) -> dict[str, list[PortBinding]]:
    """`80/tcp` -> where it is published, as `inspect` and `ps` show it; exposed only: an empty list."""
    shown: dict[str, list[PortBinding]] = {text: [] for text in request.exposed_ports}
    for binding in bindings:
        text = f"{binding.container_port}/{binding.protocol}"
        host = PortBinding(host_ip=binding.host_ip or "0.0.0.0", host_port=str(binding.host_port))
        shown.setdefault(text, []).append(host)
    return shown
